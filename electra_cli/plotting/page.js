// Draws the panels of page.html from the data beside it, and again whenever the form changes.
// The form is the whole state: the address after # is a permalink to it, such as
// #x=tokens&y=log&smooth=0.9&hide=1 (hide: the runs left out, counted from 0).
"use strict";

const runs = JSON.parse(document.getElementById("data").textContent);
const form = document.querySelector("form");
const panels = [...document.querySelectorAll("figure")].map((figure) => {
  const plot = figure.querySelector(".plot");
  const cursor = document.createElement("div");
  cursor.className = "cursor";
  plot.after(cursor);
  return {
    plot, cursor, values: figure.querySelector(".values"), lines: [],
    training: figure.dataset.training, heldOut: figure.dataset.heldOut,
    reference: figure.dataset.reference, smooth: figure.dataset.smooth === "1",
  };
});
const touch = matchMedia("(pointer: coarse)").matches;
const dark = matchMedia("(prefers-color-scheme: dark)");

function readState() {
  const fields = new FormData(form);
  const boxes = [...form.querySelectorAll("[name=run]")];
  const hide = boxes.filter((box) => !box.checked).map((box) => Number(box.value));
  return { x: fields.get("x"), y: fields.get("y"), smooth: Number(fields.get("smooth")), hide };
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
}

function permalink({ x, y, smooth, hide }) {
  const fields = new URLSearchParams({ x, y, smooth });
  if (hide.length) fields.set("hide", hide.join(","));
  history.replaceState(null, "", "#" + fields);
}

function theme() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return {
    muted: read("--muted"), rule: read("--rule"), surface: read("--surface"),
    series: read("--series").split(/\s+/), font: getComputedStyle(document.body).fontFamily,
  };
}

// The same as curves.smoothed.
function smoothed(values, weight) {
  let total = 0;
  let norm = 0;
  return values.map((value) => {
    total = weight * total + value;
    norm = weight * norm + 1;
    return total / norm;
  });
}

// The lines of one run in one panel, over the whole run: { x, y, role, run, end, look }: end is
// where the run ends, look is what Plotly draws the line by.
function linesOf(run, index, panel, state, colors) {
  const x = run.x[state.x];
  if (!x.length) return [];
  const alone = runs.length === 1;
  // One run: a colour for training, another for held-out. Several: a colour a run, and where
  // there are more runs than colours, other dashes.
  const color = (role) => colors.series[(alone ? role : index) % colors.series.length];
  const dash = index < colors.series.length ? "solid" : "longdash";
  const weight = panel.smooth ? state.smooth : 0;
  const line = (points, y, role, look) =>
    ({ x: points.at.map((place) => x[place]), y, role, run, end: x.at(-1), look });
  const lines = [];

  const training = run.curves[panel.training];
  if (training) {
    const base = training.means ?? training.points;
    const strong = { line: { color: color(0), width: 2, dash } };
    if (training.means || weight > 0) {
      const faint = { line: { color: color(0), width: 1, dash }, opacity: 0.35 };
      lines.push(line(training.points, training.points.y, "training", faint));
      lines.push(line(base, smoothed(base.y, weight), weight > 0 ? "smoothed" : "mean", strong));
    } else {
      lines.push(line(base, base.y, "training", strong));
    }
  }
  const heldOut = run.curves[panel.heldOut]?.points;
  if (heldOut) {
    const marker = { color: color(1), size: 5, line: { color: colors.surface, width: 1 } };
    const look = { mode: "lines+markers", line: { color: color(1), width: 1, dash }, marker };
    lines.push(line(heldOut, heldOut.y, "held-out", look));
  }
  const reference = run.curves[panel.reference];
  if (reference) {
    const base = reference.means ?? reference.points;
    const dotted = { color: alone ? colors.muted : color(0), width: 1.5, dash: "dot" };
    lines.push(line(base, smoothed(base.y, weight), "reference", { line: dotted }));
  }
  return lines;
}

// The part of the x axis that is looked at: [from, to], or null for all of it.
let zoom = null;

// All of the longest run that is shown, and a little more for its last mark.
function wholeRange(state) {
  const shown = runs.filter((_, index) => !state.hide.includes(index));
  const ends = shown.map((run) => run.x[state.x].at(-1));
  return [0, Math.max(0, ...ends.filter(Number.isFinite)) * 1.015 || 1];
}

// The zoomed part of a line and a point to each side, so that the y axis fits what is seen.
function seen({ x, y }) {
  if (!zoom) return { x, y };
  const first = Math.max(0, countUpTo(x, zoom[0]) - 1);
  const end = countUpTo(x, zoom[1]) + 1;
  return { x: x.slice(first, end), y: y.slice(first, end) };
}

