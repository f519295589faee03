"""What a user may get wrong with `electra finetune`: one line of problem, one of hint."""

import json
import resource
import shutil
from pathlib import Path

import pytest
from command_line import run_electra
from in_process import Done
from safetensors.torch import load_file, save_file
from tiny_tasks import sentences, write_classes, write_jsonl
from transformers import ElectraConfig, ElectraModel

TEXTS = sentences(30)


def refused(done: Done, problem: str, hint: str) -> None:
    assert done.returncode == 1, done.stderr
    lines = done.stderr.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("error:"))
    assert problem in lines[begin], lines[begin]
    assert lines[begin + 1].startswith("  hint: ")
    assert hint in lines[begin + 1], lines[begin + 1]
    assert "Traceback" not in done.stderr


# What stands in the training file, more arguments, the problem, the hint.
BAD: dict[str, tuple[str, str, list[str], str, str]] = {
    "unknown column": (
        "a.csv", "text,label\na b,x\nc d,y\n", ["--text", "body"],
        "no column body", "--text takes one of: text, label",
    ),
    "no certain column": (
        "a.csv", "one,two\na b,x\nc d,y\n", [],
        "not certain which column holds the text", "name it with --text; the columns are: one, two",
    ),
    "a label is missing": (
        "a.csv", "text,label\na b,x\nc d,\ne,y\n", [],
        "1 of 3 examples of train have no label, the first: ", "remove them, or write their labels",
    ),
    "one class alone": (
        "a.csv", "text,label\na b,x\nc d,x\n", [],
        "all examples have the same label: x", "check the label column",
    ),
    "classes or amounts": (
        "a.csv", "text,label\na b,3\nc d,17\n", [],
        "holds whole numbers, which may be classes or amounts", "--task classify or --task regress",
    ),
    "a label that is no number": (
        "a.csv", "text,label\na b,1.5\nc d,high\n", ["--task", "regress"],
        "line 3: the label is 'high', not a number", "--task classify",
    ),
    "more fields than the header": (
        "a.csv", "text,label\na, b,x\n", [],
        "line 2: 3 fields, but 2 in the header", "is written in quotes",
    ),
    "tags do not match words": (
        "a.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}\n', [],
        "line 1: 2 words, 1 tags", "every word needs one tag",
    ),
    "a word without a tag": (
        "a.conll", "the O\nlist\n", [],
        "line 2: a word without a tag", "an empty line ends a sentence",
    ),
    "no answer in its context": (
        "a.jsonl",
        '{"id": 1, "context": "a b", "question": "c", "answers": {"text": ["z"], '
        '"answer_start": [0]}}\n', [],
        "line 1: no answer stands in its context", "check answer_start",
    ),
    "an unknown ending": ("a.docx", "x", [], "has an unknown ending", "usable are .csv .tsv"),
    "half a character": (
        "a.jsonl", '{"text": "a \\ud800", "label": "x"}\n', [],
        "a.jsonl, line 1: half a character (U+D800)", "",
    ),
    "a key twice": (
        "a.jsonl", '{"text": "a", "label": "x", "text": "b"}\n', [],
        "a.jsonl, line 1: 2 keys are called text", "give each a name of its own",
    ),
    "a line breaks off": (
        "a.jsonl", '{"text": "a", "label": "x"}\n{"text": "a', [],
        "a.jsonl, line 2: no whole JSON value: it breaks off", "one object per line",
    ),
    "a quote is never closed": (
        "a.csv", 'text,label\n"a,x\nb,y\n', [],
        "a.csv, line 2: invalid CSV (a quote that opens in this row is never closed)", "quotes",
    ),
    "no example": ("a.csv", "text,label\n", [], "holds no example", "a row per example"),
    "an unknown task": (
        "a.csv", "text,label\na,b\n", ["--task", "glue/cool"],
        "there is no GLUE task cool", "tasks: cola, sst2",
    ),
    "an unknown option": (
        "a.csv", "text,label\na,b\n", ["--set", "finetune.epoch=3"],
        "unknown option 'finetune.epoch'", "did you mean finetune.epochs?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_a_hint(electra, tmp_path, case):
    """The data are read before the encoder, so a name is enough for it."""
    name, content, arguments, problem, hint = BAD[case]
    (tmp_path / name).write_text(content)
    done = electra("finetune", "runs/none", "--train", name, *arguments)
    refused(done, problem, hint)
    assert not (tmp_path / "finetune").exists()


@pytest.fixture(scope="module")
def encoder(finished, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "discriminator"
    shutil.copytree(finished.root / "discriminator", folder)
    return folder


def test_an_encoder_without_a_tokenizer(electra, encoder, tmp_path):
    shutil.copytree(encoder, tmp_path / "bare")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bare" / name).unlink()
    train = write_classes(tmp_path / "a.csv")
    done = electra("finetune", "bare", "--train", train)
    refused(done, "bare has no tokenizer", "copy tokenizer.json and tokenizer_config.json")


def test_more_layers_than_there_are(electra, encoder, tmp_path):
    train = write_classes(tmp_path / "a.csv")
    done = electra("finetune", encoder, "--train", train, "--set", "finetune.layers=99")
    refused(done, "finetune.layers is 99, but", "a number up to 2")


def test_an_encoder_that_is_broken(electra, encoder, tmp_path):
    shutil.copytree(encoder, tmp_path / "nan")
    weights = load_file(encoder / "model.safetensors")
    weights["electra.embeddings.LayerNorm.weight"][0] = float("nan")
    save_file(weights, tmp_path / "nan" / "model.safetensors", metadata={"format": "pt"})
    train = write_classes(tmp_path / "a.csv")
    done = electra("finetune", "nan", "--train", train)
    refused(done, "weights are not finite", "another checkpoint")


def test_a_loss_that_is_not_finite(electra, encoder, tmp_path):
    train = write_classes(tmp_path / "a.csv")
    done = electra(
        "finetune", encoder, "--train", train, "--learning-rate", "1e30",
        "--max-seq-length", "32", "--batch-size", "8", "--run-name", "a",
    )  # fmt: skip
    refused(done, "is not finite", "a lower --learning-rate")


@pytest.mark.slow
def test_out_of_memory_names_the_setting_and_the_fine_tune_goes_on_with_it(
    electra, encoder, tmp_path
):
    """An encoder so wide inside that 64 windows need more than the process may map."""
    config = ElectraConfig.from_pretrained(encoder, intermediate_size=150_000, num_hidden_layers=1)
    ElectraModel(config).save_pretrained(tmp_path / "wide")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(encoder / name, tmp_path / "wide" / name)
    rows = [{"text": "value list " * 8, "label": "ab"[n % 2]} for n in range(64)]
    train = write_jsonl(tmp_path / "a.jsonl", rows)
    done = run_electra(
        tmp_path, "finetune", "wide", "--train", train, "--validation", train, "--epochs", 1,
        "--batch-size", 64, "--max-seq-length", 32, "--run-name", "a",
        "--set", "finetune.untrained_twin=false",
        limit=lambda: resource.setrlimit(resource.RLIMIT_AS, (2_600_000_000, 2_600_000_000)),
    )  # fmt: skip
    command = "electra resume finetune/a --set finetune.micro_batch_size="
    refused(done, "out of memory: ", f"go on with: {command}32")
    assert "(64 windows per forward pass)" in done.stderr
    other = electra("resume", "finetune/a", "--set", "finetune.epochs=2")
    refused(other, "goes on as it began", "only finetune.micro_batch_size may change")
    done = electra(*f"{command}16".split()[1:])  # with all the memory there is
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "finetune" / "a" / "model").is_dir()


def test_no_such_encoder(electra, tmp_path):
    train = write_classes(tmp_path / "a.csv")
    done = electra("finetune", "runs/none", "--train", train)
    refused(done, "runs/none is no encoder", "name a run, a checkpoint of a run")


def test_what_can_be_learned_from_but_not_trusted_is_said(electra, encoder, tmp_path):
    """One class with one example, one never in train, empty, equal, shared and long texts."""
    rows = [{"text": t, "label": "ab"[n % 2]} for n, t in enumerate(TEXTS)]
    rows += [
        {"text": "alone of its kind", "label": "c"},
        {"text": " ", "label": "a"},
        {"text": TEXTS[0], "label": "b"},
        {"text": "value " * 100, "text_b": "list " * 100, "label": "a"},
    ]
    rows = [{"text_b": "", **row} for row in rows]
    train = write_jsonl(tmp_path / "a.jsonl", rows)
    held = [{"text": t, "text_b": "", "label": n} for t, n in ((TEXTS[0], "a"), ("new", "d"))]
    held.append({"text": "the " * 20, "text_b": "the " * 12, "label": "a"})
    validation = write_jsonl(tmp_path / "v.jsonl", held)
    done = electra(
        "finetune", encoder, "--train", train, "--validation", validation,
        "--max-seq-length", "16", "--dry-run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in (
        "warning: class c with a single training example",
        "warning: class d in validation, never in train: 1 examples are wrong in any case",
        "warning: train examples without text, left out: 1",
        "warning: validation texts that are also in train: 1",
        "warning: train texts with different labels: 1",
        "1 of 33 training examples do not fit into windows of 16 tokens",
        "of all tokens are cut",
        "1 of 3 validation examples do not fit into windows of 16 tokens, and of the shorter text",
        "hint: --max-seq-length 27 cuts nothing",
    ):
        assert words in done.stderr, done.stderr
    assert done.stderr.count("warning:") == done.stderr.count("hint:")


def test_what_is_cut_and_what_mends_it_is_said_of_every_file(electra, encoder, tmp_path):
    def question(n: int, asked: str) -> dict:
        answers = {"text": [TEXTS[n].split()[0]], "answer_start": [0]}
        return {"id": str(n), "context": TEXTS[n], "question": asked, "answers": answers}

    train = write_jsonl(tmp_path / "a.jsonl", [question(n, "value " * 15) for n in range(3)])
    test = write_jsonl(tmp_path / "b.jsonl", [question(3, "value " * 70)])
    done = electra(
        "finetune", encoder, "--train", train, "--validation", train, "--test", test,
        "--max-seq-length", "32", "--dry-run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    for split in ("training", "validation"):
        assert f"3 of 3 {split} examples have a question of more than 14 tokens" in said, said
    assert "1 of 1 test examples have a question of more than 14 tokens" in said
    assert "no option reads more than 64 tokens of a question, as in the authors' code" in said


def test_answers_not_found_are_left_out_and_counted(electra, encoder, tmp_path):
    def question(n: int, answer: str) -> dict:
        found = {"text": [answer], "answer_start": [0]}
        return {"id": str(n), "context": TEXTS[n], "question": "which", "answers": found}

    rows = [question(n, TEXTS[n].split()[-1]) for n in range(20)]  # their starts are put right
    rows[3]["answers"]["text"] = ["nowhere"]
    train = write_jsonl(tmp_path / "a.jsonl", rows)
    done = electra("finetune", encoder, "--train", train, "--max-seq-length", "32", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "train answers not found in their context, left out: 1" in done.stderr


def test_questions_with_one_id_are_counted(electra, encoder, tmp_path):
    answers = {"text": ["the"], "answer_start": [0]}
    row = {"context": "the words of it", "question": "which", "answers": answers}
    rows = [{"id": str(n // 2), **row} for n in range(20)]
    train, validation = (write_jsonl(tmp_path / name, rows) for name in ("a.jsonl", "b.jsonl"))
    done = electra("finetune", encoder, "--train", train, "--validation", validation, "--dry-run",
                   "--max-seq-length", "32")  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "10 questions of validation have the id of an earlier one" in said, said
    assert "predictions-validation.json has one answer per id" in said


def test_a_file_of_labels_is_read_the_same_in_every_form(electra, encoder, tmp_path):
    """JSON lists and CSV of the same examples give the same plan."""
    rows = [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(TEXTS)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    write_jsonl(tmp_path / "a.jsonl", rows)
    lines = "".join(f"{row['text']}\t{row['label']}\n" for row in rows)
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + lines)
    plans = set()
    for name in ("a.json", "a.jsonl", "a.tsv"):
        done = electra("finetune", encoder, "--train", name, "--max-seq-length", "32", "--dry-run")
        assert done.returncode == 0, done.stderr
        plans.add(next(line for line in done.stderr.splitlines() if "classes" in line))
    assert len(plans) == 1
