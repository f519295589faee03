"""`--processes N`: the same command in N processes of this machine, through torch's elastic agent.

The agent starts them, passes signals on, and ends all when one has failed. Here is said what that
means for the user: one line, and the exit code of a run in one process.
"""

import json
import logging
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from electra_cli import console
from electra_cli.commands.processes_option import count_processes, own_arguments
from electra_cli.machine import usable_cores
from electra_cli.stopping import EXIT_STOPPED, LAUNCHER_PID, StopRequest, exit_at_once

_SAVE_SECONDS = 600  # that processes may take to save before they are killed
_HINT = "what is saved goes on with: electra resume RUN_DIR"


def launch(wanted: str, stop: StopRequest) -> NoReturn:
    """Run this command in as many processes as are `wanted`; exits as one of them would."""
    num_processes = count_processes(wanted)
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    def end(number: int, frame: FrameType | None) -> None:
        raise SignalException("", signal.Signals(number))

    heard = ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"]
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        heard.remove("SIGHUP")
    for name in heard:
        signal.signal(getattr(signal, name), end)
    stop.raise_if_requested()  # until here it was only noted
    for name in ("torch.distributed.elastic", "torch.distributed.launcher"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.disable(logging.WARNING)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // num_processes)))
    os.environ[LAUNCHER_PID] = str(os.getpid())
    said = Path(tempfile.mkdtemp(prefix="electra-"))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id="electra",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.1,
        logs_specs=DefaultLogsSpecs(log_dir=str(said)),
        signals_to_handle=",".join(heard),
        shutdown_timeout=int(os.environ.get("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", _SAVE_SECONDS)),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "electra_cli", *own_arguments())
        code = 0
    except SignalException:
        code = EXIT_STOPPED
        for problem, hint in _read_problems(said):
            console.error(problem or "a process of this run is gone", hint)
            code = 1
    except ChildFailedError as error:
        code = _explain(error.failures, _read_problems(said))
    finally:
        shutil.rmtree(said, ignore_errors=True)
    exit_at_once(code)


def _read_problems(folder: Path) -> list[tuple[str, str]]:
    """What processes that lost another one left behind: (problem, hint), the first one's only."""
    found = []
    for path in sorted(folder.rglob("error.json")):
        content = json.loads(path.read_text())
        found.append((content["message"], content["hint"]))
    named = [each for each in found if each[0]]
    return (named or found)[:1]


def _explain(failures: Mapping[int, Any], problems: Sequence[tuple[str, str]]) -> int:
    """The exit code, after a line about what no process could say itself."""
    codes = {rank: failure.exitcode for rank, failure in sorted(failures.items())}
    ended_by_agent = (EXIT_STOPPED, -signal.SIGTERM)
    others = {rank: code for rank, code in codes.items() if code not in ended_by_agent}
    if not others:
        return EXIT_STOPPED
    problem, hint = problems[0] if problems else ("", _HINT)
    killed = [
        f"process {rank} on {platform.node()} ended with {failures[rank].signal_name()}"
        for rank, code in others.items()
        if code < 0
    ]
    if problem or killed:  # else it was said by the process that ended
        console.error(problem or "; ".join(killed), hint)
    return 1
