"""Where a study is kept: a database or a journal file, with heartbeats either way.

A trial whose process died is failed and its settings are queued again: after GRACE_SECONDS without
a heartbeat wherever it ran, and at once if it ran on this machine (study.fail_dead_trials).

Only this file uses private parts of Optuna. Its thread that records heartbeats, and
fail_stale_trials, ask for BaseHeartbeat, which has no public name, and call _get_stale_trial_ids.
"""

import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from electra_cli import console
from electra_cli.errors import RunError

HEARTBEAT_SECONDS = 20
GRACE_SECONDS = 120
# SQLite has one writer at a time; the others wait up to this long.
_SQLITE_TIMEOUT_SECONDS = 60
_WAITING = (
    "waiting for the study's database, which another process has locked, for up to "
    f"{_SQLITE_TIMEOUT_SECONDS} s"
)
# Processes that start together create the tables together: all but one fail, and try again.
_ATTEMPTS = 5
IS_PRESET = "is_preset"  # marks the trial that is the preset unchanged
RETRY_OF = "retry_of"  # the number of the interrupted trial
_RETRIES = "retries"
# Settings that get their process killed each time, for lack of memory for example, must not hold up
# the search for ever.
_MAX_RETRIES = 3
_HEARTBEAT_KEY = "electra:heartbeat"


class _WaitingCursor(sqlite3.Cursor):
    """Says so while another process has locked the database."""

    def execute(self, *arguments: Any) -> "_WaitingCursor":
        with console.announce_wait(_WAITING):
            super().execute(*arguments)
        return self


class _WaitingConnection(sqlite3.Connection):
    """Like its cursors; committing waits for readers too."""

    def cursor(self, factory: Any = _WaitingCursor) -> Any:
        return super().cursor(factory)

    def commit(self) -> None:
        with console.announce_wait(_WAITING):
            super().commit()


class _JournalLock(JournalFileSymlinkLock):
    """Says so while another process holds it; a dead one's lock is broken after a while."""

    def acquire(self) -> bool:
        with console.announce_wait(
            f"waiting for {self._lock_target_file}, which another process is writing; for up to "
            f"{self.grace_period} s if that was killed"
        ):
            return bool(super().acquire())


class _DatabaseWithHeartbeats(RDBStorage):
    """A database whose outages do not end the thread that records heartbeats."""

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(SQLAlchemyError, optuna.exceptions.StorageInternalError):
            super().record_heartbeat(trial_id)


class _JournalWithHeartbeats(JournalStorage, BaseHeartbeat):
    """Optuna's journal has no heartbeats; these need clocks that agree to a minute."""

    def record_heartbeat(self, trial_id: int) -> None:
        self.set_trial_system_attr(trial_id, _HEARTBEAT_KEY, time.time())

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        oldest = time.time() - GRACE_SECONDS
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        return [
            trial._trial_id
            for trial in running
            if trial.system_attrs.get(_HEARTBEAT_KEY, float("inf")) < oldest
        ]

    def get_heartbeat_interval(self) -> int:
        return HEARTBEAT_SECONDS

    def get_heartbeat_stale_trial_callback(
        self,
    ) -> Callable[[optuna.Study, optuna.trial.FrozenTrial], None]:
        return retry_trial


def retry_trial(
    study: optuna.Study, trial: optuna.trial.FrozenTrial, by_user: bool = False
) -> None:
    """Queue the settings of an interrupted trial again, unless that happened too often.

    A stop `by_user` does not count: the settings did not cause it.

    Optuna's RetryHeartbeatStaleTrialCallback copies all attributes, so Hyperband would think
    that the trial had passed its rungs.
    """
    retries = trial.user_attrs.get(_RETRIES, 0)
    if not by_user:
        retries += 1
    if retries > _MAX_RETRIES:
        return
    settings = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    kept = {RETRY_OF: trial.number, _RETRIES: retries}
    if trial.user_attrs.get(IS_PRESET):
        kept[IS_PRESET] = True
    study.enqueue_trial(settings, user_attrs=kept)


def open_storage(storage: str) -> BaseStorage:
    """A database URL or the path of a journal file. Raises RunError if it cannot be used."""
    # Heartbeats are marked experimental since Optuna 2.9. The commands report failures themselves.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if "://" not in storage:
        return _open_journal(Path(storage))
    shown = without_password(storage)
    for attempt in range(_ATTEMPTS):
        try:
            return _open_database(storage)
        except (ImportError, NoSuchModuleError) as error:
            cause = error.__cause__ or error
            raise RunError(
                f"{shown} needs a driver that is not installed: {cause}",
                hint='pip install "psycopg[binary]" and postgresql+psycopg://.., or pymysql and '
                "mysql+pymysql://..",
            ) from None
        except (SQLAlchemyError, RuntimeError) as error:
            is_locked = "database is locked" in str(error)
            if is_locked or attempt == _ATTEMPTS - 1 or not isinstance(error, SQLAlchemyError):
                raise RunError(
                    f"{shown} cannot be opened: {_reason(error)}",
                    hint="wait until the other process is done with it, or end that one"
                    if is_locked
                    else "see --storage in electra tune --help",
                ) from None
            time.sleep(0.5)
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def storage_errors(storage: str) -> Iterator[None]:
    """Turn errors of a database, such as one that goes away, into a RunError."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = _reason(error.__cause__ or error)
        raise RunError(
            f"{without_password(storage)} failed: {reason}",
            hint="the study goes on with the same command when it is back",
        ) from error


def _reason(error: BaseException) -> str:
    """The error on one line, without SQLAlchemy's link to its manual."""
    return " ".join(str(error).split("\n(Background", 1)[0].split())


def without_password(storage: str) -> str:
    """The storage as messages name it: without a password."""
    if "://" not in storage:
        return storage
    try:
        return make_url(storage).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        raise RunError(
            "--storage is not the URL of a database", hint="dialect://user:password@host/database"
        ) from None


def _open_journal(path: Path) -> BaseStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _JournalWithHeartbeats(JournalFileBackend(str(path), _JournalLock(str(path))))
    except (OSError, ValueError, KeyError, TypeError) as error:  # not a journal
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"{path} is not a journal file that can be used: {reason}",
            hint="name another file, or a URL such as sqlite:///FILE.db",
        ) from None


def _open_database(url: str) -> BaseStorage:
    is_sqlite = make_url(url).get_backend_name() == "sqlite"
    connect_args = {"timeout": _SQLITE_TIMEOUT_SECONDS, "factory": _WaitingConnection}
    with (
        nullcontext()
        if is_sqlite
        else console.announce_wait(f"waiting for {without_password(url)}")
    ):
        return _DatabaseWithHeartbeats(
            url,
            engine_kwargs={"connect_args": connect_args} if is_sqlite else {},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=retry_trial,
        )
