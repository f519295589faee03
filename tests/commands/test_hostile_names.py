"""Odd corpora are trained on, and names from elsewhere stay text in everything a run leaves."""

import json
import math
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from command_line import TINY, run_electra

from electra_cli.cli import main

HOSTILE = '<script>alert(1)</script> & "x" `y` [red]z[/red]'


class Scripts(HTMLParser):
    """The script elements and event attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts = 0
        self.handlers: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


@pytest.mark.slow
def test_hostile_names_of_runs_and_sources_stay_text(tmp_path, prepared, finished):
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["source_name"] = f"{HOSTILE}\n# A heading\x1b[31m"
    (data / "manifest.json").write_text(json.dumps(manifest))
    name = f"{HOSTILE}\x1b[31m\n```\n".replace("/", "|")
    done = run_electra(tmp_path, "train", "--data", data, "--run-name", name, *TINY)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr
    assert "[red]z[|red]" in done.stderr
    run = tmp_path / "runs" / name

    page = (run / "loss_curve.html").read_text()
    plain = (finished.root / "loss_curve.html").read_text()
    assert Scripts(page).scripts == Scripts(plain).scripts > 0
    assert Scripts(page).handlers == Scripts(plain).handlers

    for kind in ("discriminator", "generator"):
        card = (run / kind / "README.md").read_text()
        assert "<script>" not in card.replace(json.dumps(str(Path("runs") / name / kind)), "")
        assert "\\`y\\`" in card
        assert "\x1b" not in card
        assert "# A heading" not in card.splitlines()
        fences = [line for line in card.splitlines() if line.startswith("```")]
        assert fences == ["```python", "```"]


ODD_CORPORA = {
    "punctuation": "\n\n".join("!?.,;:-()" * (2 + n % 7) for n in range(120)),
    "emoji": "\n\n".join("😀👩\u200d💻🇩🇪 ❤\ufe0f" * (2 + n % 7) + str(n) for n in range(120)),
    "right-to-left": "\n\n".join(f"שלום עולם \u202e مرحبا {n} بالعالم" for n in range(200)),
    "unknown": "\n\n".join(" ".join(["x" * (101 + n)] * (5 + n)) for n in range(120)),
    "one word": "\n\n".join(" ".join(["word"] * (4 + n)) for n in range(120)),
    "mixed": "\n\n".join(
        ["\x07\x1b bell", "[MASK] [SEP] [CLS] [PAD] [UNK]", "a" * 300_000, "水" * 9_000, "1 2 3 4"]
        * 20
        + [f"{n} [MASK] is a \ufeff mark and {n}" for n in range(200)]
    ),
}


@pytest.mark.slow
def test_a_run_from_a_stranger_is_plotted_as_text(tmp_path, finished, capsys):
    runs = [tmp_path / HOSTILE.replace("/", "|"), tmp_path / "\x1b[31mred\n"]
    for run in runs:
        run.mkdir()
        shutil.copy(finished.root / "training_log.csv", run)
        settings = {"run": {"device": HOSTILE, HOSTILE: run.name}, HOSTILE: {"a": "\x1b[31m"}}
        (run / "config.yaml").write_text(yaml.safe_dump(settings))
        event = {"kind": "warning", "step": 4, "time": HOSTILE, "text": f"{HOSTILE}\x1b[31m"}
        (run / "events.jsonl").write_text(json.dumps(event) + "\n" + json.dumps({"kind": HOSTILE}))
    out, png = tmp_path / "out.html", tmp_path / "out.png"
    with pytest.raises(SystemExit) as ended:
        main(["plot", *map(str, runs), str(finished.root), "--out", str(out), "--png", str(png)])
    assert not ended.value.code
    assert "\x1b" not in capsys.readouterr().err
    page, plain = out.read_text(), (finished.root / "loss_curve.html").read_text()
    assert Scripts(page).scripts == Scripts(plain).scripts > 0
    assert Scripts(page).handlers == Scripts(plain).handlers
    assert png.stat().st_size > 0


SHORT = [*TINY, "--set=run.num_steps=4", "--set=run.batch_size=4", "--set=data.max_seq_length=16"]


def prepare_and_train(electra: Callable[..., None], folder: Path, kind: str) -> None:
    """Both commands, and a log without a value that is not finite."""
    (folder / "a.txt").write_text(ODD_CORPORA[kind])
    electra("prepare", "a.txt", "--vocab-size", "120", "--validation-fraction", "0.2")
    electra("train", "--run-name", "odd", *SHORT)
    lines = (folder / "runs/odd/training_log.csv").read_text().splitlines()
    assert len(lines) > 1
    for line in lines[1:]:
        assert all(math.isfinite(float(cell)) for cell in line.split(",") if cell)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ODD_CORPORA)
def test_the_oddest_corpora_that_prepare_accepts_are_trained_on(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)

    def electra(*arguments: str) -> None:
        # In this process: the console script would spend most of its time on imports.
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert not ended.value.code

    prepare_and_train(electra, tmp_path, kind)


@pytest.mark.slow
def test_the_console_script_trains_on_the_oddest_corpus_of_all(tmp_path):
    def electra(*arguments: str) -> None:
        done = run_electra(tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stderr

    prepare_and_train(electra, tmp_path, "mixed")
