import json
import re
import subprocess
from dataclasses import replace

import pytest
import torch
from conftest import CPU, tiny_config
from tiny_session import open_tiny, train_and_save

from electra_cli.errors import ConfigError, DataError, RunError
from electra_cli.presets import load_config
from electra_cli.run_directory import RunDirectory
from electra_cli.run_events import append_event, read_events
from electra_cli.runs import environment
from electra_cli.runs.environment import environment_changes, write_environment
from electra_cli.runs.export import export_models, trained_model
from electra_cli.runs.rollback import choose_checkpoint, go_back, refuse_changes
from electra_cli.runs.session import build_model, create_run
from electra_cli.training.checkpoint import Checkpoint


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(99)
    first = build_model(tiny_config(), 200, 0)
    second = build_model(tiny_config(optim={"learning_rate": 0.5}), 200, 0)
    other = build_model(tiny_config(run={"seed": 1}), 200, 0)
    word = "discriminator.electra.embeddings.word_embeddings.weight"
    weights = [dict(model.named_parameters())[word] for model in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_environment_is_plain_facts(tmp_path):
    write_environment(tmp_path / "environment.json", CPU)
    text = (tmp_path / "environment.json").read_text()
    facts = json.loads(text)
    assert facts["device"] == "cpu"
    assert facts["precision"] == "fp32"
    assert facts["threads"] == torch.get_num_threads()
    commit = facts["git_commit"]  # none outside a checkout
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}\+?", commit)
    assert text == json.dumps(facts, indent=1) + "\n"


def test_a_folder_with_something_in_it_is_never_a_new_run(tmp_path):
    (tmp_path / "taken").mkdir()
    create_run(tmp_path / "taken", tiny_config(), CPU)  # an empty one may be
    with pytest.raises(RunError, match="is there already"):
        create_run(tmp_path / "taken", tiny_config(), CPU)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is there already"):
        create_run(tmp_path / "file", tiny_config(), CPU)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]


def test_going_back_cuts_off_what_is_later(tmp_path, prepared, capsys):
    session = open_tiny(tmp_path, prepared)
    assert choose_checkpoint(session.run, session.checkpoints, None) == (0, None)
    train_and_save(session, 2, 4)
    assert choose_checkpoint(session.run, session.checkpoints, None)[0] == 4
    step, start = choose_checkpoint(session.run, session.checkpoints, 2)
    assert start is not None
    assert start.state.trainer.step == step == 2
    go_back(session, 2, start, is_chosen=True)
    assert session.run.read_log()["step"] == [1, 2]
    assert session.checkpoints.steps() == [2]
    assert "set aside" in capsys.readouterr().err
    session.run.truncate_log(1)
    go_back(session, 2, start, is_chosen=True)
    assert "has 1 rows up to step 2, there were 2" in capsys.readouterr().err
    session.close()


def test_going_back_keeps_earlier_events_and_new_settings(tmp_path, prepared):
    session = open_tiny(tmp_path, prepared)
    run = session.run
    train_and_save(session, 2, 4)
    append_event(run.events, 2, "warning", "early")
    append_event(run.events, 4, "warning", "late")
    settings = session.config.run.model_copy(update={"save_every": 3})
    config = session.config.model_copy(update={"run": settings})
    start = session.checkpoints.load(2)
    go_back(replace(session, config=config), 2, start, is_chosen=True)
    events = [event.text for event in read_events(run.events)]
    assert events == ["early", "from step 2, run.save_every 2 -> 3"]
    assert load_config(run.config) == config
    session.close()


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, prepared, capsys):
    session = open_tiny(tmp_path, prepared)
    train_and_save(session, 1, 2)
    (session.checkpoints.path_of(2) / "state.json").write_text("{}")
    assert choose_checkpoint(session.run, session.checkpoints, None)[0] == 1
    shown = capsys.readouterr().err
    assert "step-00000002 is damaged" in shown
    for step in (1, 2):
        (session.checkpoints.path_of(step)).rename(tmp_path / f"taken-{step}")
    with pytest.raises(RunError, match="has no checkpoint"):
        choose_checkpoint(session.run, session.checkpoints, None)
    session.close()


@pytest.mark.parametrize("what", ["tokenizer", "data"])
def test_other_data_than_the_checkpoints_is_refused(tmp_path, prepared, what):
    session = open_tiny(tmp_path, prepared)
    train_and_save(session, 1)
    start = session.checkpoints.load(1)
    refuse_changes(session.run, start, session.config, session.data)
    state = start.state.model_copy(update={f"{what}_sha256": "0" * 64})
    with pytest.raises(DataError, match="000000000000"):
        other = Checkpoint(start.tensors, state)
        refuse_changes(session.run, other, session.config, session.data)
    optim = session.config.optim.model_copy(update={"adam_beta1": 0.5})
    changed = session.config.model_copy(update={"optim": optim})
    for saved in (start, None):
        with pytest.raises(ConfigError, match="adam_beta1"):
            refuse_changes(session.run, saved, changed, session.data)
    session.close()


def test_the_main_network_is_the_folder_that_users_are_told_of(tmp_path, prepared):
    session = open_tiny(tmp_path, prepared)
    train_and_save(session, 1)
    assert export_models(trained_model(session), session.run) == session.run.model("discriminator")
    card = (RunDirectory(session.run.root).model("generator") / "README.md").read_text()
    assert "for 1 steps of 8" in card
    assert "fill-mask" in card
    session.close()


def test_a_run_that_cannot_be_made_says_why(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be made: Not a directory"):
        create_run(tmp_path / "file" / "run", tiny_config(), CPU)


def test_the_commit_is_the_programs_own_not_that_of_a_repository_around_it(tmp_path, monkeypatch):
    """In a .venv below the user's repository, git describes that repository."""
    installed = tmp_path / ".venv" / "environment.py"
    installed.parent.mkdir()
    installed.touch()
    (tmp_path / "mine.txt").touch()
    identity = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    for command in (["init", "-q"], ["add", "mine.txt"], [*identity, "commit", "-qm", "mine"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    monkeypatch.setattr(environment, "__file__", str(installed))
    write_environment(tmp_path / "environment.json", CPU)
    assert json.loads((tmp_path / "environment.json").read_text())["git_commit"] is None
    subprocess.run(["git", "-C", str(tmp_path), "add", str(installed)], check=True)
    write_environment(tmp_path / "environment.json", CPU)
    commit = json.loads((tmp_path / "environment.json").read_text())["git_commit"]
    assert re.fullmatch(r"[0-9a-f]{40}\+", commit)


def test_a_resume_on_another_machine_is_kept_with_its_event(tmp_path, prepared):
    session = open_tiny(tmp_path, prepared)
    train_and_save(session, 2)
    run = session.run
    assert environment_changes(run.environment, CPU) == {}
    facts = json.loads(run.environment.read_text())
    run.environment.write_text(json.dumps({**facts, "torch": "2.0", "threads": 64}))
    start = session.checkpoints.load_newest().checkpoint
    go_back(session, 2, start, is_chosen=False)
    session.close()
    text = read_events(run.events)[-1].text
    assert text.endswith(f", torch 2.0 -> {torch.__version__}, threads 64 -> 1")
    for content in ("", "[]"):
        run.environment.write_text(content)
        assert environment_changes(run.environment, CPU)["threads"] == "None -> 1"
