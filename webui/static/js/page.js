// What every page can do: running timers, local times, copy, show and hide, ask before, tabs, live events.
import { startTimers, localTimes } from "./time.js";
import { listen } from "./live.js";
import { charts, watchCharts } from "./chart.js";
import { liveRows } from "./rows.js";
import { updates } from "./update.js";
import { word } from "./words.js";
import { works } from "./work.js";
import { records } from "./records.js";

const said = document.getElementById("said");
let quiet;
function say(text) {
  if (!said) return;
  said.textContent = text;
  said.classList.add("on");
  clearTimeout(quiet);
  quiet = setTimeout(() => said.classList.remove("on"), 1800);
}

async function copy(source) {
  const text = "value" in source ? source.value : source.textContent;
  try {
    await navigator.clipboard.writeText(text.trim());
    say(word("copied"));
  } catch {
    if (source.select) source.select();
    else getSelection().selectAllChildren(source);
    say(word("copy-yourself"));
  }
}

document.addEventListener("click", (event) => {
  const copied = event.target.closest("[data-copy]");
  if (copied) copy(document.getElementById(copied.dataset.copy));
  const shown = event.target.closest("[data-show]");
  if (shown) {
    const input = document.getElementById(shown.dataset.show);
    const visible = input.type === "password";
    input.type = visible ? "text" : "password";
    shown.setAttribute("aria-pressed", String(visible));
  }
  const tab = event.target.closest("[data-tab]");
  if (tab) showTab(tab.dataset.tab);
});

function showTab(name) {
  const field = document.querySelector("#record input[name=tab]");
  if (field) field.value = name;
  for (const row of document.querySelectorAll("[data-not-on]")) row.hidden = row.dataset.notOn.split(" ").includes(name);
  const address = new URL(location.href);
  address.searchParams.set("tab", name);
  history.replaceState(history.state, "", address);
}

// a line's Save button appears when something was typed
document.addEventListener("input", (event) => {
  if (event.target.matches("[data-saves]")) event.target.closest("form").querySelector(".line-save").hidden = false;
});

// a dialog of our own instead of the browser's
function ask(question, yes, go) {
  const dialog = document.getElementById("ask");
  document.getElementById("ask-text").textContent = question;
  document.getElementById("ask-yes").textContent = yes || word("go-on");
  dialog.returnValue = "no";
  dialog.showModal();
  dialog.addEventListener("close", () => { if (dialog.returnValue === "yes") go(); }, { once: true });
}

document.addEventListener("htmx:confirm", (event) => {
  if (!event.detail.question) return;
  event.preventDefault();
  ask(event.detail.question, event.detail.elt.dataset.yes, () => event.detail.issueRequest(true));
});

// a whole form that is sent only when somebody is sure
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.ask) return;
  event.preventDefault();
  ask(form.dataset.ask, form.dataset.yes, () => form.submit());
});

// the QR code on the box's screen leads here with the setup code behind the "#", which no server and no log ever sees
const asked = document.querySelector("[data-from-address]");
if (asked && !asked.value && location.hash) {
  asked.value = location.hash.slice(1, 61);
  history.replaceState(history.state, "", location.pathname + location.search);
}

// what was typed when the session was lost goes back into its form, which is not sent
for (const kept of document.querySelectorAll("[data-unsent]")) {
  const typed = JSON.parse(kept.dataset.typed);
  const address = (form) => new URL(form.getAttribute("action") || location.href, location.href).pathname;
  const form = [...document.forms].find((one) => one.method === "post" && address(one) === kept.dataset.unsent);
  for (const field of form?.elements ?? []) {
    const values = typed.filter(([name]) => name === field.name).map(([, value]) => value);
    if (["hidden", "password", "file", "submit"].includes(field.type) || !field.name) continue;
    if (["radio", "checkbox"].includes(field.type)) field.checked = values.includes(field.value);
    else if (values.length) field.value = values[0];
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

document.addEventListener("htmx:sendError", () => say(word("no-answer")));
document.addEventListener("htmx:responseError", () => say(word("did-not-work")));

// what was folded out stays so when its part of the page is fetched again
const folded = new Set();
document.addEventListener("toggle", (event) => {
  if (event.target.id && event.target.isConnected) folded[event.target.open ? "add" : "delete"](event.target.id);
}, true);

function prepare(root) {
  for (const one of root.querySelectorAll("details[id]")) if (folded.has(one.id)) one.open = true;
  localTimes(root);
  charts(root);
  for (const secret of root.querySelectorAll("[data-hide-after]")) {
    setTimeout(() => secret.parentElement?.querySelector("[data-hide]")?.dispatchEvent(new Event("hide")), 1000 * secret.dataset.hideAfter);
  }
}

document.addEventListener("htmx:afterSettle", (event) => prepare(event.target));
prepare(document);
startTimers();
if (document.body.hasAttribute("data-live")) listen();
liveRows();
watchCharts();
updates();
works();
records(ask);
