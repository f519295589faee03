import html
import json
import math
import re
import shutil
import subprocess
import sys
import webbrowser
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from electra_cli.commands import plot
from electra_cli.errors import RunError
from electra_cli.metrics import LOG_COLUMNS
from electra_cli.plotting.curves import (
    AXES,
    BUCKETS,
    GROUPS,
    SMOOTHING,
    RunLog,
    smoothed,
    thin,
)
from electra_cli.plotting.page import write_page
from electra_cli.plotting.picture import write_picture
from electra_cli.run_directory import RunDirectory


def row_at(step: int) -> dict[str, float | None]:
    """A row with every column: curves that fall, wave and are evaluated at each fifth step."""
    wave = 0.1 * math.sin(step)
    row: dict[str, float | None] = dict.fromkeys(LOG_COLUMNS, 0.5 + wave)
    row |= {"step": step, "tokens_seen": 1000 * step, "train_flops": 1e13 * step}
    row |= {"elapsed_seconds": 36.0 * step, "mlm_loss": 2 + 8 / step + wave}
    row |= {"learning_rate": 1e-4 / step, "tokens_per_second": 45_000 + 100 * wave}
    if step % 5:
        row |= {column: None for column in LOG_COLUMNS if column.startswith("validation_")}
    return row


def write_log(root: Path, rows: int = 20, drop: tuple[str, ...] = ()) -> Path:
    root.mkdir(parents=True)
    for step in range(1, rows + 1):
        row = row_at(step)
        RunDirectory(root).append_row({key: row[key] for key in row if key not in drop})
    return root


def draw(*runs: Path, out: Path | None = None, png: Path | None = None) -> None:
    plot.run(runs, out=out, png=png, open_browser=False)


