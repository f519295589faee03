"""Processes that do not find each other learn why, in time; here they are threads."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from electra_cli.errors import RunError
from electra_cli.training import meeting
from electra_cli.training.meeting import meet_others
from electra_cli.training.place import Place


@pytest.fixture(autouse=True)
def port(monkeypatch) -> int:
    """A free one, where processes of this test meet; they wait for a second."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        number = int(found.getsockname()[1])
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", str(number))
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    monkeypatch.setattr(meeting, "LIMIT_SECONDS", 1.0)
    return number


def problems(*places: Place) -> list[str]:
    """What each process is told, of those that cannot go on."""

    def meet(place: Place) -> str:
        with pytest.raises(RunError) as raised:
            meet_others(place)
        assert "MASTER_PORT" in raised.value.hint
        return str(raised.value)

    with ThreadPoolExecutor(len(places)) as threads:
        return list(threads.map(meet, places))


@contextmanager
def listening(port: int) -> Iterator[None]:
    """Another program has the port, and says nothing."""
    with socket.create_server(("localhost", port)):
        yield


def test_a_process_that_is_missing_is_named(port):
    (problem,) = problems(Place(0, 3))
    assert problem == f"process 1, 2 of 3 did not come to localhost:{port}"


def test_process_0_is_missing(port):
    (problem,) = problems(Place(1, 2))
    assert f"does not reach the others at localhost:{port}" in problem


def test_processes_of_two_runs_do_not_mix(port):
    first, other = problems(Place(0, 3), Place(1, 2))
    assert first == f"process 1, 2 of 3 did not come to localhost:{port}"
    assert other == f"this is one of 2 processes, and those at localhost:{port} are 3"


def test_a_rank_is_given_once(port):
    found = problems(Place(0, 3), Place(1, 3), Place(1, 3))
    assert found[0] == f"process 2 of 3 did not come to localhost:{port}"
    assert f"another process with RANK 1 is at localhost:{port}" in found


def test_a_port_of_another_program(port):
    with listening(port):
        (problem,) = problems(Place(0, 2))
    assert f"does not reach the others at localhost:{port}" in problem
    assert "address already in use" in problem


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("name", "value"),
    [("MASTER_ADDR", "nowhere.invalid"), ("MASTER_PORT", "x"), ("MASTER_PORT", "70000")],
)
def test_a_place_that_cannot_be(monkeypatch, rank, name, value):
    monkeypatch.setenv(name, value)
    (problem,) = problems(Place(rank, 2))
    assert "does not reach the others at" in problem
    assert value in problem
