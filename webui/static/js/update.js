// Sends an update to the box and tells how far it is: the body of the request is the file itself. A file that was damaged on its way
// here is not sent: the version in the other slot stays. (The box checks again, and the signature, which only it can.) Also shows an
// update that somebody else has begun, and waits for a box that restarts.
import { word } from "./words.js";

const EVERY = 1500; // milliseconds
const BLOCK = 1 << 20; // bytes under one hash of the manifest
const DONE = ["done", "installed", "refused"];

export function updates() {
  awaitRestart();
  const form = document.getElementById("update");
  if (!form) return;
  const state = document.getElementById("update-state");
  const bar = state.querySelector("progress");
  const button = form.querySelector("button");
  let sending = false;
  let began = 0;
  const say = (text, percent) => {
    state.hidden = false;
    bar.value = percent;
    state.querySelector("[data-said]").textContent = text;
  };

  async function look() {
    const asked = Date.now();
    try {
      const answer = await fetch(form.dataset.progress);
      if (answer.ok) tell(await answer.json(), asked);
    } catch {
      // the next look may work
    }
  }

  function tell(told, asked) {
    const busy = told.what && !DONE.includes(told.what) && told.total > 0;
    if (sending ? asked < began + EVERY || !busy : !busy) return; // what is told may be about the one before
    const percent = Math.floor((100 * told.done) / told.total);
    if (told.what === "checking") say(word("update-reading"), percent);
    else say(word("update-writing", { percent }), percent);
    if (!sending) setTimeout(look, EVERY);
  }

  look();
  button.disabled = false; // only now: without this script a press would lose the file
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const file = form.querySelector("input[type=file]").files[0];
    button.disabled = true;
    say(word("update-checking"), 0);
    const damage = await damageOf(file);
    if (damage) {
      button.disabled = false;
      say(damage, 0);
      return;
    }
    const request = new XMLHttpRequest();
    const timer = setInterval(look, EVERY);
    const end = (text, percent) => {
      clearInterval(timer);
      sending = button.disabled = false;
      say(text, percent);
    };
    sending = true;
    began = Date.now();
    say(word("sending"), 0);
    request.open("POST", form.action);
    request.setRequestHeader("X-CSRFToken", form.elements.csrf_token.value);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.onerror = () => end(word("update-connection-lost"), 0);
    request.onload = () => {
      if (request.status === 200) end(word("update-installed", { version: request.responseText }), 100);
      else end(request.status === 409 ? request.responseText : word("update-not-taken"), 0);
    };
    request.send(file);
  });
}

// What is wrong with the file, in a sentence; "" when nothing is, or when it is no update at all: the box has the words for that.
// A tar: per part a header of 512 bytes with name and size, then the part, padded to 512.
async function damageOf(file) {
  const parts = {};
  const text = (bytes) => new TextDecoder().decode(bytes).split("\0")[0];
  try {
    for (let place = 0; place + 512 <= file.size;) {
      const header = new Uint8Array(await file.slice(place, place + 512).arrayBuffer());
      const size = parseInt(text(header.subarray(124, 136)), 8);
      if (!header[0] || Number.isNaN(size)) break;
      parts[text(header.subarray(0, 100))] = file.slice(place + 512, place + 512 + size);
      place += 512 + 512 * Math.ceil(size / 512);
    }
    for (const part of JSON.parse(await parts["manifest.json"].text()).parts) {
      const found = parts[part.name];
      if (!found || found.size !== part.size) return word("update-too-short");
      for (let n = 0; n * BLOCK < part.size; n++) {
        const block = await found.slice(n * BLOCK, (n + 1) * BLOCK).arrayBuffer();
        const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", block));
        const hex = Array.from(sum, (byte) => byte.toString(16).padStart(2, "0")).join("");
        if (hex !== part.blocks[n]) return word("update-damaged", { part: part.name });
      }
    }
  } catch {
    return "";
  }
  return "";
}

// The box goes away and comes back: then the page is fetched again. It may be back before anybody has seen that it was away, so what
// counts is that another start answers.
function awaitRestart() {
  const place = document.querySelector("[data-restarting]");
  if (!place) return;
  setInterval(async () => {
    try {
      const answer = await fetch(place.dataset.restarting, { cache: "no-store", signal: AbortSignal.timeout(4 * EVERY) });
      if (answer.ok && (await answer.json()).start !== place.dataset.start) location.assign(location.pathname);
    } catch {
      // it is away
    }
  }, EVERY);
}
