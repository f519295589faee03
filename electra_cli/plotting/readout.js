// Shows what is at the pointer: above every panel its values, beside the pointer the events there,
// and a vertical line at the same x in all panels.

// Marks closer to the pointer than this are described in the box.
const REACH_PIXELS = 8;

// A value with four digits; of a large number all digits before the decimal point.
function formatValue(value) {
  if (value === undefined) return "–";
  if (value === 0) return "0";
  if (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e13) return value.toExponential(3);
  const digits = { minimumSignificantDigits: 4, maximumSignificantDigits: 4 };
  return value.toLocaleString("en", value >= 1e3 ? { maximumFractionDigits: 0 } : digits);
}

function element(name, className, ...content) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...content);
  return made;
}

// A short line for a legend, with the curve's colour and dashes.
function lineSwatch({ color, width, dash }, opacity = 1) {
  const space = "http://www.w3.org/2000/svg";
  const swatch = document.createElementNS(space, "svg");
  const line = document.createElementNS(space, "line");
  const lengths = { solid: "", dot: "2,3" }[dash ?? "solid"] ?? dash.replaceAll("px", "");
  const looks = { x2: 24, y1: 5, y2: 5, stroke: color, "stroke-width": width, opacity };
  for (const [name, value] of Object.entries(looks)) line.setAttribute(name, value);
  line.setAttribute("stroke-dasharray", lengths);
  swatch.setAttribute("class", "line");
  swatch.append(line);
  return swatch;
}

function symbolSwatch(text, color) {
  const swatch = element("i", "symbol", text);
  swatch.style.color = color;
  return swatch;
}

// The text for a position on the x axis. Steps are whole numbers: a position between two steps
// belongs to the first.
function positionText(x) {
  if (readState().x === "steps") return `at step ${Math.floor(x).toLocaleString("en")}`;
  return `at ${formatValue(x)} ${axisTitle()}`;
}

// Write above every panel the values of its lines at x: the newest up to there, none after a run's
// end. If x is null, the newest of all.
function showValuesAt(x) {
  document.getElementById("at").textContent = x === null ? "newest values" : positionText(x);
  for (const { values, cursor, tip, lines } of panels) {
    values.replaceChildren(...runs.map((run) => {
      const own = lines.filter((line) => line.run === run);
      return element("span", "", ...own.flatMap((line) => entry(line, x)));
    }));
    cursor.hidden = x === null;
    tip.hidden = true;
  }
}

// A swatch and a number. Of several runs the raw line is left out, to save room.
function entry({ x: over, y, role, run, trace, symbol, end }, x) {
  if (!isSingle && trace.opacity) return [];
  const value = x > end ? undefined : y[countUpTo(over, x ?? Infinity) - 1];
  const swatch = role === "held-out"
    ? symbolSwatch(symbol, trace.line.color)
    : lineSwatch(trace.line, trace.opacity);
  const text = element("span", "", swatch, isSingle ? `${role} ${formatValue(value)}` : formatValue(value));
  text.title = `${run.name}, ${role}`;
  return [text];
}

// Show the values at a fraction `share` of the width of every panel; `panel` is under the pointer.
function pointAt(share, panel) {
  const [from, to] = panel.plot.layout.xaxis.range;
  const x = from + share * (to - from);
  // Measure all panels before changing any, so that the browser computes the layout only once.
  const painted = panels.filter((other) => other.area);
  const places = painted.map((other) => ({
    outer: other.plot.parentElement.getBoundingClientRect(), area: other.area(),
  }));
  showValuesAt(x);
  painted.forEach(({ cursor }, index) => {
    const { outer, area } = places[index];
    Object.assign(cursor.style, {
      left: `${area.left - outer.left + share * area.width}px`,
      top: `${area.top - outer.top}px`, height: `${area.height}px`,
    });
  });
  const { outer, area } = places[painted.indexOf(panel)];
  const reach = (REACH_PIXELS / area.width) * (to - from);
  describe(panel, panel.marks.filter((mark) => Math.abs(mark.x - x) <= reach));
  const left = area.left - outer.left + share * area.width;
  const side = share < 0.5 ? { left: `${left + 10}px`, right: "" }
    : { left: "", right: `${outer.width - left + 10}px` };
  Object.assign(panel.tip.style, side, { top: `${area.top - outer.top + 10}px` });
}

// Describe these marks in the box beside the pointer.
function describe({ tip }, marks) {
  tip.hidden = marks.length === 0;
  tip.replaceChildren(...marks.map(({ step, kind, text, run, color }) => {
    const where = `${isSingle ? "" : `${run.name}: `}${kind} at step ${step.toLocaleString("en")}`;
    const symbol = symbolSwatch(markLooks[kind].symbol.text, color);
    return element("p", "", symbol, text ? `${where}: ${text}` : where);
  }));
}
