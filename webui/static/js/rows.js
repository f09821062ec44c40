// Rows that change alone: a part with data-rows="ADDRESS" data-rows-on="EVENT" holds the rows of a list in the order of data-at, the greatest
// first. An event says which ones have changed; they are fetched and take their places, the rest of the page stays as it is.
const MOST = 200; // rows that a page grows to

export function liveRows() {
  for (const name of ["history", "registrations"]) {
    document.body.addEventListener(name, (event) => {
      for (const part of document.querySelectorAll(`[data-rows][data-rows-on="${name}"]`)) refresh(part, event.detail.ids);
    });
  }
}

async function refresh(part, ids) {
  if (!ids.length) return; // nobody knows which: the next one tells again
  const address = new URL(part.dataset.rows, location.href);
  address.searchParams.set("ids", ids.join(" "));
  try {
    const answer = await fetch(address, { headers: { "HX-Request": "true" } });
    if (!answer.ok || answer.redirected) return;
    const made = document.createElement("template");
    made.innerHTML = `<table><tbody>${await answer.text()}</tbody></table>`;
    for (const row of made.content.querySelectorAll("tr")) place(part, row);
  } catch {
    // the box does not answer; the line above the page says so
  }
}

function place(part, row) {
  const before = document.getElementById(row.id);
  row.classList.add("row-new");
  if (before) before.replaceWith(row);
  else if (part.rows.length < MOST && !("rowsKnown" in part.dataset)) { // a list that only shows what is there already takes no more
    const next = [...part.rows].find((one) => Number(one.dataset.at) < Number(row.dataset.at));
    part.insertBefore(row, next ?? null);
  }
  part.dispatchEvent(new CustomEvent("htmx:afterSettle", { bubbles: true })); // times as this browser shows them
}
