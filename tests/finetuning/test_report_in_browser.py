"""The report in a real browser: light, dark, on a telephone."""

import pytest
from browser import run_in_page
from made_up_results import made_up_results

from electra_cli.finetuning.report import write_report
from electra_cli.plotting.look import DARK, LIGHT

pytestmark = pytest.mark.slow

LOOK = """
const style = (selector) => getComputedStyle(document.querySelector(selector));
return { page: style("body").backgroundColor, curve: style(".chart polyline.after").stroke,
  wide: document.documentElement.scrollWidth, screen: innerWidth,
  charts: [...document.querySelectorAll(".chart")].map((c) => c.getBoundingClientRect().width),
  requests: performance.getEntriesByType("resource").length };
"""


def rgb(color: str) -> str:
    return f"rgb({', '.join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5))})"


@pytest.mark.parametrize(
    "scheme, palette, size", [(0, DARK, "390,844"), (1, LIGHT, "1280,900")], ids=["dark", "light"]
)
def test_the_report_follows_the_reader_and_fits_the_screen(tmp_path, scheme, palette, size):
    long = "runs/" + "a-long-name-" * 8
    write_report(tmp_path, made_up_results((long, 0.85, 0.6), ("runs/b", 0.8, 0.6)))
    options = (f"--blink-settings=preferredColorScheme={scheme}", f"--window-size={size}")
    found = run_in_page(tmp_path / "report.html", LOOK, tmp_path / "profile", "", *options)
    assert (found["page"], found["curve"]) == (rgb(palette.page), rgb(palette.accent))
    assert found["wide"] <= found["screen"]
    assert len(found["charts"]) == 6  # per split: scores over FLOPs, and reliability of each
    assert min(found["charts"]) > 300
    assert found["requests"] == 0
