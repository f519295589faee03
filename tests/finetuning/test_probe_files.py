"""Files to probe with: which are usable, and what is taken of them."""

from dataclasses import replace

import pytest
from conftest import tiny_config
from tiny_tasks import sentences, write_classes, write_jsonl

from electra_cli.data.prepared import open_data
from electra_cli.errors import DataError
from electra_cli.finetuning.probe_files import describe_probes, open_probes
from electra_cli.runs.plan import measure_run


def opened(prepared, *paths, **run):
    config = tiny_config(run={"probes": tuple(map(str, paths)), **run})
    return open_probes(config.with_directory(prepared), open_data(prepared))


def test_a_file_is_read_by_its_columns(tmp_path, prepared):
    pairs = [{"good": text, "bad": text + " of"} for text in sentences(10)]
    files = write_classes(tmp_path / "a.csv", 41), write_jsonl(tmp_path / "b.jsonl", pairs)
    probes = opened(prepared, *files, probe_every=6)
    assert probes.every == 6
    assert (len(probes.labelled.texts), probes.labelled.num_training) == (41, 20)
    assert len(probes.pairs.good) == len(probes.pairs.bad) == 10
    for good, bad in zip(probes.pairs.good, probes.pairs.bad, strict=True):
        assert good[:-1].tolist() == bad[: len(good) - 1].tolist()
    assert opened(prepared) is None


def test_long_texts_are_cut_to_the_windows_and_large_files_sampled(tmp_path, prepared, monkeypatch):
    monkeypatch.setattr("electra_cli.finetuning.probe_files._MOST_TEXTS", 10)
    rows = [
        {"text": "value " * 90 + text, "label": str(n % 2)} for n, text in enumerate(sentences(30))
    ]
    probes = opened(prepared, write_jsonl(tmp_path / "a.jsonl", rows))
    assert [len(ids) for ids in probes.labelled.texts] == [32] * 10
    again = opened(prepared, write_jsonl(tmp_path / "b.jsonl", rows[::-1]))
    assert probes.labelled.labels == again.labelled.labels  # whatever the order of the file


def test_the_line_of_the_plan_says_how_many_texts_are_cut(tmp_path, prepared):
    texts = sentences(12)
    rows = [{"text": t + " value" * 90 * (n < 3), "label": str(n % 2)} for n, t in enumerate(texts)]
    pairs = [{"good": "the list", "bad": "value " * 90}]
    files = [write_jsonl(tmp_path / f"{n}.jsonl", each) for n, each in enumerate((rows, pairs))]
    config = tiny_config(run={"probes": tuple(map(str, files))}).with_directory(prepared)
    data = open_data(prepared)
    probes, vocab_size = open_probes(config, data), data.manifest.vocab_size
    size = measure_run(config, vocab_size, data)
    said = describe_probes(config, size, vocab_size, probes)
    assert said.endswith("% of the training FLOPs; 4 of 14 texts are cut to windows of 32 tokens")
    whole = replace(probes, num_cut=0)
    assert describe_probes(config, size, vocab_size, whole).endswith("% of the training FLOPs")


@pytest.mark.parametrize(
    "content, problem, hint",
    [
        ("a,b\n1,2\n", "has columns a, b", "text and label"),
        ("text,label\na,x\nb,x\nc,x\nd,x\n", "one label alone", "two labels"),
        ("text,label\n,x\nb,y\n", "line 2: text is empty", "remove the row"),
        ("good,bad\na,\n", "line 2: bad is empty", "remove the row"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, prepared, content, problem, hint):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=problem) as raised:
        opened(prepared, tmp_path / "a.csv")
    assert hint in raised.value.hint


def test_a_second_file_of_a_kind_is_refused(tmp_path, prepared):
    files = [write_classes(tmp_path / name) for name in ("a.csv", "b.csv")]
    with pytest.raises(DataError, match=r"b.csv is a second file"):
        opened(prepared, *files)
