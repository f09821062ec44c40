// Forms and lists of records: what is not saved yet, names found while one types, a selection that outlives the page, one row that changes.

// ---- a form: says that it has changed, and asks before it is left ------------------------------------------------------

function guard(form, ask) {
  let changed = form.hasAttribute("data-changed");
  const bar = document.querySelector("[data-save-bar]");
  const tell = () => {
    const note = bar?.querySelector("[data-unsaved]");
    if (note) note.hidden = !changed;
    bar?.classList.toggle("changed", changed);
  };
  const before = new FormData(form);
  const differs = () => {
    const now = new FormData(form);
    const names = new Set([...before.keys(), ...now.keys()]);
    return [...names].some((name) => name !== "tab" && String(before.getAll(name)) !== String(now.getAll(name)));
  };
  const look = (event) => {
    if (event.target.form !== form) return;
    changed = form.hasAttribute("data-changed") || differs();
    tell();
  };
  document.addEventListener("input", look);
  document.addEventListener("change", look);
  form.addEventListener("submit", () => { changed = false; });
  addEventListener("beforeunload", (event) => { if (changed) event.preventDefault(); });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!changed || !link || link.target || link.getAttribute("href").startsWith("#") || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    ask(form.dataset.leave, form.dataset.leaveYes, () => { changed = false; location.assign(link.href); });
  });
  tell();
}

// ---- a picker: a box to type into, and what fits below it ----------------------------------------------------------------

function picker(place) {
  const box = place.querySelector("input[role=combobox]");
  const kept = place.querySelector("input[type=hidden]");
  const list = place.querySelector("ul");
  let at = -1;
  let asked = 0;
  const options = () => [...list.querySelectorAll("[data-key]")];
  const close = () => {
    list.hidden = true;
    at = -1;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  };
  const choose = (option) => {
    box.value = option.textContent;
    kept.value = `${option.dataset.key} ${option.textContent}`;
    close();
    box.dispatchEvent(new Event("input", { bubbles: true }));
    close();
  };
  const mark = (to) => {
    const all = options();
    if (!all.length) return;
    at = (to + all.length) % all.length;
    all.forEach((option, place) => option.setAttribute("aria-selected", String(place === at)));
    box.setAttribute("aria-activedescendant", all[at].id);
    all[at].scrollIntoView({ block: "nearest" });
  };
  const look = async () => {
    const mine = ++asked;
    const answer = await fetch(`${place.dataset.pick}?text=${encodeURIComponent(box.value)}`);
    if (!answer.ok || mine !== asked || document.activeElement !== box) return;
    list.innerHTML = await answer.text();
    options().forEach((option, n) => { option.id = `${list.id}-${n}`; });
    list.hidden = false;
    at = -1;
    box.setAttribute("aria-expanded", "true");
  };
  let timer;
  box.addEventListener("input", (event) => {
    if (!event.isTrusted) return; // chosen from the list
    clearTimeout(timer);
    timer = setTimeout(look, 150);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) look();
      else mark(at + (event.key === "ArrowDown" ? 1 : at < 0 ? 0 : -1));
    } else if (event.key === "Enter" && !list.hidden && at >= 0) {
      event.preventDefault();
      choose(options()[at]);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      close();
    }
  });
  box.addEventListener("blur", () => setTimeout(close, 150));
  list.addEventListener("mousedown", (event) => {
    const option = event.target.closest("[data-key]");
    if (option) { event.preventDefault(); choose(option); }
  });
}

// ---- a list: what is selected is kept in this tab, by kind, over pages, filters and searches ------------------------------

