"""The page in Debian's chromium: what is drawn, what the controls and the hand change.

Each test opens a page once, lets a script do what a hand would, and looks at what it found.
"""

import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
from browser import chromium_command, run_in_page
from plot_runs import LOG_COLUMNS, row_at, run_of

from electra_cli.plotting.curves import BUCKETS, GROUPS, SMOOTHING, smoothed
from electra_cli.plotting.look import DARK, DASHES, LIGHT, SYMBOLS
from electra_cli.plotting.page import write_page
from electra_cli.plotting.run_log import Mark, RunLog

pytestmark = pytest.mark.slow

ROWS = 20
# Those of a run without probes.
PANELS = [panel for group in GROUPS if group.title != "Probes" for panel in group.panels]

# What the scripts of the tests share. `lines` are those of a panel, as Plotly has them.
HELP = """
const pause = (milliseconds = 500) => new Promise((done) => setTimeout(done, milliseconds));
const plotOf = (column) => document.querySelector(`[data-training=${column}] .plot`);
const lines = (column) => plotOf(column).data.map(({ x, y, line, marker, opacity, yaxis }) =>
  ({ x: [...x], y: [...y], line, marker, opacity, yaxis }));
const choose = async (name, value) => {
  const input = document.querySelector(
    name === "smooth" ? "[name=smooth]" : `[name=${name}][value="${value}"]`);
  if (name === "smooth") input.value = value;
  else input.checked = !input.checked;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  input.dispatchEvent(new Event("change", { bubbles: true }));
  await pause();
};
const pointAtX = async (column, x) => {
  const area = plotOf(column).querySelector(".nsewdrag");
  const { left, width, top } = area.getBoundingClientRect();
  const [from, to] = plotOf(column).layout.xaxis.range;
  const clientX = left + width * (x - from) / (to - from);
  area.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX, clientY: top + 5 }));
  await pause(50);
};
const text = (selector) => document.querySelector(selector).innerText;
"""

Browse = Callable[..., dict[str, Any]]


@pytest.fixture
def browse(tmp_path_factory: pytest.TempPathFactory) -> Browse:
    """run_in_page with what the tests share, once the curves are drawn."""

    def show(page: Path, script: str, state: str = "", *options: str) -> dict[str, Any]:
        profile = tmp_path_factory.mktemp("profile")
        body = f"{HELP}\nawait pause(1500);\n{script}"
        return run_in_page(page, body, profile, state, *options)

    return show


def whole_run(name: str = "run", *marks: Mark, **settings: object) -> RunLog:
    """A run with a value in every column."""
    rows = [row_at(step) for step in range(1, ROWS + 1)]
    nan = float("nan")
    columns = {
        name: [nan if (value := row[name]) is None else value for row in rows]
        for name in LOG_COLUMNS
    }
    return RunLog(name, run_of(name, **columns).columns, settings, marks)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    write_page(tmp_path / "page.html", [whole_run()])
    return tmp_path / "page.html"


@pytest.fixture
def page_of_two(tmp_path: Path) -> Path:
    runs = [
        whole_run("a", Mark(5, "resumed", "from step 5"), seed=0),
        whole_run("<b>b</b>", Mark(7, "warning", "<i>no</i> context gain yet"), seed=1),
    ]
    write_page(tmp_path / "two.html", runs)
    return tmp_path / "two.html"


