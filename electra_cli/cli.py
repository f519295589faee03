"""The commands' signatures, and the one place where user errors become text.

Heavy imports live inside the commands, so that `--help` answers at once.
"""

import errno
import os
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from electra_cli import __version__, completion, console
from electra_cli.disk import check_utf8
from electra_cli.errors import UserError
from electra_cli.stopping import EXIT_STOPPED
from electra_cli.suggestions import nearest_argument

MAX_SHOWN_CHARS = 200  # of a file's name in a message
USER_FIXABLE_ERRNOS = frozenset(
    (
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR,
        errno.EISDIR, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO,
    )
)  # fmt: skip

Preset = Annotated[
    str,
    typer.Option(
        help="tiny, small, small++, base, large, or a YAML file.",
        autocompletion=completion.presets,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder made by electra prepare.  [default: the only one under data/]",
        autocompletion=completion.data_folders,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead, for scripts.")]
VerifyData = Annotated[
    bool,
    typer.Option(
        "--verify-data", help="Compare the checksums of all data, not of changed files alone."
    ),
]
MaxMinutes = Annotated[
    float | None,
    typer.Option(
        min=0, help="Stop after N minutes: save, exit with 130; continue with electra resume."
    ),
]

_WRONG_USAGE = 2  # exit code


def _ways_to_set(command: str, arguments: Collection[str]) -> dict[str, str]:
    """How a command with these arguments takes each option that it takes."""
    from electra_cli.config import changeable_options, iter_options
    from electra_cli.finetuning.settings import FinetuneRecipe

    if "--preset" not in arguments and "--set" not in arguments:
        return {}
    recipe = FinetuneRecipe if command == "finetune" else None
    names = [name for name, _ in iter_options(recipe)]
    if command == "resume":
        names = changeable_options()
    way = "--set {}=VALUE" if "--set" in arguments else "{} in the preset file"
    return {name: way.format(name) for name in names}


class Command(TyperCommand):
    """A command that answers an unknown option with the nearest one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments that are left over; shows the problem of an unknown option and exits."""
        known = {name for parameter in self.params for name in parameter.opts if name[:2] == "--"}
        try:
            return super().parse_args(ctx, list(args))
        except TyperException as error:
            name = getattr(error, "option_name", "")
            if not hasattr(error, "possibilities"):  # another mistake than an unknown option
                raise
        if not name.startswith("--"):  # -lr is read as the letters -l and -r
            name = next((arg for arg in args if arg.startswith(name)), name)
        close = nearest_argument(name, known, _ways_to_set(ctx.info_name, known))
        console.error(
            f"{ctx.command_path} has no option {name}",
            f"did you mean {close}?" if close else f"its options: {ctx.command_path} --help",
        )
        raise typer.Exit(_WRONG_USAGE)


app = typer.Typer(
    name="electra",
    help="Pre-train ELECTRA text encoders on your own text.",
    epilog="Start with: electra prepare, then: electra train --preset tiny",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(value: bool) -> None:
    if value:
        console.result(f"electra {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    pass


@app.command(cls=Command)
def prepare(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...",
            help="Files, folders or globs (.txt .md .jsonl .csv .tsv .parquet .arrow, also .gz .xz "
            ".zst), a dataset on this disk, or one Hugging Face dataset id. Nothing: the Python "
            "documentation and docstrings installed on this machine.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write.  [default: data/NAME of the source]")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Folder or id of a tokenizer.  [default: one is learned from the text]"),
    ] = None,
    vocab_size: Annotated[
        int | None,
        typer.Option(
            min=64,
            help="Word pieces to learn.  [default: those that occur 100 times, at most 30522; "
            "built-in corpus: 512]",
        ),
    ] = None,
    cased: Annotated[bool, typer.Option("--cased", help="Keep upper case and accents.")] = False,
    no_strip_accents: Annotated[
        bool,
        typer.Option(
            "--no-strip-accents", help="Keep accents and vowel signs, though in lower case."
        ),
    ] = False,
    column: Annotated[
        str | None, typer.Option(help="Column or key that holds the text.  [default: text]")
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Configuration of a dataset.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a dataset.  [default: train]")] = None,
    validation_fraction: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Share of documents to hold out for evaluation.")
    ] = 0.01,
    max_bytes: Annotated[
        int | None, typer.Option(min=1, help="Stop after N bytes of text: for a quick trial.")
    ] = None,
    replace_broken: Annotated[
        bool,
        typer.Option("--replace-broken", help="Read broken UTF-8 with replacement characters."),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that tokenize.  [default: all cores]")
    ] = None,
) -> None:
    """Tokenize and shard text to disk.

    Examples:

      electra prepare

      electra prepare corpus/*.txt.xz --out data/corpus --vocab-size 8192

      electra prepare articles.jsonl --column body --cased
    """
    from electra_cli.commands.prepare import PrepareOptions, run

    run(
        PrepareOptions(
            sources=tuple(sources or ()),
            out=out,
            tokenizer=tokenizer,
            vocab_size=vocab_size,
            cased=cased,
            no_strip_accents=no_strip_accents,
            column=column,
            subset=subset,
            split=split,
            validation_fraction=validation_fraction,
            max_bytes=max_bytes,
            replace_broken=replace_broken,
            workers=workers,
        )
    )


@app.command(cls=Command)
def train(
    preset: Preset = "base",
    data: Data = None,
    run_name: Annotated[
        str | None, typer.Option(help="Name under runs/.  [default: preset and date]")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps (run.num_steps).")] = None,
    epochs: Annotated[
        float | None,
        typer.Option(help="Passes over the training text, instead of --steps; 0.5 is half of it."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows per optimizer step (run.batch_size).")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate (optim.learning_rate).")
    ] = None,
    max_seq_length: Annotated[
        int | None, typer.Option(help="Tokens of the longest window (data.max_seq_length).")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32, bf16 or fp16 (run.precision).")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps (run.device).")
    ] = None,
    probe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Labelled texts (text, label) or minimal pairs (good, bad) to probe with while "
            "training (run.probes); may be repeated.",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Any option; may be repeated.",
            autocompletion=completion.options,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what the run would be, and stop.")
    ] = False,
    verify_data: VerifyData = False,
    max_minutes: MaxMinutes = None,
) -> None:
    """Pre-train a generator and a discriminator from scratch.

    Examples:

      electra train --preset tiny

      electra train --preset small --data data/corpus --run-name first --steps 100000

      electra train --preset large --set optim.adam_beta2=0.98 --dry-run
    """
    from electra_cli.stopping import stop_request

    named = {
        "data.directory": data,
        "run.num_steps": steps,
        "run.batch_size": batch_size,
        "optim.learning_rate": learning_rate,
        "data.max_seq_length": max_seq_length,
        "run.precision": precision,
        "run.device": device,
        "run.probes": probe or None,
    }
    with stop_request(max_minutes):  # from here on, so that a signal while torch loads counts
        from electra_cli.commands.train import TrainOptions
        from electra_cli.commands.train import train as run

        run(
            TrainOptions(
                preset=preset,
                options={name: value for name, value in named.items() if value is not None},
                assignments=tuple(assignments or ()),
                epochs=epochs,
                run_name=run_name,
                dry_run=dry_run,
                verify_data=verify_data,
            )
        )


@app.command(cls=Command)
def resume(
    run_dir: Annotated[
        Path,
        typer.Argument(
            help="Folder of the run, such as runs/NAME.", autocompletion=completion.runs
        ),
    ],
    step: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Checkpoint to go on from, 0: the beginning.  [default: the newest good one]",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="An option that does not change what is computed, such as run.micro_batch_size.",
            autocompletion=completion.changeable_options,
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Only repeat the steps before the checkpoint, and check that the result is the "
            "same.",
        ),
    ] = False,
    verify_data: VerifyData = False,
    max_minutes: MaxMinutes = None,
) -> None:
    """Continue a run exactly where it stopped.

    Examples:

      electra resume runs/first

      electra resume runs/first --set run.micro_batch_size=16 --max-minutes 230

      electra resume runs/first --verify
    """
    from electra_cli.stopping import stop_request

    with stop_request(max_minutes):
        from electra_cli.commands import resume as command

        run = command.verify if verify else command.resume
        run(command.ResumeOptions(run_dir, step, tuple(assignments or ()), verify_data))


