"""Change the program in one place at a time, and see whether a test notices (mutation testing).

    python tests/mutate.py electra_cli/data                    every change in a folder
    python tests/mutate.py electra_cli --share 0.1 --jobs 2    a tenth of them, chosen by a hash
    python tests/mutate.py electra_cli/runs --also tests/commands/test_resume.py
    python tests/mutate.py electra_cli/data --retry            survivors again, with new tests
    python tests/mutate.py electra_cli/data --list             only show the changes

A change is: a comparison (`<` to `<=`, `==` to `!=`, `in` to `not in`), an arithmetic operator,
`and` to `or`, a condition turned round, a number one more or one less, True to False, a returned
value to None, or a statement removed (a call, a raise, an assert, an assignment to an attribute or
an element). Texts, annotations and decorators are left alone.

A change in electra_cli/data/masking.py is first tried on tests/data/test_masking.py, then on the
rest of tests/data, then on the files of --also; at the first failed test it counts as noticed. So
does one that breaks an import, ends the process or takes more than four times as long as usual.
Slow tests are left out (--mark selects others). What no test notices is printed at the end.

Results are appended to a file of JSON lines (--results), one per change. The next call leaves out
what stands there, unless the changed file is a different one by now. --retry repeats survivors.

How: this process imports torch and other large packages once and forks for each change, so a
change costs little more than its tests. The fork works in a copy of the tree with the change
written into it, so processes that a test starts have it, too. Linux only.
"""

import argparse
import ast
import contextlib
import copy
import ctypes
import hashlib
import importlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "electra_cli"
PRELOADED = (
    "torch", "torch.utils.checkpoint", "transformers", "transformers.models.electra", "datasets",
    "transformers.models.electra.modeling_electra", "safetensors.torch", "pyarrow.parquet",
    "pydantic", "rich.table", "typer", "yaml", "xxhash", "hypothesis", "hypothesis.strategies",
    "hypothesis.extra.numpy", "tokenizers", "pytest", "_pytest.assertion.rewrite",
)  # fmt: skip
MORE_MEMORY = 8 * 2**30  # bytes that a changed program may take beyond what is loaded
SPARE_SECONDS = 20.0  # on top of four times a stage's usual time
LARGEST_FILE = 2**30
PR_SET_CHILD_SUBREAPER = 36
NO_TESTS = 5  # pytest's exit code where nothing was selected

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
}  # fmt: skip


class Change(NamedTuple):
    """Bytes start:end of a file become `new`."""

    path: str  # in the repository
    line: int
    start: int
    end: int
    new: str
    old: str
    key: str  # the same wherever the function stands in the file
    digest: str  # of the whole file

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {_one_line(self.old)}  ->  {_one_line(self.new)}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:100]