def data_of(page: str) -> list[dict[str, object]]:
    """The data that the page draws, one entry a run."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


# What is drawn


def test_every_drawn_column_is_in_the_log():
    panels = [panel for group in GROUPS for panel in group.panels]
    names = {panel.column for panel in panels} | {panel.held_out for panel in panels}
    names |= {panel.reference for panel in panels if panel.reference}
    names |= {axis.column for axis in AXES}
    only_held_out = {"rtd_content_auc"}
    only_training = {f"validation_{name}" for name in ("learning_rate", "grad_norm")}
    only_training.add("validation_tokens_per_second")
    assert names - set(LOG_COLUMNS) == only_held_out | only_training


def test_a_short_curve_keeps_every_value():
    curve = thin([1.0, None, 3.0, math.nan, math.inf, 2.0])
    assert (curve.points.rows, curve.points.values) == ([0, 2, 5], [1.0, 3.0, 2.0])
    assert not curve.thinned


def test_thinning_keeps_extremes_and_ends():
    values = [math.sin(i / 1000) for i in range(100_000)]
    values[33_333], values[77_777] = 9.0, -9.0
    curve = thin(values)
    kept = dict(zip(curve.points.rows, curve.points.values, strict=True))
    assert curve.thinned
    assert len(kept) <= 2 * BUCKETS + 2
    assert (kept[33_333], kept[77_777]) == (9.0, -9.0)
    assert {0, 99_999} <= set(kept)
    assert all(values[row] == value for row, value in kept.items())


def test_thinning_keeps_the_extremes_of_every_bucket():
    values = [float((i * 7919) % 10_007) for i in range(10 * BUCKETS)]
    kept = set(thin(values).points.rows)
    for start in range(0, len(values), 10):
        bucket = values[start : start + 10]
        assert start + bucket.index(min(bucket)) in kept
        assert start + bucket.index(max(bucket)) in kept


def test_the_means_of_a_thinned_curve_have_its_mean():
    values = [float(i % 97) for i in range(50 * BUCKETS)]
    means = thin(values).means
    assert len(means.rows) == BUCKETS
    assert math.fsum(means.values) / BUCKETS == pytest.approx(math.fsum(values) / len(values))


def test_smoothing_is_a_mean_without_a_biased_start():
    assert smoothed([1.0, 3.0], 0.5) == [1.0, pytest.approx((0.5 * 1 + 3) / 1.5)]
    assert smoothed([4.0] * 5, 0.9) == pytest.approx([4.0] * 5)
    assert smoothed([1.0, 5.0], 0.0) == [1.0, 5.0]


# The page


def test_the_page_of_one_run_lies_in_its_folder_and_its_path_is_printed(tmp_path, capsys):
    run = write_log(tmp_path / "small")
    draw(run)
    assert capsys.readouterr().out == f"{run / 'loss_curve.html'}\n"
    assert (run / "loss_curve.html").is_file()


def test_the_page_of_several_runs_lies_in_the_current_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw(write_log(tmp_path / "a"), write_log(tmp_path / "b"))
    assert capsys.readouterr().out == "loss_curve.html\n"
    assert len(data_of(Path("loss_curve.html").read_text())) == 2


def test_the_page_loads_nothing_from_outside(tmp_path):
    draw(write_log(tmp_path / "run"), out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    tags = Tags(page).found
    assert [(tag, name) for tag, attrs in tags for name in ("src", "href") if name in attrs] == []
    assert not {"link", "iframe", "img", "object", "base"} & {tag for tag, _ in tags}
    assert "default-src 'none'" in page
    assert page.count("* plotly.js v") == 1


def test_the_page_has_the_data(tmp_path):
    draw(write_log(tmp_path / "run"), out=tmp_path / "page.html")
    (run,) = data_of((tmp_path / "page.html").read_text())
    wanted = [float(f"{row_at(step)['mlm_loss']:.6g}") for step in range(1, 21)]
    assert run["curves"]["mlm_loss"]["points"] == {"at": list(range(20)), "y": wanted}
    assert run["curves"]["validation_rtd_content_auc"]["points"]["at"] == [4, 9, 14, 19]
    assert run["x"]["steps"] == list(range(1, 21))
    assert run["x"]["tokens"] == [1000 * step for step in range(1, 21)]
    assert run["x"]["hours"] == pytest.approx([0.01 * step for step in range(1, 21)])


def test_the_table_has_the_newest_figures(tmp_path):
    draw(write_log(tmp_path / "run", rows=22), out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    training, held_out = row_at(22)["mlm_loss"], row_at(20)["validation_mlm_loss"]
    assert f"MLM loss</th><td>{training:#.4g}</td><td>{held_out:#.4g}</td>" in page
    assert "tokens</th><td>22,000</td><td></td>" in page


@pytest.mark.parametrize("count, shown", [(1, 3), (2, 6)])  # head, heading, boxes and table
def test_a_name_is_text_whatever_it_is(tmp_path, count, shown):
    name = '<script>alert(1)</script> & "$1" \'</title>'
    runs = [RunLog(name, {"step": [1.0], "mlm_loss": [2.0]})] * count
    write_page(tmp_path / "page.html", runs)
    page = (tmp_path / "page.html").read_text()
    assert "<script>alert" not in page
    assert "</title>" not in page[page.index("<style>") : page.index("Licensed under")]
    assert page.count(html.escape(name)) == shown
    assert [run["name"] for run in data_of(page)] == [name] * count


def test_a_long_run_is_thinned_and_the_page_says_so(tmp_path):
    count = 5 * BUCKETS
    columns = {"step": [float(i) for i in range(count)], "mlm_loss": [1.0] * count}
    write_page(tmp_path / "long.html", [RunLog("long", columns)])
    write_page(tmp_path / "short.html", [RunLog("short", {"step": [1.0], "mlm_loss": [1.0]})])
    assert "the lowest and the highest value" in (tmp_path / "long.html").read_text()
    assert "the lowest and the highest value" not in (tmp_path / "short.html").read_text()


def test_values_that_are_not_finite_are_gaps(tmp_path):
    columns = {"step": [1.0, 2.0, 3.0], "mlm_loss": [2.0, math.nan, 1.0]}
    columns |= {"tokens_seen": [1.0, math.inf, 3.0]}
    write_page(tmp_path / "page.html", [RunLog("run", columns)])
    (run,) = data_of((tmp_path / "page.html").read_text())
    assert run["curves"]["mlm_loss"]["points"]["y"] == [2.0, 1.0]


def test_panels_without_values_are_left_out_and_axes_disabled(tmp_path):
    drop = tuple(name for name in LOG_COLUMNS if name not in ("step", "mlm_loss"))
    draw(write_log(tmp_path / "old", drop=drop), out=tmp_path / "page.html")
    tags = Tags((tmp_path / "page.html").read_text()).found
    assert [attrs["data-training"] for tag, attrs in tags if tag == "figure"] == ["mlm_loss"]
    disabled = [attrs["value"] for tag, attrs in tags if tag == "input" and "disabled" in attrs]
    assert disabled == ["tokens", "flops", "hours"]


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    first, second = write_log(tmp_path / "a/run"), write_log(tmp_path / "b/run")
    draw(first, second, first / "." / "", out=tmp_path / "page.html")
    runs = data_of((tmp_path / "page.html").read_text())
    assert [run["name"] for run in runs] == ["a/run", "b/run"]


def test_a_browser_is_opened_only_when_asked(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    run = write_log(tmp_path / "run")
    draw(run)
    assert opened == []
    plot.run([run], out=None, png=None, open_browser=True)
    assert opened == [(run / "loss_curve.html").as_uri()]


def test_plotting_loads_neither_torch_nor_pydantic_nor_yaml(tmp_path):
    run = write_log(tmp_path / "run")
    script = (
        "import sys; from pathlib import Path; from electra_cli.commands import plot;"
        "plot.run([Path(sys.argv[1])], out=None, png=None, open_browser=False);"
        "print({'torch', 'pydantic', 'yaml', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script, str(run)]
    assert subprocess.run(command, check=True, capture_output=True).stdout.endswith(b"set()\n")


# What is refused


@pytest.mark.parametrize(
    "content, problem",
    [
        (None, "has no training_log.csv"),
        ("", "has no rows yet"),
        ("step,mlm_loss\n", "has no rows yet"),
        ("step,mlm_loss\n1,2", "has no rows yet"),
        ("mlm_loss\n2.0\n", "rows without a step"),
        ("step,mlm_loss\n1,2.0\n,3.0\n", "rows without a step"),
        ("step,other\n1,2.0\n", "nothing to draw"),
    ],
)
def test_a_log_that_cannot_be_drawn_is_an_error_and_leaves_no_page(tmp_path, content, problem):
    if content is not None:
        RunDirectory(tmp_path).log.write_text(content)
    with pytest.raises(RunError, match=problem):
        draw(tmp_path)
    assert not RunDirectory(tmp_path).page.exists()


def test_a_log_cut_in_the_middle_of_a_line_is_drawn(tmp_path):
    run = write_log(tmp_path / "run")
    with RunDirectory(run).log.open("a") as file:
        file.write("21,1.0,21")
    draw(run)
    assert data_of(RunDirectory(run).page.read_text())[0]["x"]["steps"][-1] == 20


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(RunError, match="no folder"):
        draw(write_log(tmp_path / "run"), tmp_path / "other")


def test_a_folder_of_runs_is_named_as_such(tmp_path):
    write_log(tmp_path / "run")
    with pytest.raises(RunError, match="is no run but holds runs: run") as error:
        draw(tmp_path)
    assert str(tmp_path / "run") in error.value.hint


def test_among_several_runs_one_without_rows_is_passed_over(tmp_path, capsys):
    RunDirectory(tmp_path).log.write_text("step,mlm_loss\n")
    draw(write_log(tmp_path / "run"), tmp_path, out=tmp_path / "page.html")
    assert len(data_of((tmp_path / "page.html").read_text())) == 1
    assert "has no rows yet" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["out", "png"])
def test_a_file_of_the_users_is_never_overwritten(tmp_path, option):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(RunError, match="was not written by electra"):
        draw(write_log(tmp_path / "run"), **{option: notes})
    assert notes.read_text() == "mine"


def test_a_page_and_a_picture_of_ours_are_written_anew(tmp_path):
    run, png = write_log(tmp_path / "run"), tmp_path / "curves.png"
    draw(run, png=png)
    before = RunDirectory(run).page.read_text()
    RunDirectory(run).append_row(row_at(21))
    draw(run, png=png)
    assert RunDirectory(run).page.read_text() != before
    assert list(tmp_path.rglob("*.partial")) == []


@pytest.mark.parametrize("place", ["run", "run/training_log.csv/page.html"])
def test_a_place_that_cannot_be_written_is_an_error(tmp_path, place):
    with pytest.raises(RunError) as error:
        draw(write_log(tmp_path / "run"), out=tmp_path / place)
    assert "--out" in error.value.hint


# The picture


def read_png(path: Path) -> tuple[int, int]:
    """Width and height of a PNG file."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


