// One event stream per page. An event names what changed; the parts that show it fetch themselves again (hx-trigger="calls from:body"), or,
// where it says which rows changed, only those rows (rows.js).
import { word } from "./words.js";

const NAMES = ["calls", "history", "registrations", "status"];

export function listen() {
  const line = document.getElementById("connection");
  const show = (state, text) => {
    if (!line) return;
    line.dataset.state = state;
    line.querySelector("[data-said]").textContent = text;
  };
  let source;
  let lost = false;
  const tell = (name, ids = []) => document.body.dispatchEvent(new CustomEvent(name, { detail: { ids } }));
  const open = () => {
    source = new EventSource("/events");
    source.onopen = () => {
      show("live", word("live"));
      if (lost) for (const name of NAMES) tell(name); // what happened meanwhile
      lost = false;
    };
    source.onerror = () => {
      lost = true;
      show("lost", word("connection-lost"));
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 5000); // refused: too many pages, or logged out
    };
    for (const name of NAMES) source.addEventListener(name, (event) => tell(name, event.data.split(" ").filter(Boolean)));
  };
  open();
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });
}
