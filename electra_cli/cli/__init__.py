"""The commands' signatures, one file each, and the one place where user errors become text.

Heavy imports live inside the commands, so that `--help` answers at once.
"""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from electra_cli import console
from electra_cli.cli import export, finetune, plot, predict, prepare, resume, status, train, tune
from electra_cli.cli.app import Command, app
from electra_cli.cli.arguments import checked
from electra_cli.errors import UserError
from electra_cli.machine import is_limit_reached
from electra_cli.stopping import EXIT_STOPPED, exiting_at_once, follow_launcher

_STDOUT, _STDERR = 1, 2  # descriptors
MAX_SHOWN_CHARS = 200  # of a file's name in a message
USER_FIXABLE_ERRNOS = frozenset(
    (
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR,
        errno.EISDIR, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO,
    )
)  # fmt: skip

# In the order of `electra --help`.
for _command in (
    prepare.prepare,
    train.train,
    resume.resume,
    tune.tune,
    plot.plot,
    finetune.finetune,
    status.status,
    predict.predict,
    export.export,
):
    app.command(cls=Command)(_command)


def limit_spinning() -> None:
    """Let torch's threads spin for microseconds only before they sleep; call before torch loads.

    A thread that spins as long as libgomp's default slows the thread it waits for when another
    process needs the cores: on two busy cores tiny ran at half its speed or less. A thread that
    sleeps at once wakes too slowly for small products: on two free cores small took 15% longer.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def quiet_torch() -> None:
    """In one of several processes, no warnings with a stack; call before torch loads.

    Its connections report what the program tries again, or tells in one line.
    """
    if "RANK" in os.environ:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def open_closed_files() -> None:
    """Put /dev/null where a shell closed stdin, stdout or stderr (`>&-`).

    The next file that is opened would get its number, and what libraries print.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = os.fdopen(_STDOUT, "w")


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; the arguments are those of the program where none are given."""
    open_closed_files()
    follow_launcher()
    limit_spinning()
    quiet_torch()
    is_one_of_several = "RANK" in os.environ
    with exiting_at_once() if is_one_of_several else nullcontext():
        _run(list(sys.argv[1:] if argv is None else argv))


def _run(arguments: list[str]) -> None:
    """Run the app; show a UserError as a problem and a hint, keep the traceback of a bug.

    The system's errors about a file's name, its permissions or its disk are a user's to fix too,
    wherever they come up. A missing file is not among them: the commands look before they open.
    """
    try:
        app(args=checked(arguments))
    except UserError as error:
        console.error(str(error), error.hint)
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in USER_FIXABLE_ERRNOS or error.filename is None:
            raise
        console.error(
            f"{str(error.filename)[:MAX_SHOWN_CHARS]} cannot be used: {error.strerror}",
            "check the name, the permissions and the disk",
        )
        raise SystemExit(1) from None
    except (MemoryError, ImportError, RuntimeError) as error:
        if not is_limit_reached(error):
            raise
        console.error(
            f"there is not enough memory, or another limit is reached: {error}",
            "free some, or allow more (ulimit -v and -u, a container's limits), then run it again",
        )
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(EXIT_STOPPED) from None
