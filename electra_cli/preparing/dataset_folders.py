"""Folders that `datasets` or the Hugging Face Hub made: which of their files hold a split's text.

Their other files, such as the dataset card, other splits and the caches of map(), are no text.
"""

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from electra_cli.errors import DataError

DEFAULT_SPLIT = "train"
# In the front matter of a dataset card; other Markdown files have a title or tags there.
_CARD_KEYS = re.compile(
    r"^(dataset_info|configs|task_categories|size_categories|task_ids|pretty_name|"
    r"annotations_creators|language_creators|multilinguality|source_datasets):",
    re.MULTILINE,
)
_SHARD_NAME = re.compile(r"-\d{5}-of-\d{5}(-\w+)?\.\w+$")
_HEAD_CHARS = 100_000


def dataset_files(folder: Path, subset: str | None, split: str | None) -> list[Path] | None:
    """The files of a split, in order; None if the folder is none that `datasets` understands.

    Raises DataError for a split or subset that the folder does not have, with those it has.
    """
    found = _saved_splits(folder)
    if found is None and not _is_clone(folder):
        return None
    if found is None:
        found = _splits_of_clone(folder, subset)
    elif subset is not None:
        raise DataError(f"dataset folder {folder} has no subsets", hint="leave out --subset")
    name = split or (DEFAULT_SPLIT if len(found) != 1 else next(iter(found)))
    if name not in found:
        raise DataError(
            f"dataset folder {folder} has no split {name}",
            hint=f"--split takes one of: {', '.join(found)}",
        )
    return found[name]


def _saved_splits(folder: Path) -> dict[str, list[Path]] | None:
    """The files of each split that save_to_disk or the cache of `datasets` keeps in a folder."""
    if (folder / "dataset_dict.json").is_file():
        names = _read(folder / "dataset_dict.json")["splits"]
        return {name: _saved_files(folder / name) for name in names}
    if not (folder / "dataset_info.json").is_file():
        return None
    if (folder / "state.json").is_file():
        # It was one split of a dataset, whose name is not always kept.
        name = _read(folder / "state.json").get("_split") or DEFAULT_SPLIT
        return {name: _saved_files(folder)}
    splits = _read(folder / "dataset_info.json").get("splits") or {}
    found = {name: sorted(folder.glob(f"*-{name}*.arrow")) for name in splits}
    return found if any(found.values()) else None


def _saved_files(folder: Path) -> list[Path]:
    return [folder / file["filename"] for file in _read(folder / "state.json")["_data_files"]]


def _is_clone(folder: Path) -> bool:
    """Whether it is a copy of a dataset's repository: by its card, or by the names of its files."""
    card = folder / "README.md"
    if card.is_file():
        with card.open(encoding="utf-8", errors="replace") as file:
            head = file.read(_HEAD_CHARS)
        if head.startswith("---") and _CARD_KEYS.search(head[3:].partition("\n---")[0]):
            return True
    return (
        (folder / "dataset_infos.json").is_file()
        or (folder / ".cache" / "huggingface").is_dir()
        or any(_SHARD_NAME.search(file.name) for file in folder.glob("*/*-of-*"))
    )


def _splits_of_clone(folder: Path, subset: str | None) -> dict[str, list[Path]]:
    import datasets

    datasets.disable_progress_bars()
    try:
        with TemporaryDirectory() as cache:  # the user's may be full or read-only
            builder = datasets.load_dataset_builder(str(folder), subset, cache_dir=cache)
    # ValueError: no such subset. OSError: no data file. RuntimeError: a script.
    except (ValueError, RuntimeError, OSError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"dataset folder {folder}: {' '.join(str(error).split())}",
            hint="choose with --subset, or name the files to read",
        ) from None
    found = builder.config.data_files or {}
    return {str(name): [Path(file) for file in files] for name, files in found.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}", hint="copy the folder again") from None
    return content
