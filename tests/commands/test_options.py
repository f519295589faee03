"""Options that do not exist, do nothing or are written in an unusual way: the real command."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import TINY, run_electra, write_preset

from electra_cli.cli import main
from electra_cli.disk import as_argument
from electra_cli.presets import load_preset, save_config


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Electra:
    """The command in this process: the console script would spend most of its time on imports."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: object, code: int = 0) -> str:
        """What it says on stderr."""
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        err = self._capsys.readouterr().err
        assert (ended.value.code or 0) == code, err
        return err

    def refusal(self, *arguments: object, code: int = 1) -> tuple[str, str]:
        """(problem, hint) of a command that must fail."""
        problem, hint = self.run(*arguments, code=code).splitlines()
        return problem.removeprefix("error: "), hint.removeprefix("  hint: ")

    def plan(self, *arguments: object) -> dict[str, str]:
        """The rows of the plan that a dry run shows."""
        err = self.run("train", "--dry-run", *arguments)
        rows = [re.split(r"  +", line.strip()) for line in err.splitlines()]
        return {row[0]: row[1] for row in rows if len(row) == 2}


@pytest.fixture
def electra(capsys) -> Electra:
    return Electra(capsys)


def test_the_console_script_says_it_in_two_lines_too(tmp_path):
    done = run_electra(tmp_path, "train", "--lr", "1e-4")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: electra train has no option --lr\n  hint: did you mean --learning-rate?\n"
    )


@pytest.mark.parametrize(
    ("command", "near"),
    [
        ("train --lr 1e-4", "--learning-rate"),
        ("train -lr 1e-4", "--learning-rate"),
        ("train --num_train_epochs=3", "--epochs"),
        ("train --warmup 10", "--set optim.num_warmup_steps=VALUE"),
        ("train --bs 4", "--batch-size"),
        ("train --fp16", "--precision"),
        ("train --seeds 1", "--set run.seed=VALUE"),
        ("train --Weight_Decay 0.1", "--set optim.weight_decay=VALUE"),
        ("train --gradient-accumulation-steps 2", "--set run.micro_batch_size=VALUE"),
        ("train --output_dir x", "--run-name"),
        ("train --name x", "--run-name"),
        ("train --init_checkpoint x", "--init-from"),
        ("train --nproc_per_node 2", "--processes"),
        ("train --wandb", "--set run.report_to=VALUE"),
        ("resume runs/x --mbs 4", "--set run.micro_batch_size=VALUE"),
        ("tune --lr 1e-4", "optim.learning_rate in the preset file"),
        ("prepare --vocab 99", "--vocab-size"),
        ("prepare --num_proc 2", "--workers"),
        ("plot runs/x --output x.html", "--out"),
    ],
)
def test_an_unknown_argument_suggests_the_one_that_other_programs_call_so(
    electra, tmp_path, command, near
):
    problem, hint = electra.refusal(*command.split(), code=2)
    assert " has no option -" in problem
    assert hint == f"did you mean {near}?"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("lr", "optim.learning_rate"),
        ("optim.lr", "optim.learning_rate"),
        ("run.max_steps", "run.num_steps"),
        ("epochs", "--epochs"),
        ("bf16", "--precision"),
        ("train_batch_size", "--batch-size"),
        ("optim.warmup", "optim.num_warmup_steps"),
        ("generator_size", "model.generator_width"),
        ("output_dir", "--run-name"),
    ],
)
def test_an_unknown_key_suggests_the_nearest_in_set_and_in_a_preset(electra, tmp_path, name, near):
    _, hint = electra.refusal("train", "--set", f"{name}=1")
    option_hint = hint
    section, _, key = name.rpartition(".")
    text = f"{section}: {{{key}: 1}}" if section else f"{key}: 1"
    (tmp_path / "mine.yaml").write_text(text)
    _, hint = electra.refusal("train", "--preset", "mine.yaml")
    assert hint == option_hint
    assert near in hint or near.startswith("--")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("steps", "did you mean finetune.epochs?"),
        ("warmup_steps", "did you mean finetune.warmup_fraction?"),
        ("random_seed", "did you mean finetune.seeds?"),
        ("text_column", "did you mean finetune.text?"),
        ("label_column", "did you mean finetune.label?"),
        ("num_layers", "did you mean finetune.layers?"),
        ("model_name_or_path", "did you mean finetune.encoders?"),
        ("output_dir", "did you mean --run-name?"),
        ("eval_steps", "options: finetune.encoders, finetune.train"),
        ("workers", "options: finetune.encoders, finetune.train"),
        ("hidden_size", "options: finetune.encoders, finetune.train"),
    ],
)
def test_an_unknown_key_of_a_fine_tune_suggests_what_a_fine_tune_has(electra, name, hint):
    arguments = ["finetune", "runs/none", "--train", "a.csv", "--set", f"finetune.{name}=1"]
    problem, found = electra.refusal(*arguments)
    assert problem == f"unknown option 'finetune.{name}'"
    assert found.startswith(hint)


