"""electra prepare on twelve languages: ids, bytes, and every character that is lost."""

import itertools
import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from command_line import run_electra
from transformers import AutoTokenizer

from electra_cli.commands.prepare import run
from electra_cli.data.manifest import load_manifest
from electra_cli.data.report import PreparationReport, TextCounts
from electra_cli.data.shards import open_shards
from electra_cli.preparing.options import PrepareOptions
from electra_cli.preparing.source import SourceOptions

LANGUAGES = Path(__file__).parents[1] / "languages"
FILES = sorted(LANGUAGES.glob("*.txt"))
STRANGE = (
    "page one\fpage two\n\nzero\u200bwidth so\u00adft \ufeffbom \ue000 \ufffd \x1f \x7f end here\n"
)


def documents_of(folder: Path) -> list[tuple[int, ...]]:
    """The ids of each document of both splits."""
    manifest = load_manifest(folder)
    return [
        tuple(shards.read(start, stop).tolist())
        for split in ("train", "validation")
        for shards in [open_shards(folder, manifest, split)]
        for start, stop in itertools.pairwise(shards.offsets.tolist())
    ]


def count_slowly(texts: list[str], tokenizer: Any, strips_accents: bool) -> TextCounts:
    """BERT's rules, one character and one word at a time."""
    engine = tokenizer.backend_tokenizer
    count: Counter[str] = Counter()
    for text in texts:
        for character in text:
            kind = unicodedata.category(character)
            size = len(character.encode())
            is_removed = (kind[0] == "C" and character not in "\t\n\r") or character == "\ufffd"
            if character.isspace() and not is_removed:
                continue
            count["characters"] += 1
            parts = unicodedata.normalize("NFD", character)
            if is_removed:
                count.update(removed_characters=1, removed_bytes=size)
            elif strips_accents and any(unicodedata.category(part) == "Mn" for part in parts):
                count.update(stripped_characters=1, stripped_bytes=size)
        normal = engine.normalizer.normalize_str(text)
        for word, _ in engine.pre_tokenizer.pre_tokenize_str(normal):
            count["encoded_characters"] += len(word)
            if [token.value for token in engine.model.tokenize(word)] == ["[UNK]"]:
                count["unknown_characters"] += len(word)
    return TextCounts(**count)


def assert_bytes_balance(report: PreparationReport) -> None:
    assert report.bytes_read + report.replacement_bytes == (
        report.kept_bytes
        + report.duplicate_bytes
        + report.too_short_bytes
        + report.other_column_bytes
        + report.beyond_limit_bytes
        + report.separator_bytes
    )