def test_every_panel_is_drawn_offline_and_asks_for_nothing(page, browse):
    found = browse(
        page,
        """
        return {
          drawn: document.querySelectorAll(".plot.js-plotly-plot").length,
          requests: performance.getEntriesByType("resource").length,
          values: text("[data-training=mlm_loss] .values"),
          mlm: lines("mlm_loss"), rtd: lines("rtd_loss"), auc: lines("rtd_content_auc"),
        };
        """,
    )
    assert (found["drawn"], found["requests"]) == (len(PANELS), 0)
    values = [row_at(step)["mlm_loss"] for step in range(1, ROWS + 1)]
    raw, smooth, held_out = found["mlm"]
    assert raw["y"] == pytest.approx(values, rel=1e-5)
    assert raw["opacity"] < 1
    assert smooth["y"] == pytest.approx(smoothed(values, SMOOTHING).tolist(), rel=1e-5)
    assert held_out["x"] == [5, 10, 15, 20]
    assert held_out["line"]["color"] != smooth["line"]["color"]
    assert found["rtd"][-1]["line"]["dash"] == "dot"  # the best constant predictor
    assert [line["x"] for line in found["auc"]] == [[5, 10, 15, 20]]  # held-out text alone
    newest = row_at(ROWS)["mlm_loss"]
    assert f"training {newest:#.4g}" in found["values"]


def test_the_axis_the_smoothing_and_the_scale_change_what_is_drawn(page, browse):
    found = browse(
        page,
        """
        const before = lines("mlm_loss");
        const type = plotOf("mlm_loss").layout.yaxis.type;
        const axes = {};
        for (const axis of ["tokens", "flops", "hours", "steps"]) {
          await choose("x", axis);
          axes[axis] = [lines("mlm_loss")[0].x.at(-1), plotOf("grad_norm").layout.xaxis.title.text];
        }
        await choose("smooth", 0.9);
        const smoother = lines("mlm_loss");
        await choose("smooth", 0);
        const rough = lines("mlm_loss");
        await choose("y", "log");
        return { before, axes, smoother, rough, type, hash: location.hash,
          now: plotOf("mlm_loss").layout.yaxis.type };
        """,
    )
    assert found["axes"] == {
        "tokens": [20_000, "tokens"],
        "flops": [2e14, "training FLOPs"],
        "hours": [0.2, "hours"],
        "steps": [20, "steps"],
    }
    before, smoother, rough = found["before"], found["smoother"], found["rough"]
    assert smoother[0] == before[0]  # the raw line stays
    assert smoother[1]["y"] == pytest.approx(smoothed(before[0]["y"], 0.9).tolist())
    assert [line["y"] for line in rough] == [before[0]["y"], before[2]["y"]]
    assert (found["type"], found["now"]) == ("linear", "log")
    assert found["hash"] == "#x=steps&y=log&smooth=0"


def test_the_address_restores_what_was_looked_at(page_of_two, browse):
    found = browse(
        page_of_two,
        """
        const { range } = plotOf("mlm_loss").layout.xaxis;
        return { range, y: plotOf("mlm_loss").layout.yaxis.type, lines: lines("mlm_loss") };
        """,
        "x=tokens&y=log&smooth=0&hide=1&from=4000&to=9000",
    )
    assert (found["range"], found["y"]) == ([4000, 9000], "log")
    curves = [line for line in found["lines"] if line.get("yaxis") != "y2"]
    assert len(curves) == 2  # training and held-out of the run that is left
    assert curves[0]["x"] == [4000.0 + 1000 * i for i in range(-1, 7)][1 : -0 or None][0:7]


def test_several_runs_differ_in_colour_dash_and_symbol_and_can_be_hidden(page_of_two, browse):
    found = browse(
        page_of_two,
        """
        const both = lines("mlm_loss");
        const swatches = document.querySelectorAll(".runs .swatch line").length;
        const legend = text(".runs");
        await choose("run", 1);
        const bold = document.querySelectorAll("b b").length;
        return { both, swatches, legend, bold, one: lines("mlm_loss") };
        """,
        "smooth=0",
    )
    first, first_held_out, second, second_held_out, _ = found["both"]
    assert first["line"]["color"] != second["line"]["color"]
    assert (first["line"]["dash"], second["line"]["dash"]) == (
        "solid",
        ",".join(f"{length}px" for length in DASHES[1]),
    )
    symbols = [line["marker"]["symbol"] for line in (first_held_out, second_held_out)]
    assert symbols == [SYMBOLS[0].plotly, SYMBOLS[1].plotly]
    assert found["one"][:2] == [first, first_held_out]
    assert len(found["one"]) == 3  # and the mark of the run that is left
    assert found["swatches"] == 2
    assert found["legend"].split() == ["●", "a", "seed", "0", "■", "<b>b</b>", "seed", "1"]
    assert found["bold"] == 0


