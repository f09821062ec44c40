// The calls of the last hours as columns, drawn by uPlot from the table beside them. Colours are those of the page, light or dark.
const SERIES = ["failed", "missed", "answered"]; // what is drawn first lies behind

const drawn = new Map(); // place -> chart

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function draw(place) {
  const data = JSON.parse(place.dataset.chart);
  const hours = data.at.map((_, place) => place);
  const stacked = [
    data.at.map((_, n) => data.answered[n] + data.missed[n] + data.failed[n]),
    data.at.map((_, n) => data.answered[n] + data.missed[n]),
    data.answered,
  ];
  const text = colour("--tblr-secondary");
  const axis = { stroke: text, grid: { stroke: colour("--chart-grid"), width: 1 }, ticks: { show: false }, font: "12px Inter Variable, sans-serif" };
  const label = (n) => (Number.isInteger(n) && n >= 0 && n < data.at.length ? data.names[n] : "");
  drawn.get(place)?.destroy();
  place.replaceChildren();
  drawn.set(place, new window.uPlot({
    width: place.clientWidth, height: place.clientHeight, legend: { show: false }, cursor: { show: false }, padding: [8, 4, 0, 0],
    scales: { x: { time: false, range: [-0.6, data.at.length - 0.4] }, y: { range: (_, __, most) => [0, Math.max(4, most * 1.1)] } },
    axes: [
      { ...axis, grid: { show: false }, size: 28, values: (_, at) => at.map(label), space: 52, incrs: [1, 2, 3, 4, 6, 12] },
      { ...axis, size: 34, values: (_, at) => at.map((n) => (Number.isInteger(n) ? n : "")), incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000] },
    ],
    series: [{}, ...SERIES.map((name) => ({
      fill: colour(`--chart-${name}`), width: 0, points: { show: false }, paths: window.uPlot.paths.bars({ size: [0.7, 28], radius: 0.15 }),
    }))],
  }, [hours, ...stacked], place));
}

export function charts(root) {
  for (const place of drawn.keys()) if (!place.isConnected) { drawn.get(place).destroy(); drawn.delete(place); }
  if (window.uPlot) for (const place of root.querySelectorAll("[data-chart]")) draw(place);
}

export function watchCharts() {
  const again = () => { for (const place of [...drawn.keys()]) if (place.isConnected) draw(place); };
  new MutationObserver(again).observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
  addEventListener("resize", again);
}