class Collector(ast.NodeVisitor):
    """Finds the changes of one file."""

    def __init__(self, path: str, source: bytes) -> None:
        self.path = path
        self.source = source
        self.line_starts = [0]
        for line in source.splitlines(keepends=True):
            self.line_starts.append(self.line_starts[-1] + len(line))
        self.digest = hashlib.sha256(source).hexdigest()[:16]
        self.scope: list[str] = []
        self.seen: Counter[tuple[str, str, str]] = Counter()
        self.changes: list[Change] = []

    def add(self, node: ast.expr | ast.stmt, new: str) -> None:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self.line_starts[node.lineno - 1] + node.col_offset
        end = self.line_starts[node.end_lineno - 1] + node.end_col_offset
        old = self.source[start:end].decode()
        try:
            compile(self.source[:start] + new.encode() + self.source[end:], self.path, "exec")
        except SyntaxError:  # such as a number that is a pattern of a match statement
            return
        place = (".".join(self.scope), old, new)
        text = "\0".join((self.path, *place, str(self.seen[place])))
        self.seen[place] += 1
        key = hashlib.sha256(text.encode()).hexdigest()
        change = Change(self.path, node.lineno, start, end, new, old, key, self.digest)
        self.changes.append(change)

    def add_expression(self, node: ast.expr, new: ast.expr) -> None:
        self.add(node, f"({ast.unparse(ast.fix_missing_locations(new))})")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.scope.append(node.name)
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        for statement in node.body:
            self.visit(statement)
        self.scope.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scope.append(node.name)
        for statement in node.body:
            self.visit(statement)
        self.scope.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Attribute | ast.Subscript) and node.value is not None:
            self.add(node, "pass")
        if node.value is not None:
            self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Texts are left alone."""

    def visit_If(self, node: ast.If) -> None:
        if not re.match(r"(__name__\b|TYPE_CHECKING\b)", ast.unparse(node.test)):
            self.negate(node.test)
            self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self.negate(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.negate(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.negate(test)
        self.generic_visit(node)

    def negate(self, test: ast.expr) -> None:
        """A condition that no other change turns round."""
        is_other = isinstance(test, ast.Compare | ast.BoolOp | ast.Constant)
        if not is_other and not isinstance(test, ast.UnaryOp):
            self.add_expression(test, ast.UnaryOp(ast.Not(), test))

    def visit_Compare(self, node: ast.Compare) -> None:
        for number, operator in enumerate(node.ops):
            new = copy.deepcopy(node)
            new.ops[number] = COMPARISONS[type(operator)]()
            self.add_expression(node, new)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        is_text = any(
            isinstance(each, ast.JoinedStr)
            or (isinstance(each, ast.Constant) and isinstance(each.value, str))
            for each in (node.left, node.right)
        )
        operator = OPERATORS.get(type(node.op))
        if operator is not None and not is_text:
            self.add_expression(node, ast.BinOp(node.left, operator(), node.right))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        operator = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self.add_expression(node, ast.BoolOp(operator, node.values))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub):
            self.add_expression(node, node.operand)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.add(node, str(not value))
        elif isinstance(value, int | float):
            # One more or one less, by a hash, so that a change elsewhere does not alter it.
            text = ".".join(self.scope) + ast.unparse(node)
            more = value == 0 or hashlib.sha256(text.encode()).digest()[0] % 2 == 0
            new = repr(value + (1 if more else -1))
            self.add(node, f"({new})" if new.startswith("-") else new)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and ast.unparse(node.value) != "None":
            self.add(node, "return None")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        operator = OPERATORS.get(type(node.op))
        if operator is not None:
            self.add(node, ast.unparse(ast.AugAssign(node.target, operator(), node.value)))
        self.remove(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
            self.add(node, "pass")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):  # a docstring
            return
        self.remove(node)

    def remove(self, node: ast.stmt) -> None:
        self.add(node, "pass")
        self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_Raise = visit_Assert = visit_Delete = visit_Break = visit_Continue = remove


def changes_of(path: Path) -> list[Change]:
    source = path.read_bytes()
    collector = Collector(str(path.relative_to(ROOT)), source)
    collector.visit(ast.parse(source))
    return collector.changes


def is_chosen(change: Change, share: float) -> bool:
    return int(change.key[:12], 16) < share * 16**12


@dataclass(frozen=True)
class Stage:
    """Tests that one pytest runs: `paths` without those in `without`."""

    paths: tuple[str, ...]
    without: tuple[str, ...] = ()
    limit_key: tuple[str, ...] = ()  # the stage whose usual time limits this one's

    def arguments(self) -> list[str]:
        return [*self.paths, *(f"--ignore={path}" for path in self.without)]


def stages_of(path: str, also: tuple[str, ...]) -> list[Stage]:
    """The test of the file's name, the folders that mirror its own up to the room, and `also`."""
    inside = Path(path).relative_to(PACKAGE)
    own = Path("tests", inside.parent, f"test_{inside.name}")
    stages, without = [], []
    if (ROOT / own).exists():
        stages.append(Stage((str(own),), limit_key=(str(own),)))
        without.append(str(own))
    if len(inside.parts) > 1:
        room = str(Path("tests", inside.parts[0]))
        folder = Path("tests", inside.parent)
        while str(folder) != "tests":
            if (ROOT / folder).is_dir():
                stages.append(Stage((str(folder),), tuple(without), (room,)))
                without.append(str(folder))
            folder = folder.parent
    if also:
        stages.append(Stage(also, tuple(without), also))
    return stages