def test_pointing_shows_all_values_at_a_step_in_every_panel(page, browse):
    found = browse(
        page,
        """
        await pointAtX("mlm_loss", 12.5);
        const cursors = [...document.querySelectorAll(".cursor")];
        const figures = [...document.querySelectorAll("figure")];
        const read = (f) => [f.dataset.training, f.querySelector(".values").innerText];
        const found = { at: text("#at"), shown: cursors.filter((c) => !c.hidden).length,
          values: Object.fromEntries(figures.map(read)) };
        await choose("x", "tokens");
        await pointAtX("rtd_loss", 12500);
        return { ...found, tokens: text("#at") };
        """,
        "smooth=0",
    )
    at_12, held_out_at_10 = row_at(12), row_at(10)
    assert found["at"] == "at step 12"
    assert found["shown"] == len(PANELS)
    for panel in PANELS:
        if panel.column in at_12 and panel.column not in ("learning_rate", "tokens_per_second"):
            assert f"training {at_12[panel.column]:#.4g}" in found["values"][panel.column]
        if (held_out := held_out_at_10.get(panel.held_out_column)) is not None:
            assert f"held-out {held_out:#.4g}" in found["values"][panel.column]
    assert "training 44,995" in found["values"]["tokens_per_second"]
    assert f"reference {at_12['rtd_constant_loss']:#.4g}" in found["values"]["rtd_loss"]
    assert found["tokens"] == "at 12,500 tokens"


def test_marks_lie_where_something_happened_and_tell_it_when_pointed_at(page_of_two, browse):
    found = browse(
        page_of_two,
        """
        const marks = () => lines("rtd_loss").find(({ yaxis }) => yaxis === "y2");
        const { shapes } = plotOf("rtd_loss").layout;
        const steps = marks();
        await choose("x", "tokens");
        const tokens = marks().x;
        await choose("x", "steps");
        await pointAtX("rtd_loss", 7.02);
        const near = text("[data-training=rtd_loss] .tip");
        const italics = document.querySelectorAll(".tip i i, .tip p > i:not(.symbol)").length;
        await pointAtX("rtd_loss", 15);
        const tip = document.querySelector("[data-training=rtd_loss] .tip");
        return { steps, tokens, near, italics, far: tip.hidden,
          shapes: shapes.map(({ x0, x1 }) => [x0, x1]),
          listed: text("main").includes("What happened") };
        """,
    )
    assert (found["steps"]["x"], found["steps"]["y"]) == ([5, 7], [1, 1])
    assert found["steps"]["marker"]["symbol"] == ["triangle-right", "triangle-up"]
    assert found["tokens"] == [5000, 7000]
    assert found["shapes"] == [[5, 5], [7, 7]]
    assert found["near"].strip() == "▲<b>b</b>: warning at step 7: <i>no</i> context gain yet"
    assert found["italics"] == 0
    assert found["far"]
    assert found["listed"]


