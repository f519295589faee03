"""`electra predict`: labels of a fine-tuned model, and a discriminator's view of texts."""

import csv
import io
import json
import math
from pathlib import Path

import pytest
import torch
from tiny_tasks import sentences, write_classes, write_jsonl
from transformers import AutoModelForPreTraining, AutoTokenizer


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def finetune(electra, run: Path, train: Path, epochs: int) -> None:
    """finetune/a, scored on what it learned from."""
    done = electra(
        "finetune", run, "--train", train, "--validation", train, "--epochs", epochs,
        "--max-seq-length", 32, "--run-name", "a", "--set", "finetune.untrained_twin=false",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_it_answers_as_the_fine_tune_did(electra, finished, tmp_path):
    train = write_classes(tmp_path / "a.csv")
    finetune(electra, finished.root, train, epochs=1)
    found = electra("predict", "finetune/a", train)
    assert found.returncode == 0, found.stderr
    known = rows_of((tmp_path / "finetune" / "a" / "predictions-validation.csv").read_text())
    for one, other in zip(rows_of(found.stdout), known, strict=True):
        assert (one["text"], one["prediction"]) == (other["text"], other["prediction"])
        assert math.isclose(float(one["odd"]), float(other["odd"]), abs_tol=1e-5)

    done = electra("predict", "finetune/a", train, "--out", "b.jsonl")
    assert done.stdout == "b.jsonl\n"
    for line, row in zip((tmp_path / "b.jsonl").read_text().splitlines(), known, strict=True):
        said = json.loads(line)
        assert list(said) == ["id", "text", "prediction", "probabilities"]
        assert (said["id"], said["prediction"]) == (row["id"], row["prediction"])
        assert said["probabilities"]["odd"] == pytest.approx(float(row["odd"]), abs=1e-5)
    again = electra("predict", "finetune/a", train, "--out", "b.jsonl")
    assert again.returncode == 1
    assert "b.jsonl is there already" in again.stderr


def write_questions(path: Path) -> Path:
    """SQuAD 2.0's kind: every second question has no answer in its context."""
    rows = [
        {
            "id": f"q{n}",
            "question": "which",
            "context": text,
            "answers": {"text": text.split()[-1:], "answer_start": [0]}
            if n % 2
            else {"text": [], "answer_start": []},
        }
        for n, text in enumerate(sentences(24))
    ]
    return write_jsonl(path, rows)


def test_a_question_may_have_no_answer_as_in_the_fine_tune(electra, finished, tmp_path):
    train = write_questions(tmp_path / "a.jsonl")
    finetune(electra, finished.root, train, epochs=3)
    folder = tmp_path / "finetune" / "a"
    known = rows_of((folder / "predictions-validation.csv").read_text())
    found = rows_of(electra("predict", "finetune/a", train).stdout)
    assert [row["prediction"] for row in found] == [row["prediction"] for row in known]
    assert "" in {row["prediction"] for row in found}
    for one, other in zip(found, known, strict=True):
        assert math.isclose(float(one["null_score"]), float(other["null_score"]), abs_tol=1e-4)
        assert (one["prediction"] == "") == (float(one["null_score"]) > 0)
    answers = json.loads((folder / "predictions-validation.json").read_text())
    assert {row["id"]: row["prediction"] for row in found} == answers
    for option in ("--text=question", "--text-pair=context", "--id=id"):
        refused = electra("predict", "finetune/a", train, option)
        assert refused.returncode == 1
        problem = f"error: {option.partition('=')[0]} does nothing: questions are read by SQuAD's"
        assert problem in refused.stderr


def test_a_discriminator_scores_texts_as_transformers_would(electra, finished, tmp_path):
    texts = sentences(5)
    (tmp_path / "a.txt").write_text("\n".join(texts) + "\n")
    done = electra("predict", finished.root, "a.txt")
    assert done.returncode == 0, done.stderr
    folder = finished.root / "discriminator"
    tokenizer, model = (
        each.from_pretrained(folder) for each in (AutoTokenizer, AutoModelForPreTraining)
    )
    for text, row in zip(texts, rows_of(done.stdout), strict=True):
        with torch.no_grad():
            logits = model.eval()(**tokenizer(text, return_tensors="pt")).logits[0, 1:-1]
        expected = torch.log1p(-torch.sigmoid(logits))
        assert math.isclose(float(row["sum"]), float(expected.sum()), rel_tol=1e-4)
        assert math.isclose(float(row["mean"]), float(expected.mean()), rel_tol=1e-4)
        replaced = [float(each) for each in row["replaced"].split()]
        torch.testing.assert_close(torch.tensor(replaced), logits.sigmoid(), atol=1e-4, rtol=0)
        assert len(row["tokens"].split()) == len(replaced)


def test_minimal_pairs_are_ranked(electra, finished, tmp_path):
    pairs = [{"good": a, "bad": b} for a, b in zip(sentences(6), sentences(6, 1), strict=True)]
    write_jsonl(tmp_path / "pairs.jsonl", pairs)
    done = electra("predict", finished.root, "pairs.jsonl")
    assert done.returncode == 0, done.stderr
    assert electra("predict", finished.root, "pairs.jsonl", "--out", "a.jsonl").returncode == 0
    row = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])
    assert all(isinstance(row[name], float) for name in row if name not in ("good", "bad"))
    rows = rows_of(done.stdout)
    share = sum(float(row["good_sum"]) > float(row["bad_sum"]) for row in rows) / len(rows)
    assert f"good above bad in {share:.1%} of 6 pairs by sum" in done.stderr


def test_a_generator_answers_nothing(electra, finished, tmp_path):
    (tmp_path / "a.txt").write_text("the list\n")
    done = electra("predict", finished.root / "generator", "a.txt")
    assert done.returncode == 1
    assert "is a ElectraForMaskedLM, which answers nothing yet" in done.stderr
    assert "hint: fine-tune it first: electra finetune ENCODER --train FILE" in done.stderr
