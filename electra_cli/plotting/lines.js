// Computes the traces and the layout of a panel from the data of the runs, the state of the form and
// the theme's colours. Nothing here reads or changes the page.

const { runs, dashes, symbols, marks: markLooks } = data;
const isSingle = runs.length === 1;

// More symbols of held-out values would cover each other, and each takes time to draw.
const MAX_SYMBOLS = 40;

// Exponential mean, without bias at its start; the same as smoothed in curves.py.
function smoothed(values, weight) {
  let total = 0;
  let norm = 0;
  return values.map((value) => {
    total = weight * total + value;
    norm = weight * norm + 1;
    return total / norm;
  });
}

// How a run is drawn. A single run has one colour for training and another for held-out text;
// several runs have a colour, a dash and a symbol each, so that they differ without colour too.
function lookOf(index, colors) {
  const pick = (list, place) => list[place % list.length];
  return {
    training: pick(colors.series, index),
    heldOut: pick(colors.series, isSingle ? 1 : index),
    reference: isSingle ? colors.muted : pick(colors.series, index),
    dash: pick(dashes, index).map((length) => `${length}px`).join() || "solid",
    symbol: pick(symbols, index),
  };
}

// The lines of one run in one panel, over the whole run: { x, y, role, run, end, trace, symbol }.
// `end` is the x at which the run ends; `trace` has Plotly's attributes of the line.
function linesOf(run, index, panel, state, colors) {
  const x = run.x[state.x];
  if (!x.length) return [];
  const look = lookOf(index, colors);
  const weight = panel.smooth ? state.smooth : 0;
  const line = (points, y, role, trace) =>
    ({
      x: points.at.map((place) => x[place]), y, role, run, end: x.at(-1), trace,
      symbol: look.symbol.text,
    });
  const lines = [];

  const training = run.curves[panel.training];
  if (training) {
    const base = training.means ?? training.points;
    const strong = { line: { color: look.training, width: 2, dash: look.dash } };
    if (training.means || weight > 0) {
      const faint = { line: { color: look.training, width: 1 }, opacity: 0.35 };
      lines.push(line(training.points, training.points.y, "training", faint));
      lines.push(line(base, smoothed(base.y, weight), weight > 0 ? "smoothed" : "mean", strong));
    } else {
      lines.push(line(base, base.y, "training", strong));
    }
  }
  const heldOut = run.curves[panel.heldOut]?.points;
  if (heldOut) {
    const edge = { color: colors.surface, width: 1 };
    const marker = {
      color: look.heldOut, symbol: look.symbol.plotly, size: 7, line: edge,
      maxdisplayed: MAX_SYMBOLS,
    };
    const thin = { color: look.heldOut, width: 1, dash: look.dash };
    const trace = { mode: "lines+markers", line: thin, marker };
    lines.push(line(heldOut, heldOut.y, "held-out", trace));
  }
  const reference = run.curves[panel.reference];
  if (reference) {
    const base = reference.means ?? reference.points;
    const dotted = { color: look.reference, width: 1.5, dash: "dot" };
    lines.push(line(base, smoothed(base.y, weight), "reference", { line: dotted }));
  }
  return lines;
}

// The events and checkpoints of a run: { x, step, kind, text, run, color }.
function marksOf(run, index, state, colors) {
  const colorOf = (kind) => {
    if (!isSingle) return lookOf(index, colors).training;
    return kind === "warning" ? colors.warning : colors.muted;
  };
  const placed = run.marks.filter(({ x }) => x[state.x] !== null);
  return placed.map((mark) => ({ ...mark, x: mark.x[state.x], run, color: colorOf(mark.kind) }));
}

// Their symbols on the frame of a panel, on a second y axis from 0 (bottom) to 1 (top).
function markTrace(marks) {
  return {
    type: "scatter", mode: "markers", yaxis: "y2", cliponaxis: false,
    x: marks.map(({ x }) => x), y: marks.map(({ kind }) => Number(markLooks[kind].at_top)),
    marker: {
      size: 8, color: marks.map(({ color }) => color),
      symbol: marks.map(({ kind }) => markLooks[kind].symbol.plotly),
    },
  };
}

// Vertical lines at the events after which the curves may differ from before.
function markLines(marks) {
  return marks.filter(({ kind }) => markLooks[kind].has_line).map(({ x, kind, color }) => ({
    type: "line", xref: "x", yref: "y domain", x0: x, x1: x, y0: 0, y1: 1, layer: "below",
    opacity: 0.6, line: { color, width: 1, dash: kind === "warning" ? "dot" : "dash" },
  }));
}

// The part of a line inside the zoom and one point on each side: the y axis fits what is visible.
function visiblePart({ x, y }, zoom) {
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

// The x range of the longest run that is shown, marks included, and a margin for the last point.
function wholeRange(state) {
  const shown = runs.filter((_, index) => !state.hide.includes(index));
  const ends = shown.flatMap(({ x, marks }) => [x[state.x].at(-1), marks.at(-1)?.x[state.x]]);
  return [0, Math.max(0, ...ends.filter(Number.isFinite)) * 1.015 || 1];
}

// Plotly's layout of a panel.
function layoutOf(state, colors, title, traces, marks) {
  const grid = { gridcolor: colors.rule, zeroline: false, automargin: true, nticks: 6 };
  return {
    margin: { l: 44, r: 12, t: 10, b: 36 },
    font: { family: colors.font, size: 12, color: colors.muted },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    showlegend: false, hovermode: false, dragmode: touch ? false : "zoom",
    xaxis: {
      ...grid, title: { text: title, standoff: 6 }, range: state.zoom ?? wholeRange(state),
      exponentformat: state.x === "flops" ? "power" : "B", fixedrange: touch,
    },
    yaxis: { ...grid, ...ticks(state, traces), type: state.y, fixedrange: true },
    yaxis2: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true },
    shapes: markLines(marks),
  };
}

// Tick labels that fit: 45k, 2×10⁻⁴; on a log axis over few decades 1, 2 and 5 of each decade.
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
