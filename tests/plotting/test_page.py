import html
import math
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plot_runs import run_of, runs_of

from electra_cli.plotting.curves import BUCKETS
from electra_cli.plotting.look import DARK, DASHES, LIGHT, MARK_LOOKS, SYMBOLS
from electra_cli.plotting.page import write_page
from electra_cli.plotting.run_log import Mark, RunLog


def page_of(folder: Path, *runs: RunLog) -> str:
    write_page(folder / "page.html", runs)
    return (folder / "page.html").read_text()


def with_marks(run: RunLog, *marks: Mark) -> RunLog:
    return RunLog(run.name, run.columns, run.settings, marks)


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_loads_nothing_from_outside(tmp_path):
    page = page_of(tmp_path, run_of("run", step=[1], mlm_loss=[2]))
    tags = Tags(page).found
    assert [(tag, name) for tag, attrs in tags for name in ("src", "href") if name in attrs] == []
    assert not {"link", "iframe", "img", "object", "base"} & {tag for tag, _ in tags}
    assert "default-src 'none'" in page
    assert page.count("* plotly.js v") == 1


def test_the_page_has_the_data(tmp_path):
    run = run_of(
        "run",
        step=[10, 20, 30],
        tokens_seen=[1000, 2000, 3000],
        elapsed_seconds=[36, 72, 108],
        mlm_loss=[1 / 3, 2.0, math.nan],
        validation_mlm_loss=[math.nan, math.nan, 1.5],
    )
    (data,) = runs_of(page_of(tmp_path, run))
    assert data["curves"]["mlm_loss"]["points"] == {"at": [0, 1], "y": [0.333333, 2.0]}
    assert data["curves"]["validation_mlm_loss"]["points"] == {"at": [2], "y": [1.5]}
    assert set(data["curves"]) == {"mlm_loss", "validation_mlm_loss"}
    assert data["x"] == {
        "steps": [10, 20, 30],
        "tokens": [1000, 2000, 3000],
        "flops": [],
        "hours": [0.01, 0.02, 0.03],
    }


def test_values_that_are_not_finite_are_gaps(tmp_path):
    run = run_of("run", step=[1, 2, 3], mlm_loss=[2, math.nan, 1], tokens_seen=[1, 2, math.inf])
    (data,) = runs_of(page_of(tmp_path, run))
    assert data["curves"]["mlm_loss"]["points"]["y"] == [2.0, 1.0]
    assert data["x"]["tokens"] == [1.0, None]


def test_a_mark_lies_between_the_rows_around_its_step_on_every_axis(tmp_path):
    columns = {"step": [10, 20], "mlm_loss": [2, 1], "tokens_seen": [100, 300]}
    run = with_marks(
        run_of("run", **columns),
        Mark(5, "warning", "early"),
        Mark(15, "resumed", "halfway"),
        Mark(23, "checkpoint", ""),
    )
    (data,) = runs_of(page_of(tmp_path, run))
    places = [(mark["kind"], mark["x"]["steps"], mark["x"]["tokens"]) for mark in data["marks"]]
    assert places == [("warning", 5, 50), ("resumed", 15, 200), ("checkpoint", 23, 300)]
    assert [mark["x"]["hours"] for mark in data["marks"]] == [None] * 3


def test_what_happened_is_listed(tmp_path):
    marks = [Mark(step, "checkpoint", "") for step in (500, 1000, 1500)]
    marks.append(Mark(900, "warning", "no <context> gain yet", "2026-11-24T22:05:01+00:00"))
    page = page_of(tmp_path, with_marks(run_of("run", step=[1], mlm_loss=[2]), *marks))
    row = "warning: no &lt;context&gt; gain yet</td><td>2026-11-24 22:05:01</td>"
    assert row in page
    assert "checkpoint: older ones at 500, 1,000</td>" in page
    assert "<td>1,500</td>" in page


def test_the_table_has_the_newest_figures(tmp_path):
    run = run_of(
        "run",
        step=[1, 2],
        tokens_seen=[11_000, 22_000],
        mlm_loss=[3, 2.5],
        validation_mlm_loss=[2.75, math.nan],
    )
    page = page_of(tmp_path, run)
    assert '<th scope="row">MLM loss</th><td>2.500</td><td>2.750</td>' in page
    assert '<th scope="row">tokens</th><td>22,000</td><td></td>' in page


def test_the_settings_that_differ_come_first_and_the_others_are_folded(tmp_path):
    columns = run_of("", step=[1], mlm_loss=[2]).columns
    first = RunLog("a", columns, {"optim.learning_rate": 1e-3, "run.seed": 0})
    second = RunLog("b", columns, {"optim.learning_rate": 5e-4, "run.seed": 0})
    page = page_of(tmp_path, first, second)
    differing, folded = page.split("<h2>Settings that differ</h2>")[1].split("<details>")
    assert "optim.learning_rate</th><td>0.001</td><td>0.0005</td>" in differing
    assert "Settings that are the same (1)" in folded
    assert "run.seed</th><td>0</td>" in folded
    assert "<b>a</b><span>learning_rate 0.001</span>" in page  # the legend


