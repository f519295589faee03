"""`electra train --init-from`: it begins exactly where its source stood, or says why not."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from command_line import TINY, run_electra, write_corpus
from golden_steps import GOLDEN, GoldenSteps
from safetensors.torch import load_file
from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

from electra_cli.presets import load_config
from electra_cli.run_directory import RunDirectory

RUN_OPTIONS = [option for option in TINY if "=model." not in option]


def held_out(root: Path, row: int) -> dict[str, float | None]:
    log = RunDirectory(root).read_log()
    return {name: column[row] for name, column in log.items() if name.startswith("validation_")}


def weights_at(root: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(root / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.fixture(scope="module")
def folders(finished, tmp_path_factory) -> Path:
    """The finished run exported from its last checkpoint."""
    out = tmp_path_factory.mktemp("exported") / "x"
    done = run_electra(out.parent, "export", finished.root, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "export", "discriminator"])
def test_a_run_begins_exactly_where_its_source_stood(
    finished, folders, prepared, electra, tmp_path, kind
):
    source = {"run": finished.root, "export": folders, "discriminator": folders / "discriminator"}
    done = electra("train", "--init-from", source[kind], "--data", prepared, "--run-name", "on",
                   *RUN_OPTIONS)  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "on"
    assert_same(weights_at(run, 0), weights_at(finished.root, 12))
    assert held_out(run, 0) == held_out(finished.root, -1)
    assert RunDirectory(run).read_log()["step"][0] == 0
    ours, theirs = (load_config(RunDirectory(root).config).model for root in (run, finished.root))
    loose = {"init_from": None, "generator_from": None}
    assert ours.model_copy(update=loose) == theirs
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    started = [event["text"] for event in events if event["kind"] == "started"]
    assert len(started) == 2
    assert all("new nothing; left over nothing" in text for text in started)
    assert "discriminator: discriminator_predictions" in done.stderr
    # Step 0 stays, since what it started from may be gone some day.
    assert RunDirectory(run).checkpoint_steps() == [0, 5, 10, 12]
    shutil.rmtree(run / "checkpoints" / "step-00000012")
    whole = weights_at(run, 10)
    done = electra("resume", run, "--step", 0)
    assert done.returncode == 0, done.stderr
    assert "there were" not in done.stderr  # the log has the rows that it had
    assert_same(weights_at(run, 10), whole)
    if kind == "run":  # without that checkpoint its source is opened again
        shutil.rmtree(run / "checkpoints")
        done = electra("resume", run)
        assert "start again in the same folder with --step 0" in done.stderr
        done = electra("resume", run, "--step", 0)
        assert done.returncode == 0, done.stderr
        assert_same(weights_at(run, 0), weights_at(finished.root, 12))
        assert_same(weights_at(run, 10), whole)
        assert RunDirectory(run).read_log()["step"].count(0) == 1


@pytest.mark.slow
def test_an_earlier_step_and_a_checkpoint_folder_can_be_named(finished, prepared, tmp_path):
    checkpoint = finished.root / "checkpoints" / "step-00000005"
    for name, source in (("a", [finished.root, "--step", 5]), ("b", [checkpoint])):
        done = run_electra(
            tmp_path, "train", "--init-from", *source, "--data", prepared, "--run-name", name,
            *RUN_OPTIONS, "--set=run.num_steps=2",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert_same(weights_at(tmp_path / "runs" / name, 0), weights_at(finished.root, 5))


@pytest.mark.slow
def test_a_lost_generator_starts_afresh(folders, prepared, electra, tmp_path):
    alone = shutil.copytree(folders / "discriminator", tmp_path / "alone")
    done = electra("train", "--init-from", alone, "--data", prepared, "--run-name", "on",
                   *RUN_OPTIONS, "--set", "model.generator_width=1",
                   "--set", "objective.discriminator_start_step=3")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "generator from random weights" in done.stderr
    config = load_config(tmp_path / "runs" / "on" / "config.yaml")
    assert (config.model.generator_hidden_size, config.model.tie_embeddings) == (32, True)
    log = RunDirectory(tmp_path / "runs" / "on").read_log()
    assert log["step"][1] == 2
    assert log["rtd_loss"][1] is None  # the generator was alone
    assert log["mlm_loss"][1] > 0
    assert log["rtd_loss"][-1] > 0


@pytest.mark.slow
def test_a_masked_language_model_goes_on_with_both_heads(prepared, electra, tmp_path):
    """The recipe of docs/study.md: named twice it is one encoder that keeps its head for words."""
    alone = [each for each in TINY if "generator_width" not in each and "tie_" not in each]
    done = electra("train", "--data", prepared, "--run-name", "words", *alone,
                   "--set=objective.name=mlm")  # fmt: skip
    assert done.returncode == 0, done.stderr
    source = tmp_path / "runs" / "words"
    done = electra("train", "--init-from", source, "--generator", source, "--data", prepared,
                   "--run-name", "both", *RUN_OPTIONS)  # fmt: skip
    assert done.returncode == 0, done.stderr
    both = tmp_path / "runs" / "both"
    model = load_config(both / "config.yaml").model
    assert (model.tie_encoders, model.generator_width, model.generator_depth) == (True, 1, 1)
    name = "validation_mlm_masked_loss"  # of the same masks
    assert held_out(both, 0)[name] == pytest.approx(held_out(source, -1)[name], rel=1e-6)
    assert held_out(both, -1)["validation_rtd_loss"] < held_out(both, 0)["validation_rtd_loss"]


@pytest.mark.slow
def test_a_frozen_generator_is_the_one_that_it_was(finished, folders, prepared, electra, tmp_path):
    start = ["train", "--init-from", finished.root, "--data", prepared, *RUN_OPTIONS]
    frozen = ["--set", "objective.freeze_generator=true"]
    schedule = ["--set", "objective.temperature={start: 2, end: 1, over: 0.5}"]
    done = electra(*start, *frozen, *schedule, "--run-name", "frozen")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "frozen"
    before, after = weights_at(run, 0), weights_at(run, 12)
    assert before.keys() == after.keys()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"discriminator"}
    assert held_out(run, 0)["validation_mlm_loss"] == held_out(run, -1)["validation_mlm_loss"]
    # The same numbers as its source, although the embeddings are no longer shared.
    assert held_out(run, 0)["validation_rtd_loss"] != held_out(run, -1)["validation_rtd_loss"]
    source_loss = held_out(finished.root, -1)["validation_mlm_loss"]
    assert held_out(run, 0)["validation_mlm_loss"] == source_loss

    alone = shutil.copytree(folders / "discriminator", tmp_path / "alone")
    for source, hint in (
        (["--init-from", alone], "has none"),
        (["--preset", "small"], "needs a trained generator: --init-from or --generator"),
    ):
        done = electra("train", *source, *frozen, "--data", prepared, "--run-name", "no")
        assert done.returncode == 1
        assert hint in done.stderr
        assert len(done.stderr.splitlines()) == 2


def small_pair(folder: Path, vocab_size: int, **generator: int) -> None:
    sizes = {"vocab_size": vocab_size, "num_hidden_layers": 2, "max_position_embeddings": 32}
    main = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    ElectraForPreTraining(ElectraConfig(**sizes, **main, embedding_size=24)).save_pretrained(
        folder / "discriminator"
    )
    ElectraForMaskedLM(ElectraConfig(**{**sizes, **main, **generator})).save_pretrained(
        folder / "generator"
    )


def test_what_cannot_be_started_from_is_said_in_one_line(
    finished, folders, prepared, electra, tmp_path
):
    def refused(*arguments: object, data: Path = prepared) -> str:
        done = electra("train", "--data", data, "--run-name", "no", *arguments, *RUN_OPTIONS)
        assert done.returncode == 1, done.stderr
        assert not (tmp_path / "runs").exists()
        problem, hint = done.stderr.strip().splitlines()
        assert problem.startswith("error: ")
        assert hint.startswith("  hint: ")
        return done.stderr

    run, pair = finished.root, folders / "discriminator"
    assert "needs the network" in refused("--init-from", "google/electra-small-discriminator")
    assert "step-00000007 does not exist" in refused("--init-from", run, "--step", 7)
    # A checkpoint's name from a folder that has none.
    assert "step-00000012" in refused("--init-from", "step-00000012")
    assert "did you mean --steps?" in refused("--step", 7)
    assert "did you mean --steps?" in refused("--init-from", pair, "--step", 7)
    assert "model.hidden_size = 64, but" in refused(
        "--init-from", run, "--set", "model.hidden_size=64"
    )
    assert "model.generator_width = 1.0, but" in refused(
        "--init-from", pair, "--set", "model.generator_width=1"
    )
    heads_only = shutil.copytree(pair, tmp_path / "a" / "judge")
    assert "predicts no words" in refused("--init-from", run, "--generator", heads_only)

    # Generators that do not fit: wider, deeper, of other proportions.
    tokenizer = [file for file in pair.iterdir() if file.name.startswith("tokenizer")]
    for name, sizes, problem in (
        ("wide", {"hidden_size": 48, "num_attention_heads": 3}, "2 layers of 48, more than"),
        ("deep", {"num_hidden_layers": 3}, "3 layers of 32, more than the main network's 2 of 32"),
        ("fat", {"intermediate_size": 128}, "has intermediate_size 128; beside this main network"),
    ):
        small_pair(tmp_path / name, 150, **sizes)
        for file in tokenizer:
            for kind in ("discriminator", "generator"):
                shutil.copy(file, tmp_path / name / kind)
        assert problem in refused("--init-from", tmp_path / name), name

    # Damaged weights; an embedding for another vocabulary; no tokenizer.
    damaged = shutil.copytree(heads_only, tmp_path / "damaged")
    file = damaged / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    assert "is no network that transformers opens" in refused("--init-from", damaged)
    shutil.copy(tmp_path / "wide" / "discriminator" / "model.safetensors", file)
    (damaged / "tokenizer.json").unlink()
    (damaged / "tokenizer_config.json").unlink()
    shutil.copy(tmp_path / "wide" / "discriminator" / "config.json", damaged)
    assert "has no tokenizer" in refused("--init-from", damaged)


def test_a_vocabulary_of_one_other_token_is_refused_and_prepare_makes_it_agree(
    finished, prepared, electra, tmp_path
):
    corpus = write_corpus(tmp_path / "corpus.txt", 60)
    options = ["--validation-fraction", 0.1]
    tokenizer = shutil.copytree(prepared / "tokenizer", tmp_path / "other")
    file = tokenizer / "tokenizer.json"
    content = json.loads(file.read_text())
    vocab = content["model"]["vocab"]
    vocab["zzz"] = vocab.pop("default")
    file.write_text(json.dumps(content))
    assert electra("prepare", corpus, "--out", "other-data", "--tokenizer", tokenizer, *options
                   ).returncode == 0  # fmt: skip
    start = ["train", "--init-from", finished.root, "--run-name", "on", "--data"]
    done = electra(*start, "other-data", *RUN_OPTIONS)
    assert done.returncode == 1
    problem, hint = done.stderr.strip().splitlines()
    assert "has tokenizer" in problem
    assert "was prepared with" in problem
    assert f"electra prepare SOURCE --tokenizer {prepared / 'tokenizer'} --out NEW_DIR" in hint
    assert not (tmp_path / "runs").exists()

    done = electra("prepare", corpus, "--out", "agrees", "--tokenizer", finished.root, *options)
    assert done.returncode == 0, done.stderr
    done = electra(*start, "agrees", *RUN_OPTIONS, "--dry-run")
    assert done.returncode == 0, done.stderr


def test_a_search_from_trained_weights_is_refused(finished, prepared, electra, tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text(f"model: {{init_from: {finished.root}}}\n")
    done = electra("tune", "--preset", preset, "--data", prepared)
    assert done.returncode == 1
    assert "starts from trained weights" in done.stderr
    assert not (tmp_path / "tune").exists()


@pytest.mark.slow
def test_older_text_is_replayed_and_a_resume_goes_on_exactly(prepared, electra, tmp_path):
    corpus = write_corpus(tmp_path / "older.txt", 40, seed=5)
    options = ["--tokenizer", prepared, "--validation-fraction", 0.1]
    assert electra("prepare", corpus, "--out", "older", *options).returncode == 0
    train = ["train", "--data", prepared, *TINY]
    assert electra(*train, "--run-name", "whole", "--replay", "older:0.3").returncode == 0
    assert electra(*train, "--run-name", "plain").returncode == 0
    run, plain = tmp_path / "runs" / "whole", tmp_path / "runs" / "plain"
    whole = weights_at(run, 12)
    assert any(not torch.equal(whole[name], each) for name, each in weights_at(plain, 12).items())
    (tmp_path / "older").rename(tmp_path / "moved")
    done = electra("resume", run, "--step", 5, "--set", f"data.replay={tmp_path}/moved:0.2")
    assert done.returncode == 1
    problem, hint = done.stderr.strip().splitlines()
    assert "trained with 0.3; the folder may change, the share may not" in problem
    assert "end it in :0.3" in hint
    done = electra("resume", run, "--step", 5, "--set", f"data.replay={tmp_path}/moved:0.3")
    assert done.returncode == 0, done.stderr
    assert_same(weights_at(run, 12), whole)
    epochs = [RunDirectory(each).read_log()["epoch"][-1] for each in (run, plain)]
    assert epochs[0] == pytest.approx(0.7 * epochs[1], rel=0.03)  # of the new text

    for value, problem in (
        ("older:1", "data.replay = "),
        ("older", "data.replay = "),
        ("older:0.0", "data.replay = "),
        ("nowhere:0.1", "there is no folder"),
    ):
        done = electra(*train, "--run-name", "no", "--replay", value)
        assert done.returncode == 1
        assert problem in done.stderr
        assert len(done.stderr.splitlines()) == 2
    assert electra("prepare", corpus, "--out", "other", "--vocab-size", 90).returncode == 0
    done = electra(*train, "--run-name", "no", "--replay", "other:0.1")
    assert done.returncode == 1
    assert "other was prepared with tokenizer" in done.stderr
    assert "prepare the older text again: electra prepare SOURCE --tokenizer" in done.stderr
    assert not (tmp_path / "runs" / "no").exists()
    shutil.rmtree(tmp_path / "moved")
    shutil.copytree(prepared, tmp_path / "moved")
    done = electra("resume", run, "--step", 5)
    assert done.returncode == 1
    assert "has content" in done.stderr


@pytest.mark.slow
def test_a_checkpoint_of_the_authors_code_starts_a_run(electra, tmp_path):
    """Their folder has a vocab.txt; heads have 64 values each unless --set says otherwise."""
    theirs = shutil.copytree(GOLDEN / "authors_checkpoint", tmp_path / "theirs")
    corpus = write_corpus(tmp_path / "corpus.txt", 60)
    prepare = [
        "prepare",
        corpus,
        "--out",
        "data",
        "--tokenizer",
        theirs,
        "--validation-fraction",
        0.1,
    ]
    train = ["train", "--init-from", theirs, "--data", "data", "--run-name", "on", "--set",
             "run.num_eval_windows=8", "--set", "run.batch_size=4", "--steps", 1, "--set",
             "objective.uniform_generator=true"]  # fmt: skip
    assert electra(*prepare).returncode == 1  # no vocabulary yet
    words = sorted({word for line in corpus.read_text().split() for word in [line.strip(".")]})
    letters = sorted({letter for word in words for letter in word})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *words]
    pieces += [piece for piece in letters if piece not in pieces]
    pieces += [f"[unused{number}]" for number in range(1000 - len(pieces))]
    (theirs / "vocab.txt").write_text("\n".join(pieces) + "\n")
    done = electra(*prepare)
    assert done.returncode == 0, done.stderr
    done = electra(*train, "--set", "model.num_attention_heads=4")
    assert done.returncode == 0, done.stderr
    expected = GoldenSteps("authors_steps.npz").parameters("params/init")
    started = weights_at(tmp_path / "runs" / "on", 0)
    assert_same(
        started, {n: each for n, each in expected.items() if n.startswith("discriminator.")}
    )
    assert load_config(tmp_path / "runs/on/config.yaml").model.num_attention_heads == 4

    # Heads of 64 values fit its generator, whose one head has 32, no better: said in one line.
    shutil.rmtree(tmp_path / "runs")
    done = electra(*[option for option in train if "uniform" not in str(option)][:-1])
    assert done.returncode == 1
    assert "has hidden_size 32; beside this main network it would need 64" in done.stderr
    data = theirs / "model.ckpt-0.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-8])
    done = electra(*train)
    assert done.returncode == 1
    assert "is no whole TensorFlow checkpoint: it has 923,300 bytes" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert not (tmp_path / "runs").exists()
