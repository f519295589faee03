"""One repository per run: the main network at its root, others in folders, a card, the curves.

The only importer of huggingface_hub's uploads. Tokens are huggingface_hub's own (HF_TOKEN, or what
`hf auth login` saved): this program never reads one.
"""

import os
import re
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from electra_cli import console
from electra_cli.errors import UserError
from electra_cli.hub import network_errors, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_CARD = "README.md"
# huggingface_hub's own check lets a name without ORG/ pass.
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")
_HTTP_UNAUTHORIZED, _HTTP_FORBIDDEN = 401, 403


class PublishingError(UserError):
    """A model that could not be published; what was exported stays."""


@dataclass(frozen=True)
class Publication:
    """Where a model goes."""

    repo: str  # ORG/NAME
    revision: str | None  # a branch, made where it is missing; None: main
    is_private: bool  # of a repository that is made now
    licence: str  # as the hub names it, such as apache-2.0


def check_names(publication: Publication) -> None:
    """Raise PublishingError for names that the hub does not take."""
    if not _REPO.fullmatch(publication.repo):
        raise PublishingError(
            f"{publication.repo!r} is not a name on the Hugging Face Hub",
            hint="--push-to-hub ORG/NAME, such as me/my-electra",
        )
    if not _LICENCE.fullmatch(publication.licence):
        raise PublishingError(
            f"{publication.licence!r} is not a licence's name on the Hugging Face Hub",
            hint="--license apache-2.0, mit, cc-by-4.0 or other",
        )


def publish(
    publication: Publication,
    main: Path,
    others: Mapping[str, Path],
    files: Mapping[str, Path],
    card: str,
    message: str,
) -> str:
    """Upload it all as one commit, and return its address.

    `main`: folder whose files stand at the repository's root; `others`: folder there -> folder
    here; `files`: name there -> file here. One commit, so that a failed upload leaves nothing half;
    files that are there already are not sent again. Raises PublishingError.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    named = {path.name: path for path in sorted(main.iterdir()) if path.is_file()}
    for folder, here in others.items():
        for path in sorted(here.iterdir()):
            named[f"{folder}/{path.name}"] = path
    named |= files
    named.pop(_CARD, None)
    operations = [CommitOperationAdd(name, str(path)) for name, path in named.items()]
    operations.append(CommitOperationAdd(_CARD, card.encode()))
    api, repo, revision = HfApi(), publication.repo, publication.revision
    size = sum(path.stat().st_size for path in named.values())
    console.talk(f"sending {len(operations)} files, {console.format_bytes(size)}, to {repo}")
    with _explain_failures(publication):
        api.create_repo(repo, private=publication.is_private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        commit = api.create_commit(repo, operations, commit_message=message, revision=revision)
    return str(commit.commit_url)


@contextmanager
def _explain_failures(publication: Publication) -> "Iterator[None]":
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    failed = f"{publication.repo} was not published"
    lost: tuple[type[Exception], ...] = (*network_errors(), RuntimeError)
    try:
        yield
    except LocalTokenNotFoundError:
        raise PublishingError(f"{failed}: no token", "log in first: hf auth login") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        hint = "the same command tries again"
        if status in (_HTTP_UNAUTHORIZED, _HTTP_FORBIDDEN):
            hint = "a token that may write there is needed: hf auth login, or HF_TOKEN"
        reason = error.server_message or error.response.reason_phrase
        raise PublishingError(f"{failed}: {status} {one_line(reason)}", hint) from None
    except lost as error:
        if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
            raise PublishingError(f"{failed}: HF_HUB_OFFLINE is set", "unset it") from None
        reason = one_line(error) or type(error).__name__
        raise PublishingError(
            f"{failed}: {reason}", "the same command tries again, once there is a network"
        ) from None