def test_the_settings_of_one_run_are_on_its_page(tmp_path):
    run = RunLog("a", run_of("", step=[1], mlm_loss=[2]).columns, {"run.compile": False})
    assert "run.compile</th><td>false</td>" in page_of(tmp_path, run)


@pytest.mark.parametrize("count", [1, 2])
def test_hostile_text_is_text_wherever_it_comes_from(tmp_path, count):
    hostile = '<script>alert(1)</script> & "$1" \'</title>'
    columns = run_of("", step=[1], mlm_loss=[2], **{hostile: [3]}).columns
    run = RunLog(hostile, columns, {f"run.{hostile}": hostile}, [Mark(1, "warning", hostile)])
    other = RunLog(hostile, columns, {f"run.{hostile}": "b"}, [Mark(1, "resumed", hostile)])
    page = page_of(tmp_path, *[run, other][:count])
    assert "<script>alert" not in page
    assert "</title>" not in page[page.index("<style>") : page.index("Licensed under")]
    assert page.count(html.escape(hostile)) >= 5
    assert [data["name"] for data in runs_of(page)] == [hostile] * count
    assert [data["marks"][0]["text"] for data in runs_of(page)] == [hostile] * count


def test_a_long_run_is_thinned_and_the_page_says_so(tmp_path):
    count = 5 * BUCKETS
    long = run_of("long", step=list(range(count)), mlm_loss=[1.0] * count)
    assert "the longest log has 5,000 rows" in page_of(tmp_path, long)
    assert "Thinned" not in page_of(tmp_path, run_of("short", step=[1], mlm_loss=[1]))


def test_panels_without_values_are_left_out_and_axes_disabled(tmp_path):
    tags = Tags(page_of(tmp_path, run_of("old", step=[1], mlm_loss=[2]))).found
    assert [attrs["data-training"] for tag, attrs in tags if tag == "figure"] == ["mlm_loss"]
    disabled = [attrs["value"] for tag, attrs in tags if tag == "input" and "disabled" in attrs]
    assert disabled == ["tokens", "flops", "hours"]


def test_a_figure_that_nobody_listed_has_a_panel_and_a_row(tmp_path):
    run = run_of("run", step=[1, 2], contrast_loss=[3, 2.5], validation_contrast_loss=[4, 3.5])
    page = page_of(tmp_path, run)
    assert "<h2>Other figures</h2>" in page
    assert '<figure data-training="contrast_loss" data-held-out="validation_contrast_loss"' in page
    assert '<th scope="row">contrast_loss</th><td>2.500</td><td>3.500</td>' in page
    (data,) = runs_of(page)
    assert data["curves"]["contrast_loss"]["points"] == {"at": [0, 1], "y": [3.0, 2.5]}


def test_runs_of_two_objectives_share_the_panels_that_both_have(tmp_path):
    electra = run_of("electra", step=[1], mlm_loss=[2], rtd_loss=[0.5])
    masked = run_of("mlm", step=[1], mlm_loss=[3], rtd_loss=[math.nan])
    page = page_of(tmp_path, electra, masked)
    assert [set(data["curves"]) for data in runs_of(page)] == [
        {"mlm_loss", "rtd_loss"},
        {"mlm_loss"},
    ]
    assert "RTD loss</th><td>0.5000</td><td>–</td><td>–</td><td>–</td>" in page


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(color: str, background: str) -> float:
    """WCAG 2.2's contrast ratio."""
    darker, lighter = sorted((luminance(color), luminance(background)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_text_stands_out_from_its_background(palette):
    for color in (palette.text, palette.muted, palette.warning):
        for background in (palette.surface, palette.page):
            assert contrast(color, background) >= 4.5
    assert contrast(palette.surface, palette.accent) >= 4.5  # the chosen axis
    assert min(contrast(color, palette.surface) for color in palette.series) >= 2.2


def test_the_curves_colours_are_okabe_and_itos():
    published = {"#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442"}
    published |= {"#0072b2", "#d55e00", "#cc79a7"}
    assert set(LIGHT.series) <= published
    assert set(DARK.series) <= published | {"#ffffff"}


def test_no_two_runs_look_alike_without_colour():
    looks = [(DASHES[i % len(DASHES)], SYMBOLS[i % len(SYMBOLS)]) for i in range(28)]
    assert len(set(looks)) == 28
    symbols = [look.symbol.text for look in MARK_LOOKS.values()]
    assert len(set(symbols)) == len(symbols)