@dataclass
class Slot:
    """A copy of the tree, and the process that works in it."""

    root: Path
    change: Change | None = None
    stages: list[Stage] = field(default_factory=list)
    pid: int = 0
    began: float = 0.0
    spent: float = 0.0
    limit: float = 0.0

    @property
    def log(self) -> Path:
        return self.root.with_suffix(".log")

    @property
    def marker(self) -> bytes:
        return f"MUTATION_SLOT={self.root}".encode()


def make_copy(target: Path) -> None:
    """All files that git knows or would add; byte code is trusted by content, never by time."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith("shared/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    compiling = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", PACKAGE]
    subprocess.run([sys.executable, *compiling], cwd=target, check=True)


def tree_state(root: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def run_tests(slot: Slot, stage: Stage, mark: str, deselected: list[str]) -> None:
    """In the forked process: run pytest and end with its exit code."""
    os.setsid()
    with slot.log.open("wb") as log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * os.sysconf("SC_PAGE_SIZE") + MORE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ |= {
        "PYTHONPATH": str(slot.root), "MUTATION_SLOT": str(slot.root),
        "TMPDIR": str(slot.root.with_suffix(".tmp")),
    }  # fmt: skip
    tempfile.tempdir = None
    if slot.change is not None:
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
    os.chdir(slot.root)
    sys.path[:] = [str(slot.root), *(p for p in sys.path if Path(p) not in (ROOT, ROOT / "tests"))]

    import hypothesis
    import pytest

    # The same examples for every change, and no limit that a busy machine breaks.
    hypothesis.settings.register_profile("mutate", derandomize=True, database=None, deadline=None)
    hypothesis.settings.load_profile("mutate")
    options = ["-x", "-q", "-m", mark, "-p", "no:cacheprovider", "--tb=no", "--no-header"]
    options += [f"--deselect={name}" for name in deselected]
    code = int(pytest.main([*options, *stage.arguments()]))
    sys.stdout.flush()
    os._exit(code)


def end_processes(slot: Slot, active: set[int]) -> None:
    """End what a slot's tests have left running: this process adopts what loses its parent."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(slot.pid, signal.SIGKILL)
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while True:
        found = []
        for child in map(int, children.read_text().split()):
            with contextlib.suppress(OSError):
                is_ours = slot.marker in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
                if child not in active and (is_ours or os.getsid(child) == slot.pid):
                    found.append(child)
        for child in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
        if not found:
            return


class Verdict(NamedTuple):
    change: Change | None
    stages: list[Stage]
    outcome: str  # survived, noticed or timeout
    by: str  # the test or the exit code
    seconds: float


