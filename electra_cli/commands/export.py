"""`electra export`: any checkpoint of a run as Hugging Face folders."""

from pathlib import Path

from electra_cli import console
from electra_cli.data.prepared import open_data
from electra_cli.disk import as_argument, step_folder
from electra_cli.errors import DataError, RunError
from electra_cli.model.networks import load_parameters
from electra_cli.model.onnx import require_onnx
from electra_cli.presets import load_config
from electra_cli.publishing.card import write_card
from electra_cli.publishing.hub import Publication, check_names, publish
from electra_cli.run_directory import FINETUNE_FOLDER, RunDirectory
from electra_cli.runs.export import TrainedModel, draw_picture, export_models
from electra_cli.runs.rollback import load_newest, open_run_folder
from electra_cli.runs.session import build_model, open_checkpoints
from electra_cli.runs.write_errors import explain_write_errors


def export(
    root: Path,
    step: int | None,
    out: Path | None,
    publication: Publication | None,
    with_onnx: bool = False,
) -> None:
    """Write the networks of a checkpoint, by default the newest good one, below `out`.

    `publication`: where to publish them then.
    """
    if with_onnx:
        require_onnx()
    if publication is not None:
        check_names(publication)
    if RunDirectory(root).is_finetune:
        raise RunError(
            f"{root} is a fine-tune, which exports itself", hint="its folder model/ opens as it is"
        )
    run = open_run_folder(root)
    config = load_config(run.config)
    checkpoints = open_checkpoints(run, config)
    if step is None:
        newest = load_newest(checkpoints, root, "export")
        step, checkpoint = newest.step, newest.checkpoint
    else:
        checkpoint = checkpoints.load(step)
    checkpoints.close()
    assert config.data.directory is not None  # train saved it
    data = open_data(config.data.directory)
    wanted, found = checkpoint.state.tokenizer_sha256, data.manifest.tokenizer_sha256
    if wanted != found:
        raise DataError(
            f"{data.directory} has tokenizer {found[:12]}, the checkpoint was made with "
            f"{wanted[:12]}",
            hint="put the data folder back that the run was started with",
        )
    model = build_model(config, data.manifest.vocab_size, data.pad_id)
    load_parameters(model, checkpoint.tensors["model"])
    target = RunDirectory(out or step_folder(run.root / "export", step))
    console.talk(f"exporting step {step:,} of {run.root}")
    with explain_write_errors(target.root):
        trained = TrainedModel(run, config, data, model, step)
        encoder = export_models(trained, target, with_onnx)
    if publication is not None:
        _publish(trained, target, publication)
    console.result(encoder)
    if publication is None:
        console.hint(f"what it is worth: electra finetune {as_argument(encoder)} --train FILE")


def _publish(trained: TrainedModel, exported: RunDirectory, publication: Publication) -> None:
    has_curves = draw_picture(trained.run, exported.picture)
    networks = {name: exported.model(name) for name in trained.model.networks()}
    main = networks.pop(trained.model.main_network)
    address = publish(
        publication,
        main,
        networks,
        {exported.picture.name: exported.picture} if has_curves else {},
        write_card(trained, publication, FINETUNE_FOLDER, has_curves),
        f"Step {trained.step:,}",
    )
    console.talk(f"published: {address}")
    branch = "" if publication.revision is None else f", revision={publication.revision!r}"
    console.hint(f"anybody opens it: AutoModel.from_pretrained({publication.repo!r}{branch})")
