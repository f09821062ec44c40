import { language } from "./words.js";

// Timers run by the box's clock: data-now on the page tells how far the browser's clock is off.
const offset = Number(document.body.dataset.now) - Date.now() / 1000;

function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  return hours ? `${hours}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}` : `${Math.floor(whole / 60)}:${two(whole % 60)}`;
}

const days = new Intl.NumberFormat(language, { style: "unit", unit: "day", unitDisplay: "long" });

// A length of time in its two largest units, as appliance/words says it.
function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [count, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (count) return `${days.format(count)} ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

export function startTimers() {
  setInterval(() => {
    const now = Date.now() / 1000 + offset;
    for (const timer of document.querySelectorAll("[data-since]")) timer.textContent = clock(now - Number(timer.dataset.since));
    for (const since of document.querySelectorAll("[data-ago]")) since.textContent = span(now - Number(since.dataset.ago));
  }, 500);
}

// The office's, where it has said one that this browser knows.
const timeZone = known(document.body.dataset.zone);

function known(zone) {
  try {
    return zone ? new Intl.DateTimeFormat("en", { timeZone: zone }).resolvedOptions().timeZone : undefined;
  } catch {
    return undefined;
  }
}

const shapes = {
  full: { dateStyle: "medium", timeStyle: "short" },
  exact: { dateStyle: "medium", timeStyle: "medium" },
  day: { dateStyle: "long" },
};

export function localTimes(root) {
  const day = new Intl.DateTimeFormat("en", { dateStyle: "short", timeZone });
  const today = day.format(new Date());
  for (const element of root.querySelectorAll("time[data-time]")) {
    const moment = new Date(element.dateTime);
    const shape = element.dataset.time === "short"
      ? (day.format(moment) === today ? { timeStyle: "short" } : { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" })
      : shapes[element.dataset.time];
    element.textContent = new Intl.DateTimeFormat(language, { ...shape, timeZone }).format(moment);
    element.title = new Intl.DateTimeFormat(language, { ...shapes.exact, timeZone }).format(moment);
  }
}