class Runner:
    """Runs each change through its stages, in as many copies of the tree as there are jobs."""

    def __init__(self, folder: Path, jobs: int, mark: str, deselected: list[str]) -> None:
        self.mark, self.deselected = mark, deselected
        self.usual: dict[tuple[str, ...], float] = {}  # seconds of a stage
        self.slots = [Slot(folder / f"tree{number}") for number in range(jobs)]
        make_copy(self.slots[0].root)
        for slot in self.slots[1:]:
            shutil.copytree(self.slots[0].root, slot.root, symlinks=True)
        self.original = folder / "original"
        shutil.copytree(self.slots[0].root, self.original)
        self.states = {id(slot): tree_state(slot.root) for slot in self.slots}

    def limit(self, stage: Stage) -> float:
        return SPARE_SECONDS + 4 * self.usual.get(stage.limit_key, 600.0)

    def start(self, slot: Slot, change: Change | None, stages: list[Stage]) -> None:
        slot.change, slot.stages, slot.spent = change, list(stages), 0.0
        if change is not None:
            source = (self.original / change.path).read_bytes()
            assert hashlib.sha256(source).hexdigest()[:16] == change.digest, change.path
            new = source[: change.start] + change.new.encode() + source[change.end :]
            (slot.root / change.path).write_bytes(new)
        self.next_stage(slot)

    def next_stage(self, slot: Slot) -> None:
        stage = slot.stages[0]
        slot.root.with_suffix(".tmp").mkdir(exist_ok=True)
        slot.limit, slot.began = self.limit(stage), time.monotonic()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                run_tests(slot, stage, self.mark, self.deselected)
            finally:
                os._exit(99)  # not pytest's: the process could not even begin, or was left wrongly
        slot.pid = pid

    def ended(self, slot: Slot) -> str | None:
        """None while it runs, then "" for passed tests or who noticed."""
        pid, status = os.waitpid(slot.pid, os.WNOHANG)
        if pid == 0:
            if time.monotonic() - slot.began < slot.limit:
                return None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(slot.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(slot.pid, signal.SIGKILL)
            os.waitpid(slot.pid, 0)
            return "timeout"
        code = os.waitstatus_to_exitcode(status)
        if code in (0, NO_TESTS):
            return ""
        text = slot.log.read_text(errors="replace")
        named = re.findall(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
        return named[0] if named else f"exit code {code}"

    def clean(self, slot: Slot, active: set[int]) -> None:
        end_processes(slot, active)
        shutil.rmtree(slot.root.with_suffix(".tmp"), ignore_errors=True)

    def restore(self, slot: Slot) -> None:
        """Undo the change, and what the changed program did to its own tree, if anything."""
        if slot.change is not None:
            path = slot.root / slot.change.path
            shutil.copyfile(self.original / slot.change.path, path)
            before = self.states[id(slot)][str(path)]
            os.utime(path, ns=(before[1], before[1]))
        if tree_state(slot.root) != self.states[id(slot)]:
            shutil.rmtree(slot.root)
            shutil.copytree(self.original, slot.root)
            self.states[id(slot)] = tree_state(slot.root)

    def run(self, jobs: Iterable[tuple[Change | None, list[Stage]]]) -> Iterator[Verdict]:
        waiting, idle, busy = iter(jobs), list(self.slots), []
        while True:
            while idle and (job := next(waiting, None)) is not None:
                busy.append(idle.pop())
                self.start(busy[-1], *job)
            if not busy:
                return
            time.sleep(0.02)
            for slot in list(busy):
                by = self.ended(slot)
                if by is None:
                    continue
                stage, seconds = slot.stages.pop(0), time.monotonic() - slot.began
                slot.spent += seconds
                self.clean(slot, {each.pid for each in busy if each is not slot})
                if by == "" and slot.stages:
                    self.next_stage(slot)
                    continue
                change, spent = slot.change, slot.spent
                self.restore(slot)
                busy.remove(slot)
                idle.append(slot)
                outcome = {"": "survived", "timeout": "timeout"}.get(by, "noticed")
                yield Verdict(change, [stage], outcome, by, spent)


def measure(runner: Runner, stages: Iterable[Stage]) -> None:
    """Run the tests without a change: all must pass, and their time sets the limits."""
    wanted = {stage.limit_key: Stage(stage.limit_key, (), stage.limit_key) for stage in stages}
    for verdict in runner.run((None, [stage]) for stage in wanted.values()):
        key = verdict.stages[0].limit_key
        print(f"unchanged: {' '.join(key)} in {verdict.seconds:.1f} s", flush=True)
        if verdict.outcome != "survived":
            sys.exit(f"fails without any change: {verdict.by} (leave it out with --deselect)")
        runner.usual[key] = verdict.seconds
    for slot in runner.slots:  # pytest has left its byte code of the tests
        runner.states[id(slot)] = tree_state(slot.root)


def read_results(path: Path) -> dict[str, dict[str, object]]:
    """The last record of each change, by its key."""
    if not path.exists():
        return {}
    records = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return {record["key"]: record for record in records}


def report(changes: list[Change], results: dict[str, dict[str, object]]) -> None:
    counts: dict[str, Counter[str]] = {}
    survivors = []
    for change in changes:
        outcome = str(results.get(change.key, {}).get("outcome", "not tried"))
        counts.setdefault(change.path, Counter())[outcome] += 1
        if outcome == "survived":
            survivors.append(change)
    print("\nsurvivors:")
    for change in survivors:
        print(f"  {change}")
    print(f"\n{'file':<50} {'tried':>6} {'noticed':>8} {'survived':>9}  share")
    total = sum(counts.values(), Counter())
    for path, count in [*sorted(counts.items()), ("together", total)]:
        noticed = count["noticed"] + count["timeout"]
        tried = noticed + count["survived"]
        share = f"{noticed / tried:.1%}" if tried else "-"
        print(f"{path:<50} {tried:>6} {noticed:>8} {count['survived']:>9}  {share}")
    if total["not tried"]:
        print(f"not tried: {total['not tried']}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="+", type=Path, help="files or folders of the package")
    parser.add_argument("--share", type=float, default=1.0, help="share of the changes, by hash")
    parser.add_argument("--jobs", type=int, default=2, help="changes tried at the same time")
    parser.add_argument("--also", nargs="*", default=[], help="further tests for every change")
    parser.add_argument("--mark", default="not slow", help="which tests (pytest -m)")
    parser.add_argument("--deselect", nargs="*", default=[], help="tests to leave out")
    parser.add_argument("--results", type=Path, default=Path("mutants.jsonl"))
    parser.add_argument("--retry", action="store_true", help="try survivors again")
    parser.add_argument("--list", action="store_true", help="show the changes and stop")
    parser.add_argument("--report", action="store_true", help="show the results and stop")
    return parser.parse_args()


def main() -> None:
    chosen = parse_arguments()
    files: list[Path] = []
    for path in map(Path.resolve, chosen.paths):
        files += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    changes = [change for path in files for change in changes_of(path)]
    changes = [change for change in changes if is_chosen(change, chosen.share)]
    records = read_results(chosen.results)
    results = {
        change.key: records[change.key]
        for change in changes
        if change.key in records and records[change.key]["digest"] == change.digest
    }
    if chosen.list:
        print("\n".join(map(str, changes)))
    if chosen.list or chosen.report:
        report(changes, results)
        return

    def is_due(change: Change) -> bool:
        outcome = results.get(change.key, {}).get("outcome")
        return outcome is None or (chosen.retry and outcome == "survived")

    also = tuple(chosen.also)
    jobs = [(change, stages_of(change.path, also)) for change in changes if is_due(change)]
    no_tests = sorted({change.path for change, stages in jobs if not stages})
    if no_tests:
        sys.exit(f"no tests for {', '.join(no_tests)}: name some with --also")
    print(f"{len(changes)} changes, {len(jobs)} to try", flush=True)
    # One thread each: forks are safe while no other thread runs, and jobs share the cores.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        runner = Runner(Path(folder), chosen.jobs, chosen.mark, chosen.deselect)
        measure(runner, [stage for _, stages in jobs for stage in stages])
        with chosen.results.open("a") as log:
            for number, verdict in enumerate(runner.run(jobs), start=1):
                change = verdict.change
                assert change is not None
                record = {
                    "key": change.key, "digest": change.digest, "outcome": verdict.outcome,
                    "by": verdict.by, "seconds": round(verdict.seconds, 1), "change": str(change),
                }  # fmt: skip
                results[change.key] = record
                log.write(json.dumps(record) + "\n")
                log.flush()
                print(f"{number}/{len(jobs)} {verdict.outcome:<8} {change}", flush=True)
    report(changes, results)


if __name__ == "__main__":
    main()
