"""electra prepare from end to end: what it writes, counts, refuses, and how it survives a kill."""

import errno
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command_line import electra_command, electra_environment, run_electra
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from electra_cli.commands.prepare import run
from electra_cli.data.manifest import PROGRESS_NAME, load_manifest
from electra_cli.data.shards import TokenShards, open_shards, verify_shards
from electra_cli.data.tokenizer import fingerprint, load_tokenizer
from electra_cli.errors import ConfigError, DataError
from electra_cli.preparing import encoder, pipeline
from electra_cli.preparing import options as defaults
from electra_cli.preparing.duplicates import hash_texts
from electra_cli.preparing.options import PrepareOptions
from electra_cli.preparing.source import SourceOptions


def make_text(documents: int, seed: int = 0, words_each: int = 60) -> list[str]:
    """Documents of invented words with Zipf's frequencies."""
    draw = random.Random(seed)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(2_000)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    lengths = [draw.randint(words_each // 2, words_each * 2) for _ in range(documents)]
    return [" ".join(draw.choices(words, weights, k=length)) + "." for length in lengths]


def write_corpus(path: Path, documents: list[str]) -> Path:
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus.txt", make_text(400))


def prepare(corpus: Path, out: Path, shard_tokens: int = 16_000_000, **options: object) -> Path:
    options = {"vocab_size": 300, "validation_fraction": 0.1} | options
    run(PrepareOptions(SourceOptions((str(corpus),)), out, **options), shard_tokens=shard_tokens)
    return out


def split_of(folder: Path, split) -> TokenShards:
    return open_shards(folder, load_manifest(folder), split)


def texts_of(folder: Path, split) -> list[str]:
    """Every document as its tokens, joined."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    shards = split_of(folder, split)
    return [
        " ".join(tokenizer.convert_ids_to_tokens(shards.read(start, stop).tolist()))
        for start, stop in itertools.pairwise(shards.offsets.tolist())
    ]


def ids_of(folder: Path) -> list[int]:
    shards = split_of(folder, "train")
    return shards.gather(np.array([0]), np.array([shards.num_tokens])).tolist()


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_command_prints_the_folder_and_the_next_command(corpus: Path, tmp_path: Path):
    done = run_electra(tmp_path, "prepare", corpus.name, "--vocab-size", 300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "data/corpus\n"
    assert done.stderr.splitlines()[-1] == "next: electra train --preset tiny --data data/corpus"
    assert "what the model will see" in done.stderr
    assert "Traceback" not in done.stderr
    files = {path.name for path in (tmp_path / "data/corpus").iterdir()}
    expected = {"manifest.json", "tokenizer", "train-00000.arrow", "validation-00000.arrow"}
    assert files == expected

    before = tree(tmp_path / "data/corpus")
    again = run_electra(
        tmp_path, "prepare", corpus.name, "--vocab-size", 300, "--workers", 1, "--json"
    )
    assert again.returncode == 0, again.stderr
    prepared = json.loads(again.stdout)
    assert prepared["directory"] == "data/corpus"
    assert prepared["vocab_size"] == 300
    assert prepared["report"]["bytes_read"] == corpus.stat().st_size
    assert "there already" in again.stderr
    assert tree(tmp_path / "data/corpus") == before

    other = run_electra(tmp_path, "prepare", corpus.name, "--vocab-size", 301)
    assert other.returncode == 1
    assert "vocab_size 300" in other.stderr
    assert "--out data/corpus-2" in other.stderr
    assert "Traceback" not in other.stderr
    assert other.stdout == ""
    assert tree(tmp_path / "data/corpus") == before


def test_the_shards_hold_the_ids_of_autotokenizer(corpus: Path, tmp_path: Path):
    folder = prepare(corpus, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    documents = corpus.read_text().strip().split("\n\n")
    held_out = hash_texts(map(str.encode, documents)) < 0.1 * 2**64
    for split, wanted in (("train", ~held_out), ("validation", held_out)):
        shards = split_of(folder, split)
        expected = [
            tokenizer(documents[i], add_special_tokens=False, split_special_tokens=True)[
                "input_ids"
            ]
            for i in np.flatnonzero(wanted)
        ]
        read = [shards.read(a, b).tolist() for a, b in itertools.pairwise(shards.offsets.tolist())]
        assert len(expected) > 10
        assert read == expected


def test_the_manifest_says_what_is_there(corpus: Path, tmp_path: Path):
    folder = prepare(corpus, tmp_path / "out")
    manifest = load_manifest(folder)
    verify_shards(folder, manifest.shards)
    tokenizer = load_tokenizer(folder / "tokenizer")
    assert manifest.tokenizer_sha256 == fingerprint(tokenizer)
    assert manifest.vocab_size == len(tokenizer.get_vocab()) == 300
    assert manifest.num_documents + manifest.num_validation_documents == 400
    assert manifest.source_name == "corpus"
    tokens = ids_of(folder)
    fractions = np.unique(tokens, return_counts=True)[1] / len(tokens)
    assert manifest.unigram_entropy == pytest.approx(-(fractions * np.log(fractions)).sum())
    assert 3 < manifest.unigram_entropy < np.log(300)


def test_every_byte_is_accounted_for(tmp_path: Path):
    kept = make_text(50)
    documents = [kept[0], "hm", kept[0], *kept[1:], "   ", kept[3], "hm", "天"]
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n\n".join(documents) + "\n\n\n", encoding="utf-8")
    report = load_manifest(prepare(corpus, tmp_path / "out")).report
    assert report.bytes_read == corpus.stat().st_size
    assert (report.documents, report.duplicates, report.too_short) == (55, 3, 2)
    assert report.kept_documents == 50
    assert report.kept_bytes == sum(len(text) for text in kept)
    assert report.duplicate_bytes == len(kept[0]) + len(kept[3]) + 2
    assert report.too_short_bytes == len("hm天".encode())
    assert report.bytes_read + report.replacement_bytes == (
        report.kept_bytes + report.duplicate_bytes + report.too_short_bytes + report.separator_bytes
    )
    assert report.longest >= report.p95_length >= report.median_length >= 4


def test_more_documents_never_move_one_between_the_splits(tmp_path: Path):
    documents = make_text(400)
    few = prepare(write_corpus(tmp_path / "few.txt", documents[100:]), tmp_path / "few")
    options = {"tokenizer": str(few / "tokenizer"), "vocab_size": None}
    many = write_corpus(tmp_path / "many.txt", documents)
    more = prepare(many, tmp_path / "more", **options)
    for split in ("train", "validation"):
        assert len(texts_of(few, split)) > 10
        assert set(texts_of(few, split)) < set(texts_of(more, split))
    wider = prepare(many, tmp_path / "wider", validation_fraction=0.3, **options)
    assert set(texts_of(more, "validation")) < set(texts_of(wider, "validation"))


def test_a_given_tokenizer_is_used_and_kept(corpus: Path, tmp_path: Path):
    first = prepare(corpus, tmp_path / "first")
    options = {"tokenizer": str(first / "tokenizer"), "vocab_size": None}
    second = prepare(corpus, tmp_path / "second", **options)
    assert load_manifest(first).tokenizer_sha256 == load_manifest(second).tokenizer_sha256
    assert texts_of(first, "train") == texts_of(second, "train")
    with pytest.raises(ConfigError, match="brings its own"):
        prepare(corpus, tmp_path / "third", tokenizer=str(first / "tokenizer"))


def test_a_tokenizer_changed_in_its_folder_is_not_the_same_setting(corpus: Path, tmp_path: Path):
    for size in (300, 301):
        own = prepare(corpus, tmp_path / f"for-{size}", vocab_size=size) / "tokenizer"
        own.rename(tmp_path / f"tokenizer-{size}")
    given = tmp_path / "given"
    given.symlink_to(tmp_path / "tokenizer-300")
    options = {"tokenizer": str(given), "vocab_size": None}
    prepare(corpus, tmp_path / "out", **options)
    given.unlink()
    given.symlink_to(tmp_path / "tokenizer-301")
    with pytest.raises(DataError, match="made with another tokenizer"):
        prepare(corpus, tmp_path / "out", **options)


def test_a_changed_source_is_not_the_same(corpus: Path, tmp_path: Path):
    folder = prepare(corpus, tmp_path / "out")
    write_corpus(corpus, make_text(300))
    with pytest.raises(DataError, match="made with another source"):
        prepare(corpus, folder)


def test_cased_and_two_scripts(tmp_path: Path):
    german = "Der Ärger über süße Äpfel in Köln, sagte Änne."
    corpus = write_corpus(tmp_path / "c.txt", [german, "天地玄黄 宇宙洪荒 日月盈昃", "a b c d e"])
    folder = prepare(corpus, tmp_path / "out", cased=True, validation_fraction=0.0)
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    first, second, _ = texts_of(folder, "train")
    assert first.replace(" ##", "").startswith("Der Ärger über süße Äpfel in Köln ,")
    assert second == " ".join("天地玄黄宇宙洪荒日月盈昃")
    assert tokenizer.tokenize("Ä") == ["Ä"]


def test_without_a_held_out_document_there_is_a_warning(tmp_path: Path, capsys):
    corpus = write_corpus(tmp_path / "c.txt", ["one two three four five six"])
    folder = prepare(corpus, tmp_path / "out", validation_fraction=0.001)
    assert "--validation-fraction" in capsys.readouterr().err
    assert not list(folder.glob("validation-*"))
    prepare(corpus, tmp_path / "wanted", validation_fraction=0.0)
    assert "--validation-fraction" not in capsys.readouterr().err


def test_an_unfitting_tokenizer_is_warned_about(corpus: Path, tmp_path: Path, capsys):
    own = prepare(corpus, tmp_path / "out") / "tokenizer"
    chinese = write_corpus(tmp_path / "zh.txt", ["天地玄黄宇宙洪荒", "日月盈昃辰宿列张"])
    prepare(chinese, tmp_path / "zh", tokenizer=str(own), vocab_size=None, validation_fraction=0.0)
    assert "100.0% of the tokens are [UNK]" in capsys.readouterr().err


def test_a_corpus_too_small_to_train_on_is_refused(tmp_path: Path):
    corpus = write_corpus(tmp_path / "c.txt", ["hm", "so"])
    with pytest.raises(
        DataError,
        match="no document of c is left to train on: of 2, 0 are duplicates, 2 too short and 0",
    ):
        prepare(corpus, tmp_path / "out")
    with pytest.raises(DataError, match="unfinished"):
        load_manifest(tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(corpus: Path, tmp_path: Path):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        prepare(corpus, thesis)
    assert tree(thesis) == {"chapter.tex": b"mine"}
    with pytest.raises(DataError, match="is a file"):
        prepare(corpus, thesis / "chapter.tex")


def test_a_failing_source_leaves_no_folder(tmp_path: Path):
    (tmp_path / "empty.txt").write_text("\n \n")
    for source in ("empty.txt", "nowhere.txt"):
        done = run_electra(tmp_path, "prepare", source)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "hint:" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["empty.txt"]


def test_threads_that_end_in_another_order_change_nothing(corpus, tmp_path, monkeypatch):
    reference = prepare(corpus, tmp_path / "reference", shard_tokens=5_000, workers=1)
    running, calls = itertools.count(), Counter()
    encode = encoder.TextEncoder.encode

    def encode_late(self, texts):
        calls[threading.get_ident()] += 1
        time.sleep(0.02 * (3 - next(running) % 4))
        return encode(self, texts)

    monkeypatch.setattr(encoder.TextEncoder, "encode", encode_late)
    out = prepare(corpus, tmp_path / "out", shard_tokens=5_000, workers=4)
    assert len(calls) == 4
    assert calls[threading.get_ident()] > 1  # one is the check of the engines
    assert tree(out) == tree(reference)


def test_a_full_disk_is_said_and_survived(corpus: Path, tmp_path: Path, monkeypatch):
    reference = prepare(corpus, tmp_path / "reference", shard_tokens=5_000)
    with monkeypatch.context() as patched:
        calls = itertools.count()
        sync = os.fsync

        def fill_up(descriptor: int) -> None:
            if next(calls) == 7:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(descriptor)

        patched.setattr(os, "fsync", fill_up)
        with pytest.raises(DataError, match="no space is left"):
            prepare(corpus, tmp_path / "out", shard_tokens=5_000)
    assert load_refusal(tmp_path / "out")
    prepare(corpus, tmp_path / "out", shard_tokens=5_000)
    assert tree(tmp_path / "out") == tree(reference)


def load_refusal(folder: Path) -> bool:
    """True if the folder is never taken for a finished one."""
    try:
        load_manifest(folder)
    except DataError:
        return True
    return False


CHILD = """
import sys
from pathlib import Path
from electra_cli import cli
from electra_cli.commands import prepare
from electra_cli.preparing.options import PrepareOptions
from electra_cli.preparing.source import SourceOptions
out, source, shard_tokens = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
options = PrepareOptions(SourceOptions((source,)), out, vocab_size=300, validation_fraction=0.1)
cli.app = lambda args: prepare.run(options, shard_tokens=shard_tokens)
cli.main([])
"""


def start(corpus: Path, out: Path, shard_tokens: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(out), str(corpus), str(shard_tokens)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_change(child: "subprocess.Popen[str]", folder: Path) -> None:
    """Until the child writes something into the folder, or ends."""

    def files() -> list[tuple[str, list[str]]]:
        # os.walk passes over a folder that the child renames meanwhile; rglob raises.
        return sorted((root, sorted(names)) for root, _, names in os.walk(folder))

    before = files()
    deadline = time.monotonic() + 60
    while files() == before and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(tmp_path: Path):
    documents = make_text(9_000)  # enough to be killed three times
    corpus = write_corpus(tmp_path / "c.txt", documents + documents[::150])
    reference = prepare(corpus, tmp_path / "reference", shard_tokens=12_000)
    manifest = load_manifest(reference)
    assert len([shard for shard in manifest.shards if shard.split == "train"]) > 20
    assert manifest.report.duplicates == 60

    out = tmp_path / "out"
    kills = 0
    for delay in (0.0, 0.1, 0.03):
        child = start(corpus, out, shard_tokens=12_000)
        wait_for_change(child, out)
        time.sleep(delay)
        child.kill()
        child.communicate()
        if child.returncode == -signal.SIGKILL:
            kills += 1
            assert load_refusal(out)
    assert kills >= 2
    assert (out / PROGRESS_NAME).exists()
    with pytest.raises(DataError, match="vocab_size 300"):
        prepare(corpus, out, shard_tokens=12_000, vocab_size=310)

    prepare(corpus, out, shard_tokens=12_000)
    assert tree(out) == tree(reference)


def test_a_run_that_goes_on_does_not_tokenize_again(corpus: Path, tmp_path: Path, monkeypatch):
    encode = encoder.TextEncoder.encode
    calls = itertools.count()

    def count(self, texts):
        next(calls)
        return encode(self, texts)

    monkeypatch.setattr(encoder.TextEncoder, "encode", count)
    reference = prepare(corpus, tmp_path / "reference", shard_tokens=5_000)
    uninterrupted = next(calls)
    calls = itertools.count()

    def stop_in_the_middle(self, texts):
        if next(calls) == 30:
            raise KeyboardInterrupt
        return encode(self, texts)

    monkeypatch.setattr(encoder.TextEncoder, "encode", stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        prepare(corpus, tmp_path / "out", shard_tokens=5_000)
    written = list((tmp_path / "out").glob("train-*.arrow"))
    times = {path: path.stat().st_mtime_ns for path in written}
    assert len(written) > 3
    calls = itertools.count(31)  # so that it is not stopped again
    prepare(corpus, tmp_path / "out", shard_tokens=5_000)
    assert next(calls) - 31 < uninterrupted - 4 * 3
    assert {path: path.stat().st_mtime_ns for path in written} == times
    assert tree(tmp_path / "out") == tree(reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delay", "number"),
    [(0.0, signal.SIGINT), (0.1, signal.SIGHUP), (0.2, signal.SIGINT), (0.3, signal.SIGTERM)],
)
def test_a_signal_is_never_lost_and_says_how_to_go_on(
    tmp_path: Path, delay: float, number: signal.Signals
):
    # Within this time the child imports torch, where Python loses a KeyboardInterrupt.
    corpus = write_corpus(tmp_path / "c.txt", make_text(6_000))
    child = start(corpus, tmp_path / "out", shard_tokens=12_000)
    wait_for_change(child, tmp_path / "out")
    time.sleep(delay)
    child.send_signal(number)
    _, err = child.communicate()
    assert child.returncode == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert load_refusal(tmp_path / "out")


@pytest.mark.parametrize("content", ["", "{", "{}", '{"format_version": 99}'])
def test_a_damaged_progress_file_is_refused(corpus: Path, tmp_path: Path, content: str):
    out = tmp_path / "out"
    out.mkdir()
    (out / PROGRESS_NAME).write_text(content)
    with pytest.raises(DataError, match="damaged"):
        prepare(corpus, out)


def test_a_kill_before_the_first_progress_file_was_whole_blocks_nothing(
    corpus: Path, tmp_path: Path
):
    out = tmp_path / "out"
    out.mkdir()
    (out / f"{PROGRESS_NAME}.partial").write_text("{")
    prepare(corpus, out)
    assert not list(out.glob("*.partial"))


def test_a_kill_between_manifest_and_clean_up_is_cleaned_up(corpus: Path, tmp_path: Path):
    out = prepare(corpus, tmp_path / "out")
    (out / PROGRESS_NAME).write_text("{}")
    prepare(corpus, out)
    assert not (out / PROGRESS_NAME).exists()


@pytest.mark.slow
def test_the_built_in_corpus_gets_the_small_vocabulary_that_the_help_names(tmp_path: Path):
    run(PrepareOptions(SourceOptions(max_bytes=300_000), tmp_path / "out"))
    manifest = load_manifest(tmp_path / "out")
    assert manifest.vocab_size == defaults.BUILTIN_VOCAB_SIZE < defaults.VOCAB_SIZE
    assert manifest.report.kept_bytes <= 300_000
    shown = " ".join(run_electra(tmp_path, "prepare", "--help").stdout.split())
    assert (
        f"default: those that occur {defaults.MIN_OCCURRENCES} times, "
        f"at most {defaults.VOCAB_SIZE}; "
        f"built-in corpus: {defaults.BUILTIN_VOCAB_SIZE}"
    ) in shown


MEASURE = """
import sys
from pathlib import Path
from electra_cli.commands.prepare import run
from electra_cli.preparing.options import PrepareOptions
from electra_cli.preparing.source import SourceOptions
run(PrepareOptions(SourceOptions((sys.argv[1],)), Path(sys.argv[2])))
# Not getrusage: its peak begins with the process that this one was forked from.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_memory_stays_bounded(tmp_path: Path):
    # 60 MB reach every peak: a whole sample for the tokenizer, and a whole shard.
    text = "\n\n".join(make_text(5_000, words_each=100))
    corpus = tmp_path / "c.txt"
    with corpus.open("w") as file:
        while file.tell() < 60_000_000:
            file.write(text)
            text = text[1:]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(corpus), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout.splitlines()[-1]) / 2**10 < 1_500


class WrongEngine:
    """The fast engine, but for one word."""

    def __init__(self, tokenizer_json: str) -> None:
        self._right = encoder.open_fast_engine(tokenizer_json)

    def encode_batch(self, texts: list[bytes], **options: bool):
        return self._right.encode_batch([b"wrong " + text for text in texts], **options)


def test_a_fast_engine_that_differs_is_replaced_with_a_warning(
    corpus, tmp_path, monkeypatch, capsys
):
    right = ids_of(prepare(corpus, tmp_path / "right", validation_fraction=0))
    assert "fast engine" not in capsys.readouterr().err
    monkeypatch.setattr(
        pipeline, "TextEncoder", partial(encoder.TextEncoder, open_engine=WrongEngine)
    )
    folder = prepare(corpus, tmp_path / "out", validation_fraction=0)
    assert "fast engine's ids differ" in capsys.readouterr().err
    assert ids_of(folder) == right


def test_a_tokenizer_that_the_fast_engine_cannot_read_is_used_with_a_warning(
    corpus, tmp_path, capsys
):
    engine = Tokenizer(models.BPE({"a": 0, "b": 1, "[UNK]": 2}, [], unk_token="[UNK]"))
    special = {"pad_token": "a", "cls_token": "a", "sep_token": "a", "mask_token": "a"}
    PreTrainedTokenizerFast(tokenizer_object=engine, **special).save_pretrained(tmp_path / "bpe")
    prepare(corpus, tmp_path / "out", tokenizer=str(tmp_path / "bpe"), vocab_size=None)
    assert "the fast engine cannot read this tokenizer" in capsys.readouterr().err


@pytest.mark.slow
def test_without_the_fast_engine_prepare_says_so_and_writes_the_same_ids(corpus, tmp_path):
    blocked = tmp_path / "blocked"
    (blocked / "nanotoken").mkdir(parents=True)
    (blocked / "nanotoken" / "__init__.py").write_text("raise ImportError('blocked by a test')")
    environment = electra_environment()
    paths = [str(blocked), *filter(None, [environment.get("PYTHONPATH")])]
    done = subprocess.run(
        electra_command("prepare", corpus, "--vocab-size", 300, "--out", "out"),
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "fast engine" in line]
    assert said == [
        "warning: the fast engine is not installed; falling back to Hugging Face tokenizers "
        "(about 20x slower)"
    ]
    assert "hint: pip install 'electra-cli[fast]'" in done.stderr
    fast = run_electra(tmp_path, "prepare", corpus, "--vocab-size", 300, "--out", "fast")
    assert fast.returncode == 0, fast.stderr
    assert "fast engine" not in fast.stderr
    assert tree(tmp_path / "out") == tree(tmp_path / "fast")


@pytest.mark.slow
def test_the_vocabulary_fits_the_text_unless_its_size_is_chosen(tmp_path, monkeypatch, capsys):
    corpus = write_corpus(tmp_path / "c.txt", make_text(2_000))
    fitting = prepare(corpus, tmp_path / "fitting", vocab_size=None)
    manifest = load_manifest(fitting)
    assert 100 < manifest.vocab_size < 1_000
    assert (
        f"only {manifest.vocab_size:,} of the 30,522 word pieces: the others occur fewer than 100 "
        "times in the text (--vocab-size chooses)"
    ) in capsys.readouterr().err
    chosen = load_manifest(prepare(corpus, tmp_path / "chosen", vocab_size=30_522))
    assert manifest.vocab_size < chosen.vocab_size < 30_522
    assert "occur fewer than 2 times" in capsys.readouterr().err

    # Of a sample of a quarter, a piece must occur a quarter as often.
    monkeypatch.setattr(pipeline, "SAMPLE_CHARS", corpus.stat().st_size // 3)
    sampled = load_manifest(prepare(corpus, tmp_path / "sampled", vocab_size=None))
    assert sampled.vocab_size == pytest.approx(manifest.vocab_size, rel=0.2)


@pytest.mark.slow
def test_no_strip_accents_keeps_them_in_lower_case(tmp_path: Path):
    corpus = write_corpus(tmp_path / "c.txt", ["Der Ärger über süße Äpfel in Köln"])
    done = run_electra(
        tmp_path, "prepare", corpus, "--no-strip-accents", "--vocab-size", 300, "--out", "out"
    )
    assert done.returncode == 0, done.stderr
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "tokenizer")
    assert tokenizer.tokenize("ÄRGER")[0] == "ä"
    assert load_tokenizer(tmp_path / "out" / "tokenizer").settings["strip_accents"] is False
    again = run_electra(tmp_path, "prepare", corpus, "--vocab-size", 300, "--out", "out")
    assert "made with strip_accents False" in again.stderr
    given = ("--tokenizer", "out/tokenizer", "--no-strip-accents")
    refused = run_electra(tmp_path, "prepare", corpus, *given, "--out", "other")
    assert refused.returncode == 1
    assert "--tokenizer brings its own" in refused.stderr