def test_dragging_looks_closer_in_every_panel_and_a_double_click_or_the_button_goes_back(
    page, browse
):
    found = browse(
        page,
        """
        const mouse = (type, x) => {
          const area = document.querySelector(".nsewdrag");
          const { left, top } = area.getBoundingClientRect();
          const place = { clientX: left + x, clientY: top + 50, buttons: 1, view: window };
          const target = type === "mousedown" ? area : document;
          target.dispatchEvent(new MouseEvent(type, { bubbles: true, ...place }));
        };
        const ranges = () => [...document.querySelectorAll(".plot")]
          .map((plot) => plot.layout.xaxis.range.map((end) => end.toFixed(2)).join(" to "));
        const whole = ranges();
        for (const [type, x] of [["down", 50], ["move", 80], ["move", 100], ["up", 100]])
          mouse(`mouse${type}`, x);
        await pause();
        const closer = ranges();
        const hash = location.hash;
        const button = document.getElementById("whole");
        const offered = !button.hidden;
        for (const type of ["mousedown", "mouseup", "mousedown", "mouseup"]) mouse(type, 60);
        await pause();
        const back = ranges();
        zoomTo([1, 5]);
        await pause();
        button.click();
        await pause();
        return { whole, closer, hash, back, offered, clicked: ranges(), gone: button.hidden };
        """,
    )
    for state in ("whole", "back", "clicked"):
        assert set(found[state]) == {"0.00 to 20.30"}
    assert found["offered"]
    assert found["gone"]
    (closer,) = set(found["closer"])
    start, end = map(float, closer.split(" to "))
    assert 0 < start < end < 20
    assert f"from={int(start)}." in found["hash"]


@pytest.mark.parametrize("scheme, palette", [(0, DARK), (1, LIGHT)])
def test_the_page_is_dark_or_light_as_its_reader_prefers(page, browse, scheme, palette):
    found = browse(
        page,
        """
        return { page: getComputedStyle(document.body).backgroundColor,
          text: getComputedStyle(document.body).color,
          tick: getComputedStyle(document.querySelector(".xtick text")).fill,
          line: lines("mlm_loss")[0].line.color, heldOut: lines("mlm_loss")[2].line.color };
        """,
        "",
        f"--blink-settings=preferredColorScheme={scheme}",
    )

    def rgb(color: str) -> str:
        return f"rgb({', '.join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5))})"

    assert found == {
        "page": rgb(palette.page),
        "text": rgb(palette.text),
        "tick": rgb(palette.muted),
        "line": palette.series[0],
        "heldOut": palette.series[1],
    }


def test_a_long_run_keeps_its_spike_and_says_that_it_is_thinned(tmp_path, browse):
    count = 100 * BUCKETS
    values = [2.0 + i % 7 / 100 for i in range(count)]
    values[77_777] = 9.0
    run = run_of("long", step=list(range(count)), mlm_loss=values)
    write_page(tmp_path / "long.html", [run])
    found = browse(
        tmp_path / "long.html",
        """
        const [raw, mean] = lines("mlm_loss");
        return { points: raw.x.length, means: mean.x.length, spike: raw.x[raw.y.indexOf(9)],
          note: text("#thinning") };
        """,
    )
    assert (found["points"], found["means"]) == (pytest.approx(2 * BUCKETS, abs=2), BUCKETS)
    assert found["spike"] == 77_777
    assert "the longest log has 100,000 rows" in found["note"]
    assert "the lowest and the highest value" in found["note"]


def test_a_page_of_a_run_that_goes_on_reads_itself_anew(tmp_path):
    write_page(tmp_path / "live.html", [whole_run()], reload_seconds=1)
    content = (tmp_path / "live.html").read_bytes()
    assert b"Follows the run: reloads every 1 s." in content
    read: Queue[str] = Queue()

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            read.put(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/live.html"
        command = [*chromium_command(tmp_path / "profile"), "--remote-debugging-port=0", address]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as chromium:
            paths = [read.get(timeout=60) for _ in range(3)]
            chromium.terminate()
        server.shutdown()
    assert paths.count("/live.html") >= 2


def test_a_narrow_screen_needs_no_scrolling_to_the_side(page_of_two, browse):
    found = browse(
        page_of_two,
        "return { wide: document.documentElement.scrollWidth, screen: innerWidth };",
        "",
        "--window-size=390,844",
    )
    assert found["screen"] < 600
    assert found["wide"] <= found["screen"]