@pytest.mark.parametrize("options", [[], ["--no-strip-accents"], ["--cased"]])
def test_ids_are_autotokenizers_and_every_lost_character_is_counted(tmp_path, options):
    (tmp_path / "strange.txt").write_text(STRANGE, "utf-8")
    done = run_electra(
        tmp_path, "prepare", *FILES, "strange.txt", *options, "--vocab-size", 2_000, "--out", "out"
    )
    assert done.returncode == 0, done.stderr
    texts = [
        text.strip()
        for path in [*FILES, tmp_path / "strange.txt"]
        for text in path.read_text("utf-8").split("\n\n")
    ]
    assert len(FILES) == 12
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "tokenizer")
    ids = [
        tuple(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
        for text in texts
    ]
    assert Counter(documents_of(tmp_path / "out")) == Counter(ids)
    report = load_manifest(tmp_path / "out").report
    assert_bytes_balance(report)
    expected = count_slowly(texts, tokenizer, strips_accents=not options)
    assert report.text == expected
    assert expected.removed_characters > 30  # the joiners of Persian and Hindi
    assert expected.unknown_characters > 100  # a "word" of Thai
    assert (expected.stripped_characters > 400) == (not options)
    has_advice = "--no-strip-accents (or --cased), which keeps them" in done.stderr
    assert has_advice == (not options)
    known = " ".join(tokenizer.convert_ids_to_tokens([i for one in ids for i in one]))
    assert ("é" in known) == bool(options)
    assert ("İ" in known) == (options == ["--cased"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_warning_comes_where_more_than_one_percent_is_lost(tmp_path, path, capsys):
    run(PrepareOptions(SourceOptions((str(path),)), tmp_path / "out", vocab_size=300))
    text = load_manifest(tmp_path / "out").report.text
    is_warned = "are changed or removed before they are encoded" in capsys.readouterr().err
    assert is_warned == (text.lost_fraction > 0.01) == (path.stem not in ("ko", "zh"))


@pytest.mark.slow
def test_json_and_csv_book_other_fields_and_max_bytes_what_is_over(tmp_path: Path):
    rows = [
        {"text": f"the house number {i} is here", "title": "Häuser", "more": [{"a": ["x", 7]}]}
        for i in range(20)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "b.csv").write_text(
        "id,text,note\n" + "".join(f'{i},the tree number {i} is "here",é\n' for i in range(20))
    )
    done = run_electra(tmp_path, "prepare", "a.jsonl", "b.csv", "--out", "out")
    assert done.returncode == 0, done.stderr
    report = load_manifest(tmp_path / "out").report
    assert_bytes_balance(report)
    in_csv = sum(len(f"{i}é".encode()) for i in range(20))
    assert report.other_column_bytes == 20 * len("Häuserx7".encode()) + in_csv
    assert "dropped: other columns" in done.stderr

    (tmp_path / "c.txt").write_text("ein schöner Tag im Mai\n\n" * 2 + "noch ein schöner Tag\n\n")
    done = run_electra(tmp_path, "prepare", "c.txt", "--max-bytes", 30, "--out", "c")
    assert done.returncode == 0, done.stderr
    report = load_manifest(tmp_path / "c").report
    assert_bytes_balance(report)
    assert report.kept_bytes + report.too_short_bytes == len("ein schöner Tag im Mai") + 1 + 3
    assert report.separator_bytes == 3 * 2 + 1  # blank lines, and the blank at the cut
    assert report.beyond_limit_bytes == len("schöner Tag im Mainoch ein schöner Tag".encode())


def test_broken_text_is_counted_in_bytes_and_characters(tmp_path: Path):
    line = b"a caf\xe9 and a na\xefve man, \xf0\x9f\x98 and \0 are here\n\n"
    (tmp_path / "a.txt").write_bytes(line + "but \ufffd was there before\n".encode())
    done = run_electra(tmp_path, "prepare", "a.txt", "--replace-broken", "--out", "out")
    assert done.returncode == 0, done.stderr
    report = load_manifest(tmp_path / "out").report
    assert_bytes_balance(report)
    # The cut emoji is one U+FFFD for three bytes.
    assert (report.broken_lines, report.broken_bytes, report.broken_characters) == (1, 6, 4)
    assert report.replacement_bytes == 4 * 3 - 6
    assert report.text.removed_characters == 5  # BERT removes U+FFFD, the older one too
    assert "6 bytes became 4 U+FFFD" in done.stderr


@pytest.mark.slow
def test_text_in_long_words_is_warned_about_by_its_share_of_the_text(tmp_path: Path):
    """One [UNK] stands for a page: few tokens, much text."""
    words = "ten small words are written on every line of this page"
    texts = [f"{words} {'x' * (101 + i)} {words}" for i in range(30)]
    (tmp_path / "long.txt").write_text("\n\n".join(texts))
    done = run_electra(tmp_path, "prepare", "long.txt", "--vocab-size", 100, "--out", "long")
    assert done.returncode == 0, done.stderr
    report = load_manifest(tmp_path / "long").report
    assert report.text.unknown_characters == sum(101 + i for i in range(30))
    assert report.unknown_fraction < report.text.unknown_fraction == report.worst_unknown_fraction
    assert f"{report.text.unknown_fraction:.1%} of the characters" in done.stderr
    assert 'no "word" of over 100 characters' in done.stderr
    small = ("--set", "run.batch_size=8")
    dry = run_electra(tmp_path, "train", "--preset", "tiny", "--data", "long", "--dry-run", *small)
    assert f"[UNK] stands for {report.text.unknown_fraction:.1%} of the text" in dry.stderr

    (tmp_path / "page.txt").write_text("\n\n".join(["y" * 900, *texts]))
    done = run_electra(tmp_path, "prepare", "page.txt", "--vocab-size", 100, "--out", "page")
    assert done.returncode == 0, done.stderr
    report = load_manifest(tmp_path / "page").report
    assert (report.too_short, report.too_short_bytes, report.too_short_tokens) == (1, 900, 1)
    assert f"{report.too_short_fraction:.1%} of the text is dropped" in done.stderr
