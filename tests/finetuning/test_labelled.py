"""Labelled files of every form, held-out examples, GLUE's folders."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_tasks import write_jsonl

from electra_cli.errors import DataError
from electra_cli.finetuning.columns import find_columns
from electra_cli.finetuning.examples import Answers, Example, hold_out
from electra_cli.finetuning.glue import load_glue, submission_of
from electra_cli.finetuning.inputs import InputBuilder
from electra_cli.finetuning.labelled import load_labelled
from electra_cli.finetuning.predictions import ClassPredictions, RegressionPredictions
from electra_cli.finetuning.rows import read_table
from electra_cli.finetuning.settings import FinetuneConfig


def test_every_form_of_a_table_has_the_same_rows(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"text": 'so "quoted", he said', "label": "a"}, {"text": "Ärger", "label": "b"}]
    write_jsonl(tmp_path / "a.jsonl", rows)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.csv").write_text(
        'text,label\n"so ""quoted"", he said",a\nÄrger,b\n', encoding="utf-8-sig"
    )
    (tmp_path / "a.tsv").write_text('text\tlabel\nso "quoted", he said\ta\nÄrger\tb\n')
    (tmp_path / "b.tsv.gz").write_bytes(gzip.compress((tmp_path / "a.tsv").read_bytes()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.json", "a.csv", "a.tsv", "b.tsv.gz", "a.parquet"):
        assert [row.values for row in read_table(str(tmp_path / name)).rows] == rows, name


def test_conll_lines_are_sentences(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER")
    rows = [row.values for row in read_table(str(path)).rows]
    assert rows == [
        {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
        {"tokens": ["Peter"], "tags": ["B-PER"]},
    ]


def test_conllu_lines_have_form_and_upos(tmp_path):
    path = tmp_path / "a.conllu"
    rest = "\t_" * 5
    lines = [
        "# text = zum # Markt", "1-2\tzum\t_\t_\t_" + rest, f"1\tzu\tzu\tADP\tAPPR{rest}",
        f"2\tdem\tder\tDET\tART{rest}", f"3\t#\t#\tSYM\t${rest}", f"3.1\tx\t_\t_\t_{rest}",
        f"4\tMarkt\tMarkt\tNOUN\tNN{rest}", "", "# sent_id = 2", f"1\tJa\tja\tINTJ\t_{rest}", "",
    ]  # fmt: skip
    path.write_text("\n".join(lines))
    assert [row.values for row in read_table(str(path)).rows] == [
        {"tokens": ["zu", "dem", "#", "Markt"], "tags": ["ADP", "DET", "SYM", "NOUN"]},
        {"tokens": ["Ja"], "tags": ["INTJ"]},
    ]


CONTEXT = "the list of a file"
ANSWER = {"text": "a file", "answer_start": 12}
SQUAD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": CONTEXT,
                    "qas": [
                        {"id": "1", "question": "what", "answers": [ANSWER]},
                        {"id": "2", "question": "who", "answers": [], "is_impossible": True},
                    ],
                }
            ]
        }
    ]
}
FLAT = [
    {"id": "1", "question": "what", "context": CONTEXT,
     "answers": {"text": ["a file"], "answer_start": [12]}},
    {"id": "2", "question": "who", "context": CONTEXT,
     "answers": {"text": [], "answer_start": []}},
]  # fmt: skip
MRQA = [
    {"header": {}},
    {"context": CONTEXT, "qas": [
        {"qid": "1", "question": "what",
         "detected_answers": [{"text": "a file", "char_spans": [[12, 17]]}]},
        {"qid": "2", "question": "who", "detected_answers": []},
    ]},
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("squad.json", json.dumps(SQUAD)),
        ("flat.jsonl", "".join(json.dumps(row) + "\n" for row in FLAT)),
        ("mrqa.jsonl", "".join(json.dumps(row) + "\n" for row in MRQA)),
    ],
)
def test_questions_are_read_in_all_three_forms(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    config = FinetuneConfig(train=str(tmp_path / name), validation=str(tmp_path / name))
    data = load_labelled(config)
    assert data.task.name == "qa"
    assert [(e.id, e.text, e.pair, e.target) for e in data.splits["train"]] == [
        ("1", "what", CONTEXT, Answers(("a file",), (12,))),
        ("2", "who", CONTEXT, Answers((), ())),
    ]


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (["x", "y"], "classify"),
        (["0", "1", "1"], "classify"),
        (["1", "2", "3"], "classify"),
        (["0.5", "1"], "regress"),
        (["1", "?"], "classify"),
        (["['a', 'b']", "['a']"], "multilabel"),
        ([*["x", "y"] * 100, "n|a"], "classify"),  # here and there it is part of a name
    ],
)
def test_the_task_follows_from_labels_that_leave_no_doubt(tmp_path, labels, task):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "a", "label": label} for label in labels])
    assert find_columns(read_table(str(path)), FinetuneConfig()).task == task


@pytest.mark.parametrize(("separator", "cell"), [("|", "a|b"), (";", "a;b")])
def test_cells_with_the_separator_are_a_doubt(tmp_path, separator, cell):
    rows = [{"text": "a", "label": label} for label in ("a", cell, "b", "a")]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    config = FinetuneConfig(label_separator=separator)
    with pytest.raises(DataError, match=r"holds 'a.b' and the like in 1 of 4 rows") as raised:
        find_columns(read_table(str(path)), config)
    assert raised.value.hint == "say which: --task multilabel or --task classify"


@pytest.mark.parametrize("missing", [None, "", " ", float("nan")])
def test_an_empty_cell_is_a_missing_label(tmp_path, missing):
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    path = write_jsonl(tmp_path / "a.jsonl", [*rows, {"text": "c", "label": missing}])
    with pytest.raises(DataError, match=r"1 of 3 examples of train have no label.*line 3"):
        load_labelled(FinetuneConfig(train=str(path)))


def test_class_names_stay_as_they_are_written(tmp_path):
    """But 1.0, which a column of whole numbers with an empty cell holds, is 1."""
    labels = ["007", "7", "1_1", "11", "1e3", "1234567890123456768", "1234567890123456769", 2.0, 3]
    rows = [{"text": f"{n} {label}", "label": label} for n in range(9) for label in labels]
    path = str(write_jsonl(tmp_path / "a.jsonl", rows))
    data = load_labelled(FinetuneConfig(train=path, validation=path, task="classify"))
    assert {e.target for e in data.splits["train"]} == {*map(str, labels[:-2]), "2", "3"}


@pytest.mark.parametrize("label", ["a|b;c", ["a|b", "c"]])
def test_a_label_with_the_mark_that_stands_between_labels_is_refused(tmp_path, label):
    rows = [{"text": "a", "label": label}, {"text": "b", "label": "c"}]
    path = str(write_jsonl(tmp_path / "a.jsonl", rows))
    config = FinetuneConfig(train=path, task="multilabel", label_separator=";")
    with pytest.raises(DataError, match=r"line 1: the label 'a\|b' has a \|, which stands between"):
        load_labelled(config)


def test_a_tag_with_a_blank_is_refused_before_anything_is_trained(tmp_path):
    rows = [{"tokens": ["a", "b"], "tags": ["O", "B-first name"]}]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError, match="line 1: a tag is empty or has a blank in it"):
        load_labelled(FinetuneConfig(train=str(path)))


@pytest.mark.parametrize("missing", [None, "", float("nan")])
def test_rows_without_a_group_are_no_group(tmp_path, missing):
    rows = [{"text": f"t {n}", "label": "xy"[n % 2], "author": missing} for n in range(100)]
    path = str(write_jsonl(tmp_path / "a.jsonl", rows))
    splits = load_labelled(FinetuneConfig(train=path, group="author")).splits
    assert len(splits["validation"]) == 10


@pytest.mark.parametrize("answer", ["a file", " a file", "a file ", " a file "])
def test_a_blank_around_an_answer_is_none_of_its_tokens(tmp_path, theirs, answer):
    context = f"{CONTEXT} or folder"
    answers = {"text": [answer], "answer_start": [context.index(answer)]}
    row = {**FLAT[0], "context": context, "answers": answers}
    path = str(write_jsonl(tmp_path / "a.jsonl", [row] * 2))
    data = load_labelled(FinetuneConfig(train=path, validation=path))
    (example, _), builder = data.splits["train"], InputBuilder(theirs, 64)
    (window,) = data.task.windows([example], builder)
    first, last = data.task.targets(window, example)[0]
    start, end = window.spans[first][0], window.spans[last][1]
    assert context[start:end] == "a file"


def test_the_questions_of_a_context_are_held_out_together(tmp_path):
    rows = [
        {**FLAT[0], "id": str(n), "question": f"what {n}", "context": f"{CONTEXT} {n // 3}"}
        for n in range(60)
    ]
    config = FinetuneConfig(train=str(write_jsonl(tmp_path / "a.jsonl", rows)))
    splits = load_labelled(config).splits
    assert len(splits["validation"]) == 6
    assert not {e.pair for e in splits["train"]} & {e.pair for e in splits["validation"]}


def test_two_candidates_for_a_column_are_a_doubt(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "a", "sentence": "b", "label": "c"}])
    with pytest.raises(DataError, match="not certain which column holds the text"):
        find_columns(read_table(str(path)), FinetuneConfig())


@given(
    st.lists(st.tuples(st.text("ab", min_size=1, max_size=4), st.sampled_from("xy")), min_size=1),
    st.sampled_from([0.1, 0.3, 0.5]),
)
def test_equal_texts_stay_on_one_side_and_order_does_not_matter(pairs, fraction):
    examples = [Example(str(n), text, target=label) for n, (text, label) in enumerate(pairs)]
    training, held = hold_out(examples, fraction, lambda example: example.target)
    assert sorted(e.id for e in (*training, *held)) == sorted(e.id for e in examples)
    assert not {e.text for e in training} & {e.text for e in held}


def test_each_class_is_held_out_in_proportion():
    examples = [Example(str(n), f"text {n}", target="xy"[n % 5 == 0]) for n in range(500)]
    _, held = hold_out(examples, 0.1, lambda example: example.target)
    assert sum(e.target == "x" for e in held) == 40
    assert sum(e.target == "y" for e in held) == 10
    _, again = hold_out(examples[::-1], 0.1, lambda example: example.target)
    assert {e.id for e in again} == {e.id for e in held}


def test_a_group_is_never_on_both_sides():
    examples = [Example(str(n), f"{n}", target="x", group=str(n % 10)) for n in range(100)]
    training, held = hold_out(examples, 0.2, lambda _: "")
    assert len(held) == 20
    assert not {e.group for e in training} & {e.group for e in held}


def test_a_group_that_is_too_large_does_not_end_the_choice():
    """Whichever group comes first: all the small ones are there to fill the share."""
    for first in range(20):
        sizes = {f"large {first}": 80, **{f"{first} {n}": 1 for n in range(20)}}
        examples = [
            Example(f"{group} {n}", f"{group} {n}", target="x", group=group)
            for group, size in sizes.items()
            for n in range(size)
        ]
        _, held = hold_out(examples, 0.1, lambda _: "")
        assert len(held) == 10


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            [(f"t {n}", "xy"[n % 2], f"author {n % 3}") for n in range(60)],
            "no group is small enough to be held out: the smallest of 3 has 20 of 60",
        ),
        (
            [(f"t {n}", f"class {n % 30}", None) for n in range(60)],
            "no class has enough training examples to hold some out: the largest of 30 has 2",
        ),
    ],
)
def test_why_none_can_be_held_out_is_said(tmp_path, rows, problem):
    rows = [dict(zip(("text", "label", "author"), row, strict=True)) for row in rows]
    path = str(write_jsonl(tmp_path / "a.jsonl", rows))
    with pytest.raises(DataError, match=problem) as raised:
        load_labelled(FinetuneConfig(train=path, group="author"))
    assert "--validation FILE" in raised.value.hint
    assert "validation_fraction" in raised.value.hint


def glue_folder(tmp_path, files: dict[str, str]):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    return FinetuneConfig(task="glue/x", data=str(tmp_path))


def test_cola_has_no_header_but_in_test_and_quotes_are_text(tmp_path):
    config = glue_folder(
        tmp_path,
        {
            "train.tsv": 'gj04\t1\t\tHe said "no.\ngj04\t0\t*\tSaid he no.\n',
            "dev.tsv": "gj04\t1\t\tYes.\n",
            "test.tsv": "index\tsentence\n0\tPerhaps.\n",
        },
    ).model_copy(update={"task": "glue/CoLA"})
    task, splits, _ = load_glue(config)
    assert task.label_names == ("0", "1")
    assert [(e.text, e.target) for e in splits["train"]] == [
        ('He said "no.', "1"),
        ("Said he no.", "0"),
    ]
    assert [(e.text, e.target) for e in splits["test"]] == [("Perhaps.", None)]


QQP = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"


def test_rows_with_too_few_fields_are_left_out_and_counted_but_in_a_test_set(tmp_path):
    rows = "".join(f"{n}\t1\t2\tone {n}\ttwo {n}\t{n % 2}\n" for n in range(6))
    broken = f"{QQP}{rows}7\t1\t2\ta question that breaks\noff?\tanother\t0\n"
    files = {"train.tsv": broken, "dev.tsv": QQP + rows}
    config = glue_folder(tmp_path, files).model_copy(update={"task": "glue/QQP"})
    data = load_labelled(config)
    assert len(data.splits["train"]) == 6
    assert data.notes["train.tsv rows with too few fields, left out"] == 2
    assert "train.tsv rows with too few fields, left out: 2" in [each for each, _ in data.warnings]
    (tmp_path / "test.tsv").write_text("id\tquestion1\tquestion2\n0\tone\n")
    with pytest.raises(DataError, match=r"test.tsv, line 2: 2 fields, too few for QQP"):
        load_labelled(config)
    (tmp_path / "test.tsv").unlink()
    (tmp_path / "dev.tsv").write_text("another\tfile\n1\t2\n")
    with pytest.raises(DataError, match=r"dev.tsv, line 2: 2 fields, too few for QQP"):
        load_labelled(config)


def test_sts_b_reads_from_the_end_of_the_row_and_both_orders(tmp_path):
    config = glue_folder(
        tmp_path,
        {
            "train.tsv": "index\tgenre\tsentence1\tsentence2\tscore\n0\tnews\ta\tb\t2.5\n",
            "dev.tsv": "index\tgenre\tsentence1\tsentence2\tscore\n0\tnews\ta\tb\t5.0\n",
        },
    ).model_copy(update={"task": "glue/STS-B"})
    task, splits, _ = load_glue(config)
    assert task.epochs == 10
    assert [(e.text, e.pair, e.target) for e in splits["train"]] == [
        ("a", "b", 2.5),
        ("b", "a", 2.5),
    ]
    assert [(e.text, e.pair) for e in splits["validation"]] == [("a", "b")]


def test_mnli_answers_the_mismatched_and_the_diagnostic_pairs_too(tmp_path):
    header = "\t".join(f"c{n}" for n in range(12)) + "\n"
    row = "\t".join([*"01234567", "premise", "hypothesis", "x", "neutral"]) + "\n"
    (tmp_path / "MNLI").mkdir()
    names = ("train", "dev_matched", "dev_mismatched", "test_matched", "test_mismatched")
    config = glue_folder(tmp_path / "MNLI", {f"{name}.tsv": header + row for name in names})
    (tmp_path / "diagnostic").mkdir()
    (tmp_path / "diagnostic" / "diagnostic.tsv").write_text("index\ta\tb\n0\tone\ttwo\n")
    task, splits, _ = load_glue(config.model_copy(update={"task": "glue/MNLI"}))
    assert task.label_names == ("contradiction", "entailment", "neutral")
    assert [(e.text, e.pair, e.target) for e in splits["test_diagnostic"]] == [("one", "two", None)]
    assert [e.target for e in splits["validation_mismatched"]] == ["neutral"]
    answer = ClassPredictions(task.label_names, np.array([-1]), np.array([[0.1, 0.7, 0.2]]))
    files = {name: submission_of("glue/MNLI", name, answer) for name in splits}
    assert files == {
        "train": None,
        "validation": None,
        "validation_mismatched": None,
        "test": ("MNLI-m.tsv", ["index\tprediction", "0\tentailment"]),
        "test_mismatched": ("MNLI-mm.tsv", ["index\tprediction", "0\tentailment"]),
        "test_diagnostic": ("AX.tsv", ["index\tprediction", "0\tentailment"]),
    }


def test_a_submission_is_clamped_and_numbered():
    predictions = RegressionPredictions(np.zeros(2), np.array([5.7, 1.23456]))
    name, lines = submission_of("glue/STS-B", "test", predictions)
    assert name == "STS-B.tsv"
    assert lines == ["index\tprediction", "0\t5.000", "1\t1.235"]
    assert submission_of("glue/STS-B", "validation", predictions) is None
