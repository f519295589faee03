"""What `electra train` was asked for on the command line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra_cli.errors import ConfigError
from electra_cli.run_directory import RUNS_FOLDER


@dataclass(frozen=True)
class TrainOptions:
    """`options` maps section.key to a value; `assignments` are the texts of --set."""

    preset: str
    options: Mapping[str, Any]
    assignments: tuple[str, ...]
    epochs: float | None
    run_name: str | None
    dry_run: bool
    as_json: bool
    verify_data: bool
    max_minutes: float | None = None
    init_step: int | None = None  # of the run that model.init_from names

    @property
    def root(self) -> Path | None:
        """The run's folder, if the command line names it."""
        return None if self.run_name is None else RUNS_FOLDER / self.run_name

    @property
    def chosen(self) -> set[str]:
        """The options that the command line names."""
        return {*self.options, *self._assigned}

    @property
    def num_heads(self) -> int | None:
        """model.num_attention_heads, if the command line names it and it is a number."""
        heads = self._assigned.get("model.num_attention_heads", "").strip()
        return int(heads) if heads.isdecimal() and int(heads) else None

    @property
    def _assigned(self) -> dict[str, str]:
        parts = (assignment.partition("=") for assignment in self.assignments)
        return {name.strip(): value for name, _, value in parts}


def check_options(options: TrainOptions) -> None:
    """Raise UserError for options that cannot be together, and for epochs that are no number of
    passes.
    """
    if options.as_json and not options.dry_run:
        raise ConfigError(
            "--json prints the plan, which needs --dry-run",
            hint="of a run that trains, electra status --json prints the state",
        )
    if options.epochs is None:
        return
    if "run.num_steps" in options.chosen:
        raise ConfigError(
            "--epochs and --steps (run.num_steps) both say how long to train",
            hint="leave one of them out",
        )
    if not 0 < options.epochs < float("inf"):
        raise ConfigError(
            f"--epochs {options.epochs:g} is not a number of passes over the text",
            hint="a number above 0, such as 3 or 0.5",
        )
