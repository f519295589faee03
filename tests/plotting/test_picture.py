from pathlib import Path

import pytest
from PIL import Image
from plot_runs import run_of

from electra_cli.plotting.look import LIGHT
from electra_cli.plotting.picture import write_picture
from electra_cli.plotting.run_log import Mark, RunLog


def colors_of(path: Path) -> set[str]:
    with Image.open(path) as image:
        found = image.convert("RGB").getcolors(maxcolors=1 << 24)
    assert found is not None
    return {f"#{red:02x}{green:02x}{blue:02x}" for count, (red, green, blue) in found if count > 5}


def test_the_picture_has_the_pages_colours_and_marks(tmp_path):
    run = run_of("run", step=[1, 2], mlm_loss=[2, 1], validation_mlm_loss=[2, 1.5])
    marked = RunLog("run", run.columns, marks=[Mark(1, "warning", "w"), Mark(2, "checkpoint", "")])
    write_picture(tmp_path / "plain.png", [run])
    write_picture(tmp_path / "marked.png", [marked])
    plain, with_marks = colors_of(tmp_path / "plain.png"), colors_of(tmp_path / "marked.png")
    assert {LIGHT.series[0], LIGHT.series[1], LIGHT.surface} <= plain & with_marks
    assert LIGHT.warning in with_marks - plain


def test_the_picture_has_the_panels_that_have_values(tmp_path):
    write_picture(tmp_path / "one.png", [run_of("run", step=[1, 2], mlm_loss=[2, 1])])
    columns = {"mlm_loss": [2, 1], "rtd_loss": [1, 2], "grad_norm": [1, 1], "mlm_accuracy": [0, 1]}
    write_picture(tmp_path / "four.png", [run_of("run", step=[1, 2], **columns)])
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "four.png") as four:
        assert one.width == four.width
        assert four.height > 1.5 * one.height  # three panels per row


@pytest.mark.parametrize("name", ["_run", "$x_", "a$b$", "$x_$"])
@pytest.mark.parametrize("count", [1, 9])
def test_the_picture_bears_any_name_and_many_runs(tmp_path, name, count):
    columns = {"mlm_loss": [2, 1], name: [1, 2]}
    runs = [run_of(f"{name}{index}", step=[1, 2], **columns) for index in range(count)]
    write_picture(tmp_path / "curves.png", runs)
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width == 1560
