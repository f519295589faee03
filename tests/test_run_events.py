from pathlib import Path

from electra_cli.run_events import append_event, read_events, truncate_events


def test_events_are_read_as_they_were_appended(tmp_path):
    path = tmp_path / "events.jsonl"
    append_event(path, 3, "warning", "no context gain yet", key="plateau")
    append_event(path, 5, "resumed", "line\nbreak")
    first, second = read_events(path)
    assert (first.step, first.kind, first.text, first.key) == (
        3,
        "warning",
        "no context gain yet",
        "plateau",
    )
    assert (second.step, second.kind, second.text, second.key) == (5, "resumed", "line\nbreak", "")
    assert first.time.endswith("+00:00")


def test_no_file_is_no_events(tmp_path):
    assert read_events(tmp_path / "events.jsonl") == []
    assert truncate_events(tmp_path / "events.jsonl", 3) == []


def test_a_line_that_is_no_event_is_passed_over(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    append_event(path, 1, "stopped", "kept")
    with path.open("a") as file:
        file.write(
            '[1]\n{"step": "x", "kind": "stopped", "text": ""}\n{"unknown": 1}\n{"step": 9, '
        )
    assert [event.text for event in read_events(path)] == ["kept"]


def test_events_after_a_step_are_forgotten(tmp_path):
    path = tmp_path / "events.jsonl"
    for step in (1, 5, 9):
        append_event(path, step, "warning", f"at {step}")
    assert [event.step for event in truncate_events(path, 5)] == [1, 5]
    assert [event.step for event in read_events(path)] == [1, 5]