@app.command(cls=Command)
def tune(
    preset: Preset = "tiny",
    data: Data = None,
    trials: Annotated[
        int, typer.Option(min=1, help="Total number of trials; the same command continues a study.")
    ] = 50,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Each trial may spend the FLOPs of N steps of the preset.  [default: its own]",
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name under tune/.  [default: the preset's]")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL|FILE",
            help="Where to keep the study: a database, or a journal file for network disks; "
            "several machines can share it.  [default: sqlite:///tune/STUDY.db]",
        ),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="Metric that ranks the trials.")
    ] = "yardstick_rtd_loss",
    pruner: Annotated[str, typer.Option(help="hyperband, median or none.")] = "hyperband",
    verify_data: VerifyData = False,
) -> None:
    """Search hyperparameters with Optuna.

    Every trial is a run that spends the same training FLOPs. Trial 0 is the preset unchanged; its
    generator corrupts the held-out text once, and every discriminator is scored on that text.

    The tune: section of the preset file lists what to search, such as

      tune: {optim.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}, run.batch_size: [64, 128]}

    Examples:

      electra tune --trials 50

      electra tune --preset small --steps 5000 --study small-short

      electra tune --preset mine.yaml --storage postgresql+psycopg://me@host/studies
    """
    from electra_cli.commands.tune import TuneOptions
    from electra_cli.commands.tune import tune as run

    run(
        TuneOptions(
            preset=preset,
            data=data,
            trials=trials,
            steps=steps,
            study=study,
            storage=storage,
            metric=metric,
            pruner=pruner,
            verify_data=verify_data,
        )
    )