@pytest.mark.parametrize(
    ("arguments", "problem", "near"),
    [
        (["train", "--preset", ""], "--preset is empty", "not set"),
        (["train", "--run-name="], "--run-name is empty", "not set"),
        (["tune", "--data", " "], "--data is empty", "not set"),
        (["status", ""], "an argument is empty", "not set"),
        (["train", "–steps", "5"], "–steps begins with EN DASH, not with -", "--steps?"),
        (["train", "—-steps=5"], "—-steps=5 begins with EM DASH, not with -", "--steps=5?"),
    ],
)
def test_an_empty_argument_and_another_dash_are_named(electra, arguments, problem, near):
    found, hint = electra.refusal(*arguments)
    assert found == problem
    assert hint.endswith(near) or near in hint


def test_a_tilde_after_an_equals_sign_is_the_home_folder(electra, monkeypatch):
    monkeypatch.setenv("HOME", "/the/home")
    for arguments in (["--data=~/d"], ["--set", "data.directory=~/d"]):
        assert "/the/home/d" in electra.refusal("train", "--dry-run", *arguments)[0]


def test_the_run_that_was_meant_is_named(electra, tmp_path):
    write_preset(tmp_path / "config.yaml")
    Path("runs/my run/checkpoints").mkdir(parents=True)
    Path("config.yaml").rename("runs/my run/config.yaml")
    for name in ("my run", "runs/my run/checkpoints", "runs/my run/config.yaml"):
        for command in ("status", "resume", "plot", "export"):
            if command != "plot" or not Path(name).is_dir():
                problem, hint = electra.refusal(command, name)
                assert problem.startswith(f"{name} is not a run: ")
                assert hint == "did you mean 'runs/my run'?"
    problem, hint = electra.refusal("resume", "runs/my run")
    assert problem.startswith("runs/my run/config.yaml names no data")
    assert "--set data.directory=" in hint


def test_the_prepared_folder_that_was_meant_is_named(electra, prepared, tmp_path):
    shutil.copytree(prepared, "data/my words")
    shutil.copytree(prepared, "data/damaged")
    shutil.rmtree("data/damaged/tokenizer")
    Path("a.txt").write_text("text")
    for name, hint in (
        ("my words", "did you mean 'data/my words'?"),
        ("data/my words/tokenizer", f"did you mean '{tmp_path}/data/my words'?"),
        ("data", f"did you mean {tmp_path}/data/damaged?"),
        ("a.txt", f"make one with: electra prepare {tmp_path}/a.txt --out DIR"),
        ("nowhere", "make one with: electra prepare SOURCE --out DIR"),
    ):
        assert electra.refusal("train", "--dry-run", "--data", name)[1] == hint
    problem, _ = electra.refusal("train", "--dry-run", "--data", "data/damaged")
    assert problem.endswith("data/damaged/tokenizer is damaged: it is missing")


@pytest.mark.parametrize("name", [".", "..", "a/.."])
def test_a_run_needs_a_name_of_its_own(electra, name):
    assert "is the folder of all runs" in electra.refusal("train", "--run-name", name)[0]


