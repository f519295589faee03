"""electra prepare: from a source to a folder of token shards that every preset trains on."""

import gc
import os

from electra_cli import console
from electra_cli.data.manifest import DATA_FOLDER, PROGRESS_NAME, load_manifest
from electra_cli.data.shards import SHARD_TOKENS
from electra_cli.disk import as_argument
from electra_cli.preparing.folder import (
    explain_failures,
    hold_folder,
    is_finished,
    load_folder_state,
)
from electra_cli.preparing.options import PrepareOptions
from electra_cli.preparing.pipeline import prepare_folder
from electra_cli.preparing.sources import open_source
from electra_cli.stopping import stop_request


def run(options: PrepareOptions, *, shard_tokens: int = SHARD_TOKENS) -> None:
    """Prepare a folder, or go on with an interrupted one; a finished one stays as it is.

    `shard_tokens`: train tokens after which a round ends.
    """
    gc.freeze()  # spares the collector what was imported: 0.1 s per GB of text
    if options.workers is not None:
        os.environ["RAYON_NUM_THREADS"] = str(options.workers)  # read when its threads start
    options.check()
    source = open_source(options.source)
    given = options.open_tokenizer()
    settings = options.settings(source, given, shard_tokens)
    directory = options.out or DATA_FOLDER / source.name
    with explain_failures(directory), stop_request() as stop:
        if is_finished(directory, settings):
            (directory / PROGRESS_NAME).unlink(missing_ok=True)  # killed between the last two steps
            console.talk(f"{directory} is there already, made from this source with these settings")
        else:
            load_folder_state(directory, settings)  # refuses a folder of something else
            with hold_folder(directory):
                # Another process may have finished it until this one got the lock.
                if not is_finished(directory, settings):
                    prepare_folder(source, given, directory, settings, options.workers, stop)
    if options.as_json:
        manifest = load_manifest(directory).model_dump(mode="json", exclude={"shards"})
        console.result_json({"directory": str(directory), **manifest})
        return
    console.result(directory)
    console.hint(f"next: electra train --preset tiny --data {as_argument(directory)}")