@app.command(cls=Command)
def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_DIR...", help="Folders of runs.", autocompletion=completion.runs
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Page to write.  [default: RUN_DIR/loss_curve.html; for several runs here]"
        ),
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Also write a PNG.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Redraw while the log grows, until Ctrl-C.")
    ] = False,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = False,
) -> None:
    """Draw the loss curves of one or several runs as an interactive page.

    Examples:

      electra plot runs/first

      electra plot runs/first --watch --open

      electra plot runs/* --out compare.html --png compare.png
    """
    from electra_cli.commands.plot import PlotOptions
    from electra_cli.commands.plot import plot as run

    run(PlotOptions(runs=runs, out=out, png=png, watch=watch, open_browser=open_browser))


@app.command(cls=Command)
def finetune(
    encoders: Annotated[
        list[str],
        typer.Argument(
            metavar="ENCODER...",
            help="A run (runs/NAME), a checkpoint of one (runs/NAME/checkpoints/step-N), or a "
            "Hugging Face folder or id; several are compared.",
        ),
    ],
    train: Annotated[
        str | None,
        typer.Option(
            help="Labelled examples: a file (.csv .tsv .json .jsonl .conll .parquet .arrow, also "
            ".gz .xz .zst), or a Hugging Face dataset id."
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(help="Examples to score on.  [default: a tenth of the training file]"),
    ] = None,
    test: Annotated[str | None, typer.Option(help="Examples to score on at the end.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="classify, multilabel, regress, tag, qa or glue/NAME.  [default: from the "
            "columns, where they leave no doubt]"
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Official folder of a GLUE task, for glue/NAME.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Column of the text or the words.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="Column of a second text.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the label or the tags.")] = None,
    id: Annotated[str | None, typer.Option(help="Column that names an example.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Column whose values are never split between both sides.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="How many seeds, or which: 5, or 0,1,2.  [default: 1]")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the examples.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak rate of the head.")] = None,
    layer_decay: Annotated[
        float | None, typer.Option(help="Factor of the rate from layer to layer.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples per optimizer step.")] = None,
    max_seq_length: Annotated[int | None, typer.Option(help="Tokens of the longest input.")] = None,
    class_weights: Annotated[
        str | None, typer.Option(help="none, or balanced: rare classes count as much.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="A YAML file with a section finetune:.")
    ] = None,
    run_name: Annotated[
        str | None, typer.Option(help="Name under finetune/.  [default: the file's, and date]")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="finetune.KEY=VALUE", help="Any option; may be repeated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and stop.")
    ] = False,
    max_minutes: MaxMinutes = None,
) -> None:
    """Fine-tune encoders on labelled data, and say what pre-training was worth.

    Each encoder is fine-tuned once per seed, and so is the same network from random weights. The
    report shows every score with its interval, beside simpler predictors.

    Examples:

      electra finetune runs/first --train questions.csv

      electra finetune runs/a runs/b --train train.jsonl --test test.jsonl --seeds 5

      electra finetune runs/first --task glue/CoLA --data glue/CoLA --epochs 5
    """
    from electra_cli.stopping import stop_request

    named = {
        "encoders": encoders,
        "train": train,
        "validation": validation,
        "test": test,
        "task": task,
        "data": data,
        "text": text,
        "text_pair": text_pair,
        "label": label,
        "id": id,
        "group": group,
        "seeds": seeds,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "layer_decay": layer_decay,
        "batch_size": batch_size,
        "max_seq_length": max_seq_length,
        "class_weights": class_weights,
    }
    with stop_request(max_minutes):
        from electra_cli.commands.finetune import FinetuneOptions
        from electra_cli.commands.finetune import finetune as run

        run(
            FinetuneOptions(
                preset=preset,
                options={f"finetune.{n}": v for n, v in named.items() if v is not None},
                assignments=tuple(assignments or ()),
                run_name=run_name,
                dry_run=dry_run,
            )
        )


@app.command(cls=Command)
def status(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN_DIR]...",
            help="Folders of runs.  [default: all under runs/]",
            autocompletion=completion.runs,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how runs are doing: state, steps, time left, held-out losses, newest good checkpoint.

    Examples:

      electra status

      electra status runs/first --json
    """
    from electra_cli.commands.status import status as run

    run(runs or (), as_json)


@app.command(cls=Command)
def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="finetune/NAME, a run (its discriminator), or a Hugging Face folder or id."
        ),
    ],
    file: Annotated[
        str,
        typer.Argument(help="Texts: a file as electra finetune reads it, or .txt with one a line."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="File to write, .csv or .jsonl.  [default: CSV on stdout]")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Column of the text or the words.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="Column of a second text.")] = None,
    id: Annotated[str | None, typer.Option(help="Column that names an example.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Answer a file of texts with a fine-tuned model, or judge it with a discriminator.

    A fine-tuned model gives labels and probabilities. A pre-trained discriminator gives each
    token's probability of being replaced, and a score per text: the higher, the less odd it looks.
    Of a file with columns good and bad it says how often good scores higher.

    Examples:

      electra predict finetune/questions new.csv --out answers.csv

      electra predict runs/first texts.txt --out odd.jsonl
    """
    from electra_cli.stopping import stop_request

    with stop_request():
        from electra_cli.commands.predict import PredictOptions, run

        run(PredictOptions(model, file, out, text, text_pair, id, device))


def limit_spinning() -> None:
    """Let torch's threads spin for microseconds only before they sleep; call before torch loads.

    A thread that spins as long as libgomp's default slows the thread it waits for when another
    process needs the cores: on two busy cores tiny ran at half its speed or less. A thread that
    sleeps at once wakes too slowly for small products: on two free cores small took 15% longer.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _check_paths(arguments: Sequence[str]) -> None:
    """Raise DataError if an argument, what it leads to or the current folder is not UTF-8."""
    for argument in (".", *arguments):
        check_utf8(argument)
        with suppress(OSError, ValueError):  # the command says what is wrong with such a name
            check_utf8(os.path.realpath(argument.rpartition("=")[2]))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the app; show a UserError as a problem and a hint, keep the traceback of a bug.

    The system's errors about a file's name, its permissions or its disk are a user's to fix too,
    wherever they come up. A missing file is not among them: the commands look before they open.
    """
    limit_spinning()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _check_paths(arguments)
        app(args=arguments)
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
    except KeyboardInterrupt:
        raise SystemExit(EXIT_STOPPED) from None