def test_a_preset_may_have_an_empty_section_and_must_be_utf8(electra, tmp_path):
    (tmp_path / "mine.YAML").write_text("run:\n  # num_steps: 9\noptim: {learning_rate: 1e-3}\n")
    assert load_preset("mine.YAML").optim.learning_rate == 1e-3
    (tmp_path / "mine.YAML").write_text("run: {num_steps: 9}", encoding="utf-16")
    problem = electra.refusal("train", "--preset", "mine.YAML")
    assert problem == ("mine.YAML is not in UTF-8", "save it as UTF-8")


def test_numbers_are_decimal_wherever_they_are_written(electra, tmp_path):
    (tmp_path / "mine.yaml").write_text("run: {num_steps: 010}\noptim: {learning_rate: 1e-4}")
    ways = (["--steps", "010"], ["--set", "run.num_steps=010"], ["--preset", "mine.yaml"])
    tiny = [option for option in TINY if "num_steps" not in option]
    assert [electra.plan(*tiny, *way)["steps"] for way in ways] == ["10"] * 3
    assert load_preset(str(tmp_path / "mine.yaml")).optim.learning_rate == 1e-4


@pytest.mark.parametrize("number", ["1:30", "0x10", "0o17", "0b11", "1e3", "1.0e3", ".inf", "ten"])
def test_what_is_no_decimal_number_is_refused_wherever_it_is_written(electra, tmp_path, number):
    electra.run("train", "--steps", number, code=2)
    problem, hint = electra.refusal("train", "--set", f"run.num_steps={number}")
    assert "run.num_steps = " in problem
    assert "Total number of optimizer steps" in hint
    (tmp_path / "mine.yaml").write_text(f"run: {{num_steps: {number}}}")
    assert "run.num_steps = " in electra.refusal("train", "--preset", "mine.yaml")[0]


MLM = "objective.name=mlm"
UNIFORM = "objective.uniform_generator=true"


@pytest.mark.parametrize(
    ("settings", "option", "reason"),
    [
        ([MLM, "model.generator_width=1/2"], "model.generator_width", "objective.name mlm"),
        (["model.generator_depth=0.5", MLM], "model.generator_depth", "objective.name mlm"),
        ([MLM, "model.tie_embeddings=false"], "model.tie_embeddings", "objective.name mlm"),
        ([MLM, "objective.temperature=2"], "objective.temperature", "objective.name mlm"),
        ([MLM, "objective.discriminator_loss_weight=9"], "discriminator_loss_weight", "mlm"),
        ([UNIFORM, "objective.temperature=2"], "objective.temperature", "uniform_generator"),
        ([UNIFORM, "objective.generator_loss_weight=2"], "generator_loss_weight", "uniform"),
        (["run.max_skipped_batches=9"], "run.max_skipped_batches", "run.on_nonfinite is stop"),
    ],
)
def test_an_option_that_does_nothing_under_the_objective_is_refused(
    electra, tmp_path, settings, option, reason
):
    sets = [f"--set={setting}" for setting in settings]
    problem, hint = electra.refusal("train", "--dry-run", *sets)
    assert option in problem
    assert reason in problem
    assert hint.startswith("leave ")


def test_a_preset_that_chooses_the_objective_may_not_set_what_that_leaves_unused(electra, tmp_path):
    (tmp_path / "mine.yaml").write_text("objective: {name: mlm, temperature: 2}")
    problem, _ = electra.refusal("train", "--dry-run", "--preset", "mine.yaml")
    assert "objective.temperature = 2.0 does nothing: objective.name mlm" in problem
    # A preset for electra serves as the sizes of a masked language model too, as tiny does.
    load_preset("tiny", assignments=[MLM])
    electra.plan("--preset", write_preset(tmp_path / "my.yaml"), "--set", MLM)


def test_a_resolved_config_is_a_preset_whatever_its_objective(electra, tmp_path):
    sizes = str(write_preset(tmp_path / "my.yaml"))
    save_config(load_preset(sizes, assignments=[MLM]), tmp_path / "config.yaml")
    electra.plan("--preset", "config.yaml")


