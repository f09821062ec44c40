// Work that takes longer than a page: shows how far it is, fetches what came out of it, and sends a backup to be restored.
import { word } from "./words.js";

const EVERY = 700; // milliseconds

export function works() {
  for (const place of document.querySelectorAll("[data-work]")) follow(place);
  for (const ready of document.querySelectorAll("[data-fetch]")) location.assign(ready.dataset.fetch);
  for (const form of document.querySelectorAll("[data-restore]")) form.addEventListener("submit", (event) => restore(event, form));
  for (const fields of document.querySelectorAll("[data-unless]")) {
    const box = document.getElementById(fields.dataset.unless);
    const show = () => { fields.hidden = box.checked; };
    box?.addEventListener("change", show);
    show();
  }
}

function follow(place) {
  const bar = place.querySelector("progress");
  const look = async () => { // one at a time: two answers would fetch the page twice
    try {
      const answer = await fetch(place.dataset.work, { cache: "no-store" });
      const told = answer.ok && !answer.redirected ? await answer.json() : {};
      if (told.finished) {
        location.assign(location.pathname);
        return;
      }
      if (told.said) {
        bar.value = told.percent;
        place.querySelector("[data-said]").textContent = told.said;
      }
    } catch {
      // the next look may work
    }
    setTimeout(look, EVERY);
  };
  setTimeout(look, EVERY);
}

// The body is one line with the passphrase, then the file.
function restore(event, form) {
  event.preventDefault();
  const state = form.querySelector("[data-state]");
  const refused = form.querySelector("[data-refused]");
  const button = form.querySelector("button:not([type=button])");
  const bar = state.querySelector("progress");
  const say = (text, percent) => {
    state.hidden = false;
    if (percent === undefined) bar.removeAttribute("value");
    else bar.value = percent;
    state.querySelector("[data-said]").textContent = text;
  };
  const fail = (why) => {
    state.hidden = true;
    refused.hidden = false;
    refused.querySelector("[data-why]").textContent = why;
    button.disabled = false;
  };
  const file = form.querySelector("input[type=file]").files[0];
  const passphrase = form.querySelector("[name=restore-passphrase]").value;
  const request = new XMLHttpRequest();
  refused.hidden = true;
  button.disabled = true;
  say(word("sending"), 0);
  request.open("POST", form.action);
  request.setRequestHeader("X-CSRFToken", form.elements.csrf_token.value);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.upload.onprogress = (sent) => say(word("restore-sending", { percent: Math.floor((100 * sent.loaded) / sent.total) }), (100 * sent.loaded) / sent.total);
  request.upload.onload = () => say(word("restore-checking"));
  request.onerror = () => fail(word("restore-connection-lost"));
  request.onload = () => {
    if (request.status === 200) location.assign(request.responseText);
    else fail(request.status === 422 ? request.responseText : word("restore-not-taken"));
  };
  request.send(new Blob([`${JSON.stringify({ passphrase })}\n`, file]));
}