function selection(form) {
  const place = `selected:${form.dataset.kind}`;
  const load = () => new Set(JSON.parse(sessionStorage.getItem(place) || "[]"));
  let keys = load();
  let all = false;
  const bar = form.querySelector("[data-many]");
  if (!bar) return;
  const boxes = [...form.querySelectorAll("input[name=key]")];
  const whole = form.querySelector("[data-page-all]");
  const every = bar.querySelector("[data-select-all]");
  const count = bar.querySelector("[data-count]");
  const draw = () => {
    for (const box of boxes) box.checked = all || keys.has(box.value);
    const on = boxes.filter((box) => box.checked).length;
    whole.checked = on > 0 && on === boxes.length;
    whole.indeterminate = on > 0 && on < boxes.length;
    const number = all ? Number(form.dataset.total) : keys.size;
    count.textContent = every.dataset.said.replace("#", number);
    bar.classList.toggle("on", number > 0);
    every.hidden = all || !whole.checked || Number(form.dataset.total) <= keys.size;
    sessionStorage.setItem(place, JSON.stringify([...keys]));
  };
  form.addEventListener("change", (event) => {
    if (event.target === whole) for (const box of boxes) keys[whole.checked ? "add" : "delete"](box.value);
    else if (event.target.name === "key") keys[event.target.checked ? "add" : "delete"](event.target.value);
    else return;
    all = false;
    draw();
  });
  every.addEventListener("click", () => { all = true; draw(); });
  bar.querySelector("[data-select-none]").addEventListener("click", () => { all = false; keys = new Set(); draw(); });
  form.addEventListener("submit", () => {
    const hidden = (name, value) => {
      const input = Object.assign(document.createElement("input"), { type: "hidden", name, value });
      form.append(input);
    };
    if (all) hidden("all", "yes");
    else hidden("keys", [...keys].join(","));
    for (const box of boxes) box.disabled = true;
    sessionStorage.removeItem(place);
    setTimeout(() => { for (const box of boxes) box.disabled = false; });
  });
  draw();
}

// ---- the cells that follow what happens: only those that are different come back ------------------------------------------

function follow(name) {
  let timer;
  document.body.addEventListener(name, () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const cells = [...document.querySelectorAll("[data-cell]")];
      if (!cells.length) return;
      const asked = cells.map((cell) => `${cell.dataset.cell}:${cell.dataset.state}`).join(",");
      const answer = await fetch(`${location.pathname}/cells?shown=${encodeURIComponent(asked)}`, { headers: { "HX-Request": "true" } });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(`<table>${await answer.text()}</table>`, "text/html");
      for (const cell of page.querySelectorAll("[data-cell]")) document.getElementById(cell.id)?.replaceWith(cell);
    }, 100);
  });
}

// ---- search over everything ---------------------------------------------------------------------------------------------

function finder() {
  const dialog = document.getElementById("finder");
  const side = document.getElementById("find");
  if (!dialog) return;
  const box = dialog.querySelector("input");
  const list = document.getElementById("finder-hits");
  const hits = () => [...list.querySelectorAll("a.hit")];
  let at = 0;
  const mark = (to) => {
    const all = hits();
    if (!all.length) return box.removeAttribute("aria-activedescendant");
    at = (to + all.length) % all.length;
    all.forEach((hit, n) => {
      hit.classList.toggle("on", n === at);
      hit.parentElement.id = `hit-${n}`;
      hit.parentElement.setAttribute("role", "option");
      hit.parentElement.setAttribute("aria-selected", String(n === at));
      hit.tabIndex = -1;
    });
    box.setAttribute("aria-activedescendant", `hit-${at}`);
    all[at].scrollIntoView({ block: "nearest" });
  };
  const open = (text) => {
    if (dialog.open) return;
    dialog.showModal();
    box.value = text || "";
    box.focus();
    box.dispatchEvent(new Event("find"));
  };
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      open();
    }
  });
  side?.addEventListener("focus", () => { side.blur(); open(side.value); });
  box.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      mark(at + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Enter") {
      event.preventDefault();
      hits()[at]?.click();
    }
  });
  list.addEventListener("htmx:afterSwap", () => mark(0));
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("a.hit")) dialog.close();
  });
}

// ---- menus that fold out --------------------------------------------------------------------------------------------------

function menus() {
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu-down[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu-down[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
}

// a value that is typed for several records ticks its field
function several() {
  for (const field of document.querySelectorAll("[data-many-field]")) {
    const tick = field.querySelector("[name=set]");
    field.addEventListener("change", (event) => { if (event.target !== tick) tick.checked = true; });
  }
}

function prepare(root) {
  for (const place of root.querySelectorAll("[data-pick]:not([data-ready])")) {
    place.dataset.ready = "";
    picker(place);
  }
  const form = root.querySelector("#many:not([data-ready])");
  if (form) {
    form.dataset.ready = "";
    selection(form);
  }
}

export function records(ask) {
  const form = document.querySelector("form[data-guarded]");
  if (form) guard(form, ask);
  if (document.body.dataset.follows) follow(document.body.dataset.follows);
  finder();
  menus();
  several();
  prepare(document);
  document.addEventListener("htmx:afterSettle", () => prepare(document));
}