def test_epochs_give_the_steps_that_the_plan_shows(electra, prepared):
    small = [option for option in TINY if "num_steps=" not in option]
    one, four = (
        electra.plan("--data", prepared, *small, "--set=run.batch_size=1", "--epochs", epochs)
        for epochs in (1, 4)
    )
    windows = int(one["steps"].replace(",", ""))
    assert int(four["steps"].replace(",", "")) == 4 * windows
    assert (float(one["epochs"]), float(four["epochs"])) == (1, 4)
    half = electra.plan("--data", prepared, *small, "--set=run.batch_size=7", "--epochs", 0.5)
    assert int(half["steps"].replace(",", "")) == -(-windows // 14)  # rounded up


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--epochs", "1", "--steps", "2"], "both say how long to train"),
        (["--epochs", "1", "--set", "run.num_steps=2"], "both say how long to train"),
        (["--epochs", "0"], "--epochs 0 is not a number of passes"),
        (["--epochs", "nan"], "--epochs nan is not a number of passes"),
        (["--epochs", "1e300"], "run.num_steps"),
    ],
)
def test_epochs_that_cannot_be_are_explained(electra, tmp_path, prepared, arguments, problem):
    assert problem in electra.refusal("train", "--data", prepared, *arguments)[0]


def test_a_printed_command_can_be_pasted(electra, prepared, capsys):
    Path("runs/my run").mkdir(parents=True)
    Path("runs/my run/notes").write_text("mine")
    err = electra.run("train", "--data", prepared, "--run-name", "my run", *TINY, code=1)
    assert err.splitlines()[-1].endswith("or: electra resume 'runs/my run'")
    Path("a.txt").write_text("\n\n".join(f"a tree by river {n} with words" for n in range(99)))
    said = electra.run("prepare", "a.txt", "--out", "it's mine", "--vocab-size", "90")
    assert shlex.split(said.splitlines()[-1])[-1] == "it's mine"
    _, hint = electra.refusal("prepare", "a.txt", "--out", "it's mine", "--cased")
    assert shlex.split(hint.partition("folder: ")[2]) == ["--out", "it's mine-2"]


@pytest.mark.parametrize(
    "name", ["a b", "it's", "$HOME", "-x", "two\nlines", "tab\tand '", "\u202ex", "ü"]
)
def test_a_path_in_a_command_is_one_word_to_the_shell(name):
    script = f"printf %s {as_argument(Path(name))}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.removeprefix("./") == name


@pytest.mark.slow
def test_the_one_that_counts_of_two_values_is_named(electra):
    tiny = [option for option in TINY if "num_steps" not in option]
    said = electra.run("train", "--dry-run", *tiny, "--steps=5", "--set=run.num_steps=6")
    assert "run.num_steps has two values, 5 and 6: --set counts" in said
    assert "leave one out" in said
    same = ["--learning-rate", "1e-3", "--set=optim.learning_rate=0.001"]
    said = electra.run("train", "--dry-run", *TINY, *same)
    assert "two values" not in said


@pytest.mark.parametrize("option", [["--verify-data"], ["--probe=a.csv"], ["--replay=old:0.5"]])
def test_a_dry_run_without_data_refuses_what_acts_on_data(electra, tmp_path, option):
    (tmp_path / "a.csv").write_text("good,bad\na,b\n")
    assert "no prepared data" in electra.refusal("train", "--dry-run", *option)[0]


def test_a_dry_run_says_what_its_name_and_its_time_limit_mean(electra, prepared):
    said = electra.run("train", "--dry-run", *TINY, "--data", prepared, "--run-name=a b",
                       "--max-minutes=0.0000001").splitlines()  # fmt: skip
    assert re.fullmatch(
        r"--max-minutes 1e-07 allows about \d.\d% of it; electra resume .*", said[-2]
    )
    assert said[-1] == "this was a dry run; leave --dry-run out to train 'runs/a b'"
    (Path("runs/a b/x")).mkdir(parents=True)
    problem, _ = electra.refusal("train", "--dry-run", "--run-name", "a b")
    assert problem == "runs/a b is there already"