def test_the_picture_is_written_when_asked(tmp_path, capsys):
    draw(write_log(tmp_path / "run"), png=tmp_path / "new/curves.png")
    assert capsys.readouterr().out.splitlines()[1] == str(tmp_path / "new/curves.png")
    assert read_png(tmp_path / "new/curves.png") == (1440, 892)


@pytest.mark.parametrize("name", ["_run", "$x_", "a$b$"])
@pytest.mark.parametrize("count", [1, 9])
def test_the_picture_bears_any_name_and_many_runs(tmp_path, name, count):
    columns = {"step": [1.0, 2.0], "mlm_loss": [2.0, 1.0]}
    runs = [RunLog(f"{name}{index}", columns) for index in range(count)]
    write_picture(tmp_path / "curves.png", runs)
    assert read_png(tmp_path / "curves.png")[0] == 1440


# In a browser

Browse = Callable[[Path, str], str]


@pytest.fixture
def browse(tmp_path_factory) -> Browse:
    """Open a page with what follows its #, and return what has become of it."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")

    def show(page: Path, state: str) -> str:
        profile = tmp_path_factory.mktemp("profile")
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += ["--disable-background-networking", "--disable-component-update"]
        command += ["--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
        command += ["--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom"]
        command.append(f"{page.as_uri()}#{state}")
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
        return done.stdout

    return show


def lines_of(dom: str) -> list[str]:
    """The lines that are drawn, as SVG paths."""
    return re.findall(r'<path class="js-line"[^>]* d="([^"]*)"', dom)


@pytest.mark.slow
def test_the_page_draws_every_panel(tmp_path, browse):
    run = write_log(tmp_path / "run")
    draw(run)
    dom = browse(run / "loss_curve.html", "")
    panels = [panel for group in GROUPS for panel in group.panels]
    assert dom.count('class="plot js-plotly-plot"') == len(panels)
    values = [row_at(step)["mlm_loss"] for step in range(1, 21)]
    assert f"training {values[-1]:#.4g}" in dom
    assert f"smoothed {smoothed(values, SMOOTHING)[-1]:#.4g}" in dom


@pytest.mark.slow
def test_the_x_axis_and_the_smoothing_change_what_is_drawn(tmp_path, browse):
    run = write_log(tmp_path / "run")
    draw(run)
    page = run / "loss_curve.html"
    plain = browse(page, "x=steps&smooth=0")
    over_tokens = browse(page, "x=tokens&smooth=0")
    smooth = browse(page, "x=steps&smooth=0.9")
    assert 'data-unformatted="steps"' in plain
    assert 'data-unformatted="steps"' not in over_tokens
    assert 'data-unformatted="tokens"' in over_tokens
    assert 'data-unformatted="20k"' in over_tokens  # 1000 tokens a step
    raw = lines_of(plain)
    assert set(raw) < set(lines_of(smooth))  # the raw lines stay, and smoothed ones come


@pytest.mark.slow
def test_a_run_can_be_hidden_and_the_scale_changed(tmp_path, browse):
    draw(write_log(tmp_path / "a"), write_log(tmp_path / "<b>b"), out=tmp_path / "page.html")
    both = browse(tmp_path / "page.html", "")
    one = browse(tmp_path / "page.html", "hide=1")
    log = browse(tmp_path / "page.html", "hide=1&y=log")
    assert len(lines_of(both)) == 2 * len(lines_of(one))
    assert lines_of(log) != lines_of(one)


def add_script(page: Path, script: str) -> None:
    """Let the page do what a hand would."""
    page.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))


@pytest.mark.slow
def test_pointing_at_a_panel_shows_the_values_of_that_moment_in_all(tmp_path, browse):
    run = write_log(tmp_path / "run")
    draw(run)
    point = """
      const area = document.querySelector(".nsewdrag").getBoundingClientRect();
      const [from, to] = document.querySelector(".plot").layout.xaxis.range;
      const clientX = area.left + area.width * (12.5 - from) / (to - from);
      document.querySelector(".nsewdrag").dispatchEvent(
        new PointerEvent("pointermove", { bubbles: true, clientX }));
    """
    add_script(run / "loss_curve.html", point)
    dom = browse(run / "loss_curve.html", "smooth=0")
    at_12, held_out_at_10 = row_at(12), row_at(10)
    assert "at 12.50 steps" in dom
    assert f"training {at_12['mlm_loss']:#.4g}" in dom
    assert f"training {at_12['grad_norm']:#.4g}" in dom
    assert f"held-out {held_out_at_10['validation_mlm_loss']:#.4g}" in dom


@pytest.mark.slow
def test_dragging_looks_closer_in_every_panel_and_a_double_click_goes_back(tmp_path, browse):
    run = write_log(tmp_path / "run")
    draw(run)
    drag = """
      const pause = () => new Promise((done) => setTimeout(done, 500));
      const mouse = (type, x) => {
        const area = document.querySelector(".nsewdrag");
        const { left, top } = area.getBoundingClientRect();
        (type === "mousedown" ? area : document).dispatchEvent(new MouseEvent(
          type, { bubbles: true, clientX: left + x, clientY: top + 50, buttons: 1, view: window }));
      };
      const note = (what) => {
        const plots = [...document.querySelectorAll(".plot")];
        const ranges = plots.map((plot) => plot.layout.xaxis.range);
        const same = new Set(ranges.map(String)).size === 1;
        document.body.dataset[what] = same ? ranges[0].map((end) => end.toFixed(1)) : "they differ";
      };
      (async () => {
        note("whole");
        for (const [type, x] of [["down", 50], ["move", 80], ["move", 100], ["up", 100]])
          mouse(`mouse${type}`, x);
        await pause();
        note("closer");
        for (const type of ["mousedown", "mouseup", "mousedown", "mouseup"]) mouse(type, 60);
        await pause();
        note("back");
      })();
    """
    add_script(run / "loss_curve.html", drag)
    dom = browse(run / "loss_curve.html", "")
    ranges = dict(re.findall(r'data-(whole|closer|back)="([^"]*)"', dom))
    assert ranges["whole"] == ranges["back"] == "0.0,20.3"
    start, end = map(float, ranges["closer"].split(","))
    assert 0 < start < end < 20
