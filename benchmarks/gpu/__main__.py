"""Right, fast, learning: what one GPU says, in minutes. python -m benchmarks.gpu [--device cuda]

Each part is a process of its own, which is ended at its time, so that none takes the others with
it. Results are printed as they come, and kept in the folder --out: results.jsonl, results.md.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.gpu import fast, learning, right, several
from benchmarks.gpu.machine import Machine, Results, table_of
from electra_cli.training.device import ask_cublas_for_fixed_order

# The most seconds that a part may take, of the 8 minutes of the whole.
LIMITS = {"right": 110.0, "several": 45.0, "small": 130.0, "base": 100.0, "large": 60.0}
_LEARNING_SECONDS = 75.0  # kept free for the last part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny models: shows that it runs")
    parser.add_argument("--minutes", type=float, default=7.5)
    parser.add_argument("--data", type=Path, help="a folder made by electra prepare")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--part", choices=LIMITS, help="this part alone, in this process")
    options = parser.parse_args()
    machine = Machine(torch.device(options.device), options.tiny)
    options.out.mkdir(parents=True, exist_ok=True)
    results = Results(options.out / "results.jsonl")
    if options.part:
        with machine.branches():
            run_part(options.part, machine, results)
        return
    until = time.time() + 60 * options.minutes
    results.path.unlink(missing_ok=True)
    facts = {"part": "machine", "name": "versions", "state": "ok", "seconds": 0.0}
    results.append({**facts, "figures": machine.facts()})
    for part, limit in LIMITS.items():
        if options.tiny and part in ("base", "large"):  # the same lines as of small
            continue
        left = until - time.time()
        seconds = left if options.tiny else min(limit, left - _LEARNING_SECONDS)
        run_in_process(part, options, results, seconds)
        write_table(results)
    learning.learn(machine, results, options.data, until)
    write_table(results)
    print(f"all of it: {options.out / 'results.md'}, {results.path}")
    failed = [each["name"] for each in results.all() if each["state"] != "ok"]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run_part(part: str, machine: Machine, results: Results) -> None:
    """One part, in this process."""
    checks = {"right": right.CHECKS, "several": several.CHECKS}
    if part not in checks:
        fast.measure(part, machine, results)
        return
    if part == "right":  # one check needs it, after others have run
        ask_cublas_for_fixed_order()
    for name, check in checks[part].items():
        results.take(part, name, lambda check=check: check(machine))  # type: ignore[misc]


def run_in_process(
    part: str, options: argparse.Namespace, results: Results, seconds: float
) -> None:
    """Run a part in a process of its own, and end it after so many seconds."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", part, "--device", options.device]
    command += ["--out", str(options.out), *["--tiny"] * options.tiny]
    result = {"part": part, "name": "the whole part", "state": "failed", "seconds": seconds}
    try:
        done = subprocess.run(command, check=False, timeout=max(1.0, seconds))
    except subprocess.TimeoutExpired:
        results.append({**result, "figures": {"error": "its time was up; the rest is left out"}})
        return
    if done.returncode != 0:
        error = f"the process ended with {done.returncode}"
        results.append({**result, "figures": {"error": error}})


def write_table(results: Results) -> None:
    """Everything so far as one page."""
    (results.path.parent / "results.md").write_text(table_of(results.all()))


if __name__ == "__main__":
    main()
