// Sends an update to the box and tells how far it is: the body of the request is the file itself. Also shows one that somebody else
// has begun, and waits for a box that restarts.
const EVERY = 1500; // milliseconds
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
    if (told.what === "checking") say("Reading back what was written …", percent);
    else say(`Writing beside the running version: ${percent} %`, percent);
    if (!sending) setTimeout(look, EVERY);
  }

  look();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const request = new XMLHttpRequest();
    const timer = setInterval(look, EVERY);
    const end = (text, percent) => {
      clearInterval(timer);
      sending = button.disabled = false;
      say(text, percent);
    };
    sending = button.disabled = true;
    began = Date.now();
    say("Sending …", 0);
    request.open("POST", form.action);
    request.setRequestHeader("X-CSRFToken", form.elements.csrf_token.value);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.onerror = () => end("The connection to the box was lost. Install again: an update that was interrupted does no harm.", 0);
    request.onload = () => {
      if (request.status === 200) end(`Version ${request.responseText} is installed. It starts at the next restart.`, 100);
      else end(request.status === 409 ? request.responseText : "The box did not take the file.", 0);
    };
    request.send(form.querySelector("input[type=file]").files[0]);
  });
}

// The box goes away and comes back: then the page is fetched again.
function awaitRestart() {
  const place = document.querySelector("[data-restarting]");
  if (!place) return;
  let gone = false;
  setInterval(async () => {
    try {
      const answer = await fetch(place.dataset.restarting, { cache: "no-store", signal: AbortSignal.timeout(4 * EVERY) });
      if (gone && answer.ok) location.assign(location.pathname);
      gone ||= !answer.ok;
    } catch {
      gone = true;
    }
  }, EVERY);
}
