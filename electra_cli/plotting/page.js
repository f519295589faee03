// Connects the form, the panels and the data, and redraws whenever the form changes.
// The form and the zoom are the whole state. The address after # is a permalink to it, such as
// #x=tokens&y=log&smooth=0.9&hide=1&from=0&to=500 (hide: the hidden runs, counted from 0).

const form = document.querySelector("form");
const panels = [...document.querySelectorAll("figure")].map((figure) => {
  const plot = figure.querySelector(".plot");
  const cursor = element("div", "cursor");
  const tip = element("div", "tip");
  plot.after(cursor, tip);
  return {
    plot, cursor, tip, values: figure.querySelector(".values"), lines: [], marks: [], area: null,
    training: figure.dataset.training, heldOut: figure.dataset.heldOut,
    reference: figure.dataset.reference, smooth: figure.dataset.smooth === "1",
  };
});
const wholeButton = document.getElementById("whole");
const touch = matchMedia("(pointer: coarse)").matches;
const dark = matchMedia("(prefers-color-scheme: dark)");

// The visible part of the x axis: [from, to], or null for all of it.
let zoom = null;

function readState() {
  const fields = new FormData(form);
  const boxes = [...form.querySelectorAll("[name=run]")];
  const hide = boxes.filter((box) => !box.checked).map((box) => Number(box.value));
  return { x: fields.get("x"), y: fields.get("y"), smooth: Number(fields.get("smooth")), hide, zoom };
}

function restoreState() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const name of ["x", "y"]) {
    for (const input of form.elements[name]) {
      if (input.value === wanted.get(name) && !input.disabled) input.checked = true;
    }
  }
  if (wanted.has("smooth")) form.elements.smooth.value = wanted.get("smooth");
  const hidden = (wanted.get("hide") ?? "").split(",");
  for (const box of form.querySelectorAll("[name=run]")) box.checked = !hidden.includes(box.value);
  const [from, to] = ["from", "to"].map((name) => parseFloat(wanted.get(name)));
  zoom = from < to ? [from, to] : null;
}

function saveState() {
  const { x, y, smooth, hide } = readState();
  const fields = new URLSearchParams({ x, y, smooth });
  if (hide.length) fields.set("hide", hide.join(","));
  if (zoom) [["from", zoom[0]], ["to", zoom[1]]].forEach(([name, end]) => fields.set(name, end));
  history.replaceState(null, "", "#" + fields);
}

function theme() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return {
    muted: read("--muted"), rule: read("--rule"), surface: read("--surface"),
    warning: read("--warning"), series: read("--series").split(/\s+/),
    font: getComputedStyle(document.body).fontFamily,
  };
}

const axisTitle = () => form.querySelector("[name=x]:checked + span").textContent;

// Panels whose curves are not drawn yet, and the timer that draws the next of them.
let unpainted = [];
let painting = 0;

// Draw the visible panels at once and the others one by one, so that the page stays responsive.
function draw() {
  const state = readState();
  const colors = theme();
  document.getElementById("weight").textContent = state.smooth.toFixed(2);
  wholeButton.hidden = !zoom;
  drawLegend(colors);
  const shown = runs.map((run, index) => [run, index]).filter(([, i]) => !state.hide.includes(i));
  for (const panel of panels) {
    panel.lines = shown.flatMap(([run, index]) => linesOf(run, index, panel, state, colors));
    const drawn = shown.filter(([run]) => panel.lines.some((line) => line.run === run));
    panel.marks = drawn.flatMap(([run, index]) => marksOf(run, index, state, colors));
  }
  showValuesAt(null);
  const places = new Map(panels.map((panel) => [panel, panel.plot.getBoundingClientRect()]));
  const isVisible = (panel) => places.get(panel).bottom > 0 && places.get(panel).top < innerHeight;
  panels.filter(isVisible).forEach((panel) => paint(panel, state, colors));
  unpainted = panels.filter((panel) => !isVisible(panel));
  clearTimeout(painting);
  painting = setTimeout(paintRest, 0, state, colors);
}

function paintRest(state, colors) {
  if (!unpainted.length) return;
  paint(unpainted.shift(), state, colors);
  painting = setTimeout(paintRest, 0, state, colors);
}

function paint(panel, state, colors) {
  const traces = panel.lines.map((line) => ({
    type: "scatter", mode: "lines", ...visiblePart(line, state.zoom), ...line.trace,
  }));
  const layout = layoutOf(state, colors, axisTitle(), traces, panel.marks);
  if (panel.marks.length) traces.push(markTrace(panel.marks));
  const config = {
    displayModeBar: false, responsive: true, doubleClick: false, showTips: false,
  };
  Plotly.react(panel.plot, traces, layout, config);
  if (!panel.area) connect(panel);
}

// Beside the checkbox of each run, draw its line and its symbol.
function drawLegend(colors) {
  for (const box of form.querySelectorAll("[name=run]")) {
    const { training: color, dash, symbol } = lookOf(Number(box.value), colors);
    box.parentElement.querySelector(".swatch")?.remove();
    const line = lineSwatch({ color, width: 2, dash });
    box.after(element("span", "swatch", line, symbolSwatch(symbol.text, color)));
  }
}

// Draw once for several events in a row, such as those of a moving slider.
let waiting = 0;
function drawSoon() {
  clearTimeout(waiting);
  waiting = setTimeout(draw);
}

function zoomTo(range) {
  zoom = range;
  saveState();
  drawSoon();
}

// Pointing and zooming in one panel act on all panels.
function connect(panel) {
  const { plot } = panel;
  panel.area = () => plot.querySelector(".nsewdrag").getBoundingClientRect();
  plot.addEventListener("pointermove", ({ clientX }) => {
    const area = panel.area();
    const share = (clientX - area.left) / area.width;
    if (share >= 0 && share <= 1) pointAt(share, panel);
  });
  plot.addEventListener("pointerleave", () => showValuesAt(null));
  plot.on("plotly_relayout", (change) => {
    if ("xaxis.range[0]" in change) zoomTo([change["xaxis.range[0]"], change["xaxis.range[1]"]]);
  });
  plot.on("plotly_doubleclick", () => zoomTo(null));
}

// Reload the page at this interval to follow a run, but not while the reader uses it.
function follow(seconds) {
  let touchedAt = -Infinity;
  for (const kind of ["pointermove", "pointerdown", "keydown", "scroll"]) {
    addEventListener(kind, () => { touchedAt = performance.now(); }, { passive: true });
  }
  setInterval(() => {
    if (!document.hidden && performance.now() - touchedAt > 3000) location.reload();
  }, seconds * 1000);
}

restoreState();
draw();
form.addEventListener("input", ({ target }) => {
  if (target.name === "x") zoom = null;
  drawSoon();
});
form.addEventListener("change", saveState);
wholeButton.addEventListener("click", () => zoomTo(null));
addEventListener("hashchange", () => { restoreState(); drawSoon(); });
dark.addEventListener("change", drawSoon);
if (data.reloadSeconds) follow(data.reloadSeconds);
