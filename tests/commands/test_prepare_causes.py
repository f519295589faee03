"""What electra prepare reads, refuses and counts: valid input is read, messages name the cause."""

import gzip
import json
import lzma
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import run_electra

from electra_cli.cli import main

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WORDS = "a tree stands beside the river and its leaves are green"
LFS_POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 99\n"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Prepare:
    """`electra prepare` in this process: the console script would spend its time on imports."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def refusal(self, *arguments: object) -> tuple[str, str]:
        """(problem, hint) of a source that cannot be read; nothing is left behind."""
        self._capsys.readouterr()  # what made the source may have drawn a bar
        with pytest.raises(SystemExit) as ended:
            main(["prepare", *map(str, arguments)])
        err = self._capsys.readouterr().err
        assert ended.value.code == 1, err
        problem, hint = err.splitlines()
        assert not Path("data").exists()
        return problem.removeprefix("error: "), hint.removeprefix("  hint: ")

    def report(self, *arguments: object) -> dict[str, int]:
        """The report in the manifest; all bytes that were read are accounted for."""
        options = ["--out", "out", "--vocab-size", "80", "--validation-fraction", "0"]
        with pytest.raises(SystemExit) as ended:
            main(["prepare", *map(str, arguments), *options])
        self.said = self._capsys.readouterr().err
        assert not ended.value.code, self.said
        report: dict[str, int] = json.loads(Path("out/manifest.json").read_text())["report"]
        return report


@pytest.fixture
def prepare(capsys) -> Prepare:
    return Prepare(capsys)


def write(name: str, content: bytes | str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "text\none, two, and three\n", "line 2: 3 fields, but 1 in the header"),
        ("a.csv", 'id,text\n1, "one, two"\n', "line 2: 3 fields, but 2 in the header"),
        ("a.csv", "id,text,label\n1,one\ntwo,x\n", "line 2: 2 fields, but 3 in the header"),
        ("a.tsv", "id\ttext\n1\tone\n2\ttwo\tthree\n", "line 3: 3 fields, but 2 in the header"),
        ("a.csv", 'text\none\n"two\nthree\n', "line 3: invalid CSV (a quote that opens in this"),
        ("a.csv", "id,text\r1,one\r", "invalid CSV (a carriage return without a line feed)"),
        ("a.csv", "id,text\n1,a\0b\n", "a.csv, line 2: a NUL (U+0000)"),
        ("a.csv", "text,text\none,two\n", "a.csv: 2 columns are called text"),
        ("a.csv", "\ufefftext, text\none,two\n", "2 columns are called text, apart from blanks"),
        ("a.jsonl", '{"text": "one", "te\\u0078t": "two"}', "line 1: 2 keys are called text"),
        ("a.jsonl", '[{"text": "one"}]', "line 1: valid JSON, but not an object: a list"),
        ("a.jsonl", '{\n"text": "one"\n}', "line 1: no whole JSON value: it breaks off"),
        ("a.jsonl", '{"text": "one"} {"text": "two"}', "line 1: more than one JSON value"),
        ("a.jsonl", '{"text": "a \\ud800 b"}', "line 1: half a character (U+D800)"),
        ("a.jsonl", '{"text": ' + "[" * 9_000 + "]" * 9_000 + "}", "column text holds a list"),
        ("a.jsonl", '{"text": "one", "x": ' + "[" * 9_000 + "}", "line 1: invalid JSON"),
        ("a.jsonl", '{"body": "one"}\n{"id": 1}\n', "a.jsonl: no column text"),
        ("a.txt.xz", b"", "a.txt.xz is empty"),
        ("a.txt.xz", lzma.compress(b""), "a.txt.xz is empty"),
        ("a.parquet", b"", "a.parquet is empty"),
        ("a.txt.zst", zstd.compress(WORDS.encode() * 99)[:-4], "a.txt.zst is damaged"),
        ("a.txt.xz", lzma.compress(b"one") + b"\0" * 3, "a.txt.xz is damaged"),
        ("a.txt", lzma.compress(WORDS.encode()), "a.txt is compressed, as .xz files are"),
        ("a.txt", gzip.compress(WORDS.encode(), mtime=0), "a.txt is compressed, as .gz files are"),
        ("a.txt", b"PK\3\4" + WORDS.encode(), "a.txt is a zip archive, as .docx"),
        ("a.md.gz", gzip.compress(b"%PDF-1.7\n" + WORDS.encode(), mtime=0), "a.md.gz is a PDF"),
        ("a.txt", f"{{\\rtf1 {WORDS}}}", "a.txt is RTF"),
        ("a.txt", LFS_POINTER, "a.txt is a pointer of Git LFS, not the file itself"),
        ("a.txt.xz", LFS_POINTER, "a.txt.xz is a pointer of Git LFS, not the file itself"),
        ("a.parquet", LFS_POINTER, "a.parquet is a pointer of Git LFS, not the file itself"),
        ("a.arrow", b"FEA1" + bytes(99), "cannot be read here: it is in Feather's version 1"),
    ],
)
def test_a_source_is_refused_for_its_true_cause(prepare, name, content, problem):
    assert problem in prepare.refusal(write(name, content))[0]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (os.mkfifo, "a.txt is a pipe or a device, and what is read must be a file"),
        (lambda name: Path(name).symlink_to("gone"), "a.txt is a link that leads to no file: gone"),
        (lambda name: Path(name).symlink_to(name), "a.txt is a link that leads to no file: a.txt"),
    ],
)
def test_what_is_no_file_is_named(prepare, make, problem):
    make("a.txt")
    assert problem in prepare.refusal(Path("a.txt"))[0]


@pytest.mark.parametrize(("out", "free"), [(".", "{}-2"), ("..", "{.parent}-2"), ("/", "/-2")])
def test_a_folder_without_a_name_is_refused_if_it_is_not_empty(prepare, tmp_path, out, free):
    problem, hint = prepare.refusal(write("a.txt", WORDS), "--out", out)
    assert problem == f"{out} is not empty, and electra prepare did not begin it"
    assert hint == f"choose another folder: --out {free.format(tmp_path)}"


def test_bytes_that_iso_8859_does_not_have_are_in_another_encoding(prepare):
    text = "München, Straße und Bücher: schöne alte Wörter für die Übung. " * 50
    hint = prepare.refusal(write("a.txt", text.encode("cp850")))[1]
    assert "ISO-8859" not in hint
    assert hint.startswith(("CP850 fits it", "CP437 fits it", "CP858 fits it"))


def test_a_column_name_that_a_table_has_twice_is_refused(prepare):
    texts = pa.array([WORDS])
    for names in (["text", "text"], ["text", " text"]):
        table = pa.Table.from_arrays([texts, texts], names=names)
        pq.write_table(table, "a.parquet")
        with pa.ipc.new_stream("a.arrow", table.schema) as writer:
            writer.write_table(table)
        for name in ("a.parquet", "a.arrow"):
            assert f"{name}: 2 columns are called text" in prepare.refusal(name)[0]


@pytest.mark.parametrize(
    ("name", "content", "empty", "other"),
    [
        ("a.csv", f'id,text\n1,"{WORDS}, too"\n2,{WORDS},,\n', 0, 2),
        ("a.csv", f" id ; text \n7;{WORDS}, and more\n", 0, 1),
        ("a.csv", f'\ufeff"id","text"\n"7","{WORDS}"\n', 0, 1),
        ("a.csv", f"sep=;\r\nid;text\r\n7;{WORDS}, and more\r\n", 0, 1),
        ("a.csv", f'"sep=|"\nid|text\n7|{WORDS}\n', 0, 1),
        ("a.tsv", f'text\tnote\n"{WORDS}\tthree "words" more\n', 0, len('three "words" more')),
        ("a.jsonl", f'{{"text": "{WORDS}", "n": {"7" * 5_000}}}\n', 0, 5_000),
        ("a.jsonl", f'{{"text": "{WORDS}", "x": {"[" * 5_000}"é"{"]" * 5_000}}}\n', 0, 0),
        ("a.jsonl", f'{{"text": "{WORDS}", "x": {"[" * 700}"é"{"]" * 700}}}\n', 0, 2),
        ("a.jsonl", f'{{"id": 1}}\n{{"text": null}}\n{{"text": "{WORDS}"}}\n', 2, 1),
        ("a.jsonl", f'\ufeff{{"text": "{WORDS}", "x": NaN}}\n\n  \n', 0, 3),
        ("a.txt.xz", lzma.compress(WORDS.encode()) + bytes(8) + lzma.compress(b"\n"), 0, 0),
        ("a.txt.gz", gzip.compress(WORDS.encode()) + gzip.compress(b"\n") + bytes(512), 0, 0),
        ("a.txt.zst", zstd.compress(WORDS.encode()) + zstd.compress(b"\n"), 0, 0),
        (
            "a.txt.zst",
            zstd.compress(WORDS.encode() * 999, options={
                zstd.CompressionParameter.window_log: 28,
                zstd.CompressionParameter.content_size_flag: 0,
            }),
            0,
            0,
        ),
    ],
)  # fmt: skip
def test_valid_input_is_read_and_other_columns_are_not_framing(
    prepare, name, content, empty, other
):
    report = prepare.report(write(name, content))
    assert report["empty_documents"] == empty
    assert report["other_column_bytes"] == other
    assert report["kept_bytes"] >= len(WORDS)
    dropped = ("separator_bytes", "other_column_bytes", "duplicate_bytes", "too_short_bytes")
    assert report["bytes_read"] == report["kept_bytes"] + sum(report[name] for name in dropped)
    assert ("dropped: other columns" in prepare.said) == (other > 0)


def test_carriage_returns_alone_end_lines(prepare):
    rows = f'{{"text": "{WORDS}"}}\r{{"text": "{WORDS} too"}}\r'
    hint = prepare.refusal(write("a.jsonl", rows))[1]
    assert hint.startswith("its lines end in carriage returns alone: tr ")
    assert prepare.report(write("a.txt", f"{WORDS}\r\r{WORDS} too\r"))["documents"] == 2
    shutil.rmtree("out")
    assert prepare.report(write("a.txt", f"{WORDS}\r\r\n{WORDS} too\r\r\n"))["documents"] == 1


def test_text_beyond_the_limit_is_not_framing(prepare):
    report = prepare.report(write("a.txt", f"{WORDS}\n\n" * 1_000), "--max-bytes", "60")
    assert report["separator_bytes"] < 2_100
    used = report["kept_bytes"] + report["too_short_bytes"] + report["separator_bytes"]
    assert report["beyond_limit_bytes"] == report["bytes_read"] - used > 50_000


TEXTS = {
    "fr": "L’été dernier, nous étions à la plage où les élèves mangeaient des crêpes.",
    "pl": "Zażółć gęślą jaźń. Wszyscy ludzie rodzą się wolni i równi pod względem swej godności.",
    "ru": "Привет, мир! Это обычный русский текст, в котором есть несколько слов.",
    "el": "Καλημέρα κόσμε! Αυτό είναι ένα ελληνικό κείμενο με αρκετές λέξεις.",
    "he": "שלום עולם, זה טקסט בעברית עם כמה מילים.",
    "ja": "これは日本語の文章です。カタカナも漢字も含まれています。東京都に住んでいます。",
    "zh": "这是一个普通的中文文本，里面有几个词语和标点符号。我们在北京学习。",
    "zh-tw": "這是一個普通的中文文本，裡面有幾個詞語和標點符號。我們在台北學習。",
    "ko": "안녕하세요 세계! 이것은 평범한 한국어 문장입니다.",
}


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        ("fr", "cp1252"),
        ("pl", "cp1250"),
        ("pl", "iso8859-2"),
        ("ru", "cp1251"),
        ("ru", "koi8-r"),
        ("ru", "iso8859-5"),
        ("el", "cp1253"),
        ("he", "cp1255"),
        ("ja", "shift_jis"),
        ("ja", "euc_jp"),
        ("ja", "iso2022_jp"),
        ("zh", "gb18030"),
        ("zh-tw", "big5"),
        ("ko", "euc_kr"),
        ("fr", "utf-16"),
        ("fr", "utf-16-le"),
        ("ru", "utf-16-be"),
        ("fr", "utf-32"),
        ("ja", "utf-32-le"),
    ],
)
@pytest.mark.parametrize("name", ["it's a.txt", "-a.txt.gz"])
def test_the_command_in_the_hint_converts_the_file_without_loss(prepare, language, encoding, name):
    text = (TEXTS[language] + "\n") * 2
    content = text.encode(encoding)
    path = write(name, gzip.compress(content) if name.endswith(".gz") else content)
    _, hint = prepare.refusal("--", path)
    command = hint.partition(": ")[2].partition("; or add")[0]
    subprocess.run(["sh", "-c", command], check=True)
    (copy,) = (Path(word) for word in shlex.split(command) if "-utf8" in word)
    assert copy.read_text(encoding="utf-8").removeprefix("\ufeff") == text


def test_a_few_wrong_bytes_in_utf8_are_no_other_encoding(prepare):
    lines = "Ein Gruß aus Köln, schöne Grüße.\n".encode() * 9 + "café\n".encode("latin-1")
    problem, hint = prepare.refusal(write("a.txt", lines))
    assert "a.txt, line 10: broken UTF-8 (byte 0xe9)" in problem
    assert "iconv" not in hint
    assert "--replace-broken" in hint


def test_halves_of_characters_are_no_other_encoding(prepare):
    """Java and some databases write UTF-8 of the two halves that UTF-16 has for an emoji."""
    halves = "\ud83d\ude00".encode("utf-8", "surrogatepass")
    problem, hint = prepare.refusal(write("a.txt", WORDS.encode() + halves))
    assert problem == "a.txt, line 1: broken UTF-8 (byte 0xed)"
    assert "iconv" not in hint


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("https://example.com/a.txt", "https://example.com/a.txt is an address, not a file"),
        ("-", "- is a pipe or a device, and what is read must be a file"),
        ("", "an argument is empty"),
    ],
)
def test_what_is_no_name_of_a_file_is_told_from_one(prepare, source, problem):
    assert problem in prepare.refusal(source)[0]


def test_folders_that_the_program_made_are_no_text(prepare):
    write("a.txt", WORDS)
    write("runs/x/README.md", "about the run")
    write("runs/x/training_log.csv", "step\n1\n")
    assert "training_log.csv: no column text" in prepare.refusal(".")[0]
    for name in ("config.yaml", "environment.json"):
        write(f"runs/x/{name}", "{}")
    assert prepare.report(".")["documents"] == 1
    prepare.report(".")
    assert "out is there already, made from this source with these settings" in prepare.said


def test_a_source_that_changes_while_it_is_read_is_told(prepare, monkeypatch):
    from electra_cli.preparing import pipeline

    write("a.txt", WORDS)
    prepare.report("a.txt")
    assert "changed" not in prepare.said
    shutil.rmtree("out")
    learn = pipeline.train_tokenizer

    def learn_while_the_file_grows(*arguments: object) -> object:
        write("a.txt", f"{WORDS}\n\n{WORDS} too")
        return learn(*arguments)

    monkeypatch.setattr(pipeline, "train_tokenizer", learn_while_the_file_grows)
    prepare.report("a.txt")
    assert "warning: the source changed while it was read" in prepare.said


def test_a_name_with_a_tilde_is_that_of_a_file(prepare):
    assert prepare.report(write("~$ notes.txt", WORDS))["documents"] == 1


def rows(split: str, count: int = 12) -> datasets.Dataset:
    texts = [f"{WORDS} as row {row} of {split} says" for row in range(count)]
    return datasets.Dataset.from_dict({"text": texts})


def clone(folder: str) -> None:
    """A copy of a dataset's repository, as git or `hf download` makes it."""
    for split, count in (("train", 12), ("validation", 5)):
        path = Path(folder, "data", f"{split}-00000-of-00001.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        rows(split, count).to_parquet(path)
    write(f"{folder}/README.md", "---\nlicense: mit\nsize_categories:\n- n<1K\n---\n\n# A card\n")
    write(f"{folder}/.gitattributes", "*.parquet filter=lfs\n")


def saved(folder: str) -> None:
    datasets.DatasetDict(train=rows("train"), validation=rows("validation", 5)).save_to_disk(folder)
    rows("a cache").save_to_disk("elsewhere")
    Path("elsewhere/data-00000-of-00001.arrow").rename(
        f"{folder}/train/cache-0123456789abcdef.arrow"
    )


def saved_split(folder: str) -> None:
    rows("train").save_to_disk(folder)
    rows("a cache").save_to_disk("elsewhere")
    Path("elsewhere/data-00000-of-00001.arrow").rename(f"{folder}/cache-0123456789abcdef.arrow")


@pytest.mark.parametrize(
    ("make", "arguments", "documents"),
    [
        (clone, [], 12),
        (clone, ["--split", "validation"], 5),
        (saved, [], 12),
        (saved, ["--split", "validation"], 5),
        (saved_split, [], 12),
        (saved_split, ["--split", "train"], 12),
    ],
)
def test_a_dataset_folder_is_read_as_the_split_that_is_asked_for(
    prepare, monkeypatch, make, arguments, documents
):
    make("corpora/mine")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", "/proc/no-place-to-write")
    report = prepare.report("corpora/mine", *arguments)
    assert report["documents"] == documents
    assert report["files"] == 1


@pytest.mark.parametrize("make", [clone, saved, saved_split])
def test_a_split_that_a_dataset_folder_does_not_have_is_named(prepare, make):
    make("mine")
    problem, hint = prepare.refusal("mine", "--split", "trian")
    assert problem == "dataset folder mine has no split trian"
    assert hint.startswith("--split takes one of: train")


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["a.txt", "--split", "train"], "--split"),
        (["a.txt", "--subset", "x"], "--subset"),
        (["a.txt", "--column", "body"], "--column"),
        (["notes", "--column", "text"], "--column"),
        (["notes", "--split", "train"], "--split"),
        (["a.jsonl", "--split", "train"], "--split"),
        (["--column", "body"], "--column"),
        (["--split", "test"], "--split"),
        (["--subset", "x"], "--subset"),
        (["--replace-broken"], "--replace-broken"),
    ],
)
def test_an_option_with_nothing_to_act_on_is_refused(prepare, arguments, option):
    write("a.txt", WORDS)
    write("a.jsonl", json.dumps({"text": WORDS}))
    write("notes/README.md", f"---\ntitle: Notes\n---\n{WORDS}\n")  # a card has other keys
    problem, hint = prepare.refusal(*arguments)
    assert f"{option} has nothing to act on: it acts on " in problem
    assert hint == f"leave out {option}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["prepare", "B\udcfccher"],
        ["prepare", "link/b.txt"],
        ["prepare", "."],
        ["prepare", "*/*.txt"],
        ["prepare", "c.txt", "--out", "B\udcfccher/out"],
        ["prepare", "c.txt", "--tokenizer=B\udcfccher"],
        ["train", "--data", "link"],
        ["train", "--run-name", "B\udcfccher"],
        ["train", "--preset", "B\udcfccher.yaml"],
        ["train", "--set", "data.directory=B\udcfccher"],
        ["train"],
        ["resume", "runs/B\udcfccher"],
        ["plot", "x", "--png", "B\udcfccher.png"],
        ["tune", "--storage", "sqlite:///B\udcfccher.db"],
    ],
)
def test_a_path_that_is_not_utf8_is_refused_by_name_before_work_begins(
    tmp_path, capsys, prepared, arguments
):
    wrong = tmp_path / "B\udcfccher"
    wrong.mkdir()
    write("B\udcfccher/b.txt", WORDS)
    write("c.txt", WORDS)
    Path("link").symlink_to(wrong)
    Path("data").mkdir()
    shutil.copytree(prepared, "data/B\udcfccher")  # the only prepared folder
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    problem, hint = capsys.readouterr().err.splitlines()
    assert "the path " in problem
    assert "B\\udcfccher" in problem
    assert "is not UTF-8" in problem
    assert "rename it" in hint


def test_the_console_script_refuses_a_current_folder_that_is_not_utf8(tmp_path):
    folder = tmp_path / "B\udcfccher"
    folder.mkdir()
    (folder / "b.txt").write_text(WORDS)
    done = run_electra(folder, "prepare", "b.txt")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the path ")
    assert "B\\udcfccher is not UTF-8" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["b.txt"]
