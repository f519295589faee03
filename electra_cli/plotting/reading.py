"""Read the runs to draw, and warn about those that cannot be drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from electra_cli import console
from electra_cli.disk import as_argument
from electra_cli.errors import ConfigError, RunError
from electra_cli.plotting.curves import groups_to_draw
from electra_cli.plotting.run_log import RunLog, read_run
from electra_cli.presets import load_options
from electra_cli.run_directory import NoRowsError, RunDirectory, not_a_run


@dataclass(frozen=True)
class RunReader:
    """Reads the runs in some folders, again on every call, and gives each warning once."""

    folders: Sequence[Path]
    given_warnings: set[str] = field(default_factory=set)

    def read_all(self) -> list[RunLog]:
        """The runs; those of several that cannot be drawn are skipped with a warning.

        If no run can be drawn, raises NoRowsError if one of them may have rows later, else
        RunError.
        """
        logs: list[RunLog] = []
        errors: list[RunError] = []
        for folder, name in zip(self.folders, _names(self.folders), strict=True):
            try:
                logs.append(self._read(folder, name))
            except RunError as error:
                errors.append(error)
        if logs:
            for skipped in errors:
                self._warn(skipped, skipped.hint)
            return logs
        without_rows = [error for error in errors if isinstance(error, NoRowsError)]
        raise [*without_rows, *errors][0]

    def _read(self, root: Path, name: str) -> RunLog:
        """One run that has something to draw."""
        check_folder(root)  # a watched run may have been deleted
        directory = RunDirectory(root)
        inside = sorted(child.name for child in root.iterdir() if RunDirectory(child).log.is_file())
        if inside and not directory.log.is_file():
            raise RunError(
                f"{root} is not a run but contains runs: {', '.join(inside[:5])}",
                hint=f"electra plot {as_argument(root / inside[0])}, or all of them: "
                f"electra plot {as_argument(root)}/*",
            )
        log = read_run(directory, name, self._settings(directory))
        if not groups_to_draw([log]):
            raise RunError(
                f"{directory.log} has nothing to draw", hint="name a folder made by electra train"
            )
        return log

    def _settings(self, directory: RunDirectory) -> Mapping[str, object]:
        """The settings of a run; none if it has no readable config.yaml."""
        if not directory.config.is_file():
            return {}
        try:
            return load_options(directory.config)
        except ConfigError as error:
            self._warn(error, "the curves are drawn without the settings")
            return {}

    def _warn(self, problem: object, hint: str) -> None:
        if str(problem) not in self.given_warnings:
            self.given_warnings.add(str(problem))
            console.warn(str(problem), hint)


def check_folder(folder: Path) -> None:
    """Raise RunError if there is no such folder, or another command than `train` made it."""
    if not folder.is_dir():
        raise not_a_run(folder)
    RunDirectory(folder).refuse_finetune()


def _names(folders: Sequence[Path]) -> list[str]:
    """Names for the runs: their folders, with as many parents as make all names different."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("the folders are different")
