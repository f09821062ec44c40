// Sends an update to the box and tells how far it is. The body of the request is the file itself.
export function updates() {
  const form = document.getElementById("update");
  if (!form) return;
  const state = document.getElementById("update-state");
  const bar = state.querySelector("progress");
  const say = (text, percent) => {
    state.hidden = false;
    bar.value = percent;
    state.querySelector("[data-said]").textContent = text;
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    const request = new XMLHttpRequest();
    const end = (text, percent) => {
      say(text, percent);
      button.disabled = false;
    };
    button.disabled = true;
    request.open("POST", form.action);
    request.setRequestHeader("X-CSRFToken", form.elements.csrf_token.value);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (sent) => say(`Sending and writing: ${Math.floor((100 * sent.loaded) / sent.total)} %`, (95 * sent.loaded) / sent.total);
    request.upload.onload = () => say("Reading back what was written …", 96);
    request.onerror = () => end("The connection to the box was lost. Install again: an update that was interrupted does no harm.", 0);
    request.onload = () => {
      if (request.status === 200) end(`Version ${request.responseText} is installed. It starts at the next restart.`, 100);
      else end(request.status === 409 ? request.responseText : "The box did not take the file.", 0);
    };
    request.send(form.querySelector("input[type=file]").files[0]);
  });
}
