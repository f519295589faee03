"""A study that an older version made goes on."""

import csv
import shutil
from pathlib import Path

import pytest

from electra_cli.cli import main

MADE = Path(__file__).parents[1] / "made_by_0.1.0"
OF_A_PROCESS = ("seconds", "host", "pid")


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: row[name] for name in row if name not in OF_A_PROCESS} for row in rows]


@pytest.mark.slow
def test_a_study_of_three_trials_goes_on_as_the_version_that_made_it_would(
    tmp_path, monkeypatch, capsys
):
    shutil.copytree(MADE, tmp_path / "made")
    monkeypatch.chdir(tmp_path / "made")
    options = ["--preset=preset.yaml", "--data=data/words", "--steps=18", "--study=small"]
    with pytest.raises(SystemExit) as raised:
        main(["tune", *options, "--trials=4"])
    shown = capsys.readouterr().err
    assert raised.value.code == 0, shown
    assert "3 of 4 trials done" in " ".join(shown.split())
    rows = read_rows(Path("tune/small/trials.csv"))
    expected = read_rows(MADE / "trials_of_4.csv")
    assert rows[:3] == expected[:3]
    (last,), (other,) = rows[3:], expected[3:]
    assert list(last) == list(other)
    for name, value in other.items():
        if name.startswith(("yardstick_", "mlm_")):  # sums in another order on other machines
            assert float(last[name]) == pytest.approx(float(value), rel=1e-3), name
        else:
            assert last[name] == value, name