@pytest.fixture
def labelled(tmp_path) -> list[str]:
    """Arguments of a fine-tune."""
    for name in ("a.csv", "b.csv"):
        rows = "".join(f"{n},word {n},{n % 2}\n" for n in range(30))
        (tmp_path / name).write_text("group,text,label\n" + rows)
    return ["--train", "a.csv", "--task", "classify", "--dry-run"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--group=group", "--validation=b.csv"], "finetune.group = 'group' does nothing: a file"),
        (["--set=finetune.validation_fraction=0.3", "--validation=b.csv"], "fraction = 0.3 does"),
        (["--data=."], "it is the folder of a GLUE task"),
        (["--set=finetune.subset=x"], "it is of a dataset id, and files are named"),
        (["--set=finetune.doc_stride=9"], "it acts on qa, and the task is classify"),
        (["--set=finetune.label_separator=;"], "it acts on multilabel, and the task is classify"),
        (["--processes=0"], "--processes 0 is no number of processes"),
    ],
)
def test_an_option_that_does_nothing_in_a_fine_tune_is_refused(
    electra, finished, labelled, arguments, problem
):
    assert problem in electra.refusal("finetune", finished.root, *labelled, *arguments)[0]


QUESTION = (
    '{"id": 1, "context": "the list of a file", "question": "which", "title": "a", '
    '"answers": {"text": ["file"], "answer_start": [14]}}\n'
)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--text=question"], "finetune.text = 'question' does nothing: questions are read by"),
        (["--text-pair=context"], "finetune.text_pair = 'context' does nothing: questions"),
        (["--label=answers"], "finetune.label = 'answers' does nothing: questions are read by"),
        (["--id=title"], "finetune.id = 'title' does nothing: questions are read by SQuAD's"),
        (["--group=title"], "finetune.group = 'title' does nothing: "),
    ],
)
def test_questions_have_the_columns_of_squad_alone(electra, finished, tmp_path, arguments, problem):
    (tmp_path / "a.jsonl").write_text(QUESTION)
    files = ["--train=a.jsonl", "--validation=a.jsonl", "--task=qa"]
    assert problem in electra.refusal("finetune", finished.root, *files, *arguments)[0]


def test_tags_have_no_second_text_and_glue_has_its_own_validation_file(electra, finished, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"tokens": ["a", "b"], "tags": ["O", "X"], "more": "c"}\n')
    files = ["--train=a.jsonl", "--validation=a.jsonl", "--text-pair=more"]
    problem, hint = electra.refusal("finetune", finished.root, *files)
    assert "finetune.text_pair = 'more' does nothing: a sentence to tag is alone" in problem
    assert hint == "leave text_pair out"
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text("a\t1\t\tYes.\nb\t0\t\tNo.\n")
    glue = ["--task=glue/CoLA", "--data=.", "--set=finetune.validation_fraction=0.2"]
    problem, _ = electra.refusal("finetune", finished.root, *glue)
    assert "does nothing: glue/CoLA has its own validation file" in problem


def test_a_dry_fine_tune_says_what_its_other_options_mean(electra, finished, labelled):
    more = ["--run-name=f", "--max-minutes=999", "--processes=2"]
    said = electra.run("finetune", finished.root, *labelled, *more)
    assert re.search(r"processes +2 share them; times are those of one", said)
    assert "--max-minutes 999 allows all of it" in said
    assert said.endswith("leave --dry-run out to fine-tune finetune/f\n")


def test_a_fine_tune_is_no_run_to_repeat_to_draw_or_to_watch(electra, tmp_path):
    (tmp_path / "config.yaml").write_text("finetune: {}")
    for option in ("--verify", "--verify-data", "--step=3"):
        assert electra.refusal("resume", tmp_path, option)[0].startswith(
            f"{tmp_path} is a fine-tune"
        )
    for command in ("plot", "status"):
        problem, hint = electra.refusal(command, tmp_path)
        assert problem.endswith(f"its scores are in {tmp_path}/report.html")
        assert hint.endswith(f"electra plot {tmp_path}/runs/*/*")


@pytest.mark.parametrize("option", ["--id=good", "--text-pair=bad"])
def test_what_does_nothing_for_pairs_of_texts_is_refused(electra, tmp_path, finished, option):
    (tmp_path / "pairs.csv").write_text("good,bad\nthe list,list the\n")
    assert "does nothing" in electra.refusal("predict", finished.root, "pairs.csv", option)[0]