// How many of the ascending numbers are at most `limit`.
function countUpTo(numbers, limit) {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

function layoutOf(state, colors, traces) {
  const grid = { gridcolor: colors.rule, zeroline: false, automargin: true, nticks: 6 };
  return {
    margin: { l: 44, r: 12, t: 8, b: 36 },
    font: { family: colors.font, size: 12, color: colors.muted },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    showlegend: false, hovermode: false, dragmode: touch ? false : "zoom",
    xaxis: {
      ...grid, title: { text: axisTitle(), standoff: 6 }, range: zoom ?? wholeRange(state),
      exponentformat: state.x === "flops" ? "power" : "B", fixedrange: touch,
    },
    yaxis: { ...grid, ...ticks(state, traces), type: state.y, fixedrange: true },
  };
}

const axisTitle = () => form.querySelector("[name=x]:checked + span").textContent;

// Labels that do not crowd: 45k, 2×10⁻⁴, and on a log axis of few decades 1, 2 and 5 of each.
function ticks(state, traces) {
  let low = Infinity;
  let high = 0;
  for (const value of traces.flatMap(({ y }) => y)) {
    if (value > 0) low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const exponentformat = high >= 1e4 ? "B" : "power";
  const decades = Math.log10(high / low);
  if (state.y === "linear") return { exponentformat };
  if (decades > 3) return { dtick: 1, exponentformat };
  return { tickformat: high >= 1e4 ? "~s" : ".3~g", dtick: decades > 0.9 ? "D2" : undefined };
}

function draw() {
  const state = readState();
  const colors = theme();
  document.getElementById("weight").textContent = state.smooth.toFixed(2);
  for (const box of form.querySelectorAll("[name=run]")) {
    box.style.setProperty("--series-color", colors.series[box.value % colors.series.length]);
  }
  const config = { displayModeBar: false, responsive: true, doubleClick: false };
  for (const panel of panels) {
    panel.lines = runs.flatMap((run, index) =>
      state.hide.includes(index) ? [] : linesOf(run, index, panel, state, colors));
    const traces = panel.lines.map((line) => ({
      type: "scatter", mode: "lines", ...seen(line), ...line.look,
    }));
    Plotly.react(panel.plot, traces, layoutOf(state, colors, traces), config);
  }
  readAt(null);
}

// Once for many events at a time, such as those of a moving slider.
let waiting = 0;
function drawSoon() {
  clearTimeout(waiting);
  waiting = setTimeout(draw);
}

function figure(value) {
  if (value === undefined) return "–";
  if (value === 0) return "0";
  if (value < 1e-3 || value >= 1e13) return value.toExponential(3);
  const digits = { minimumSignificantDigits: 4, maximumSignificantDigits: 4 };
  return value.toLocaleString("en", value >= 1e3 ? { maximumFractionDigits: 0 } : digits);
}

// Write above every panel what its lines are at x: the newest value then, none after a run's end.
// Null: the newest value of all.
function readAt(x) {
  const moment = x === null ? "newest values" : `at ${figure(x)} ${axisTitle()}`;
  document.getElementById("at").textContent = moment;
  for (const { values, cursor, lines } of panels) {
    values.replaceChildren(...runs.map((run) => {
      const entries = document.createElement("span");
      entries.append(...lines.filter((line) => line.run === run).flatMap((line) => entry(line, x)));
      return entries;
    }));
    cursor.hidden = x === null;
  }
}

// A swatch and a number; of several runs without the raw line, for room.
function entry({ x: over, y, role, run, look, end }, x) {
  if (runs.length > 1 && look.opacity) return [];
  const swatch = document.createElement("i");
  swatch.className = role;
  swatch.style.color = look.line.color;
  swatch.style.opacity = look.opacity ?? 1;
  const text = document.createElement("span");
  const value = x > end ? undefined : y[countUpTo(over, x ?? Infinity) - 1];
  text.append(swatch, runs.length > 1 ? figure(value) : `${role} ${figure(value)}`);
  text.title = `${run.name}, ${role}`;
  return [text];
}

// What happens in one panel happens in all: the moment pointed at, the part looked at.
function join({ plot }) {
  plot.addEventListener("pointermove", ({ clientX }) => {
    const area = plot.querySelector(".nsewdrag").getBoundingClientRect();
    const share = (clientX - area.left) / area.width;
    if (share >= 0 && share <= 1) pointAt(share, plot.layout.xaxis.range);
  });
  plot.addEventListener("pointerleave", () => readAt(null));
  plot.on("plotly_relayout", (change) => {
    if (!("xaxis.range[0]" in change)) return;
    zoom = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
    drawSoon();
  });
  plot.on("plotly_doubleclick", () => { zoom = null; drawSoon(); });
}

function pointAt(share, [from, to]) {
  // All places are measured before anything moves: the browser lays the page out once.
  const places = panels.map(({ plot }) => ({
    outer: plot.parentElement.getBoundingClientRect(),
    area: plot.querySelector(".nsewdrag").getBoundingClientRect(),
  }));
  readAt(from + share * (to - from));
  panels.forEach(({ cursor }, index) => {
    const { outer, area } = places[index];
    Object.assign(cursor.style, {
      left: `${area.left - outer.left + share * area.width}px`,
      top: `${area.top - outer.top}px`, height: `${area.height}px`,
    });
  });
}

restoreState();
draw();
panels.forEach(join);
form.addEventListener("input", ({ target }) => {
  if (target.name === "x") zoom = null;
  drawSoon();
});
form.addEventListener("change", () => permalink(readState()));
addEventListener("hashchange", () => { zoom = null; restoreState(); drawSoon(); });
dark.addEventListener("change", drawSoon);
