"""The training loop of a fine-tune, one job after another, and what is written at the end."""

import shutil
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from electra_cli import console
from electra_cli.data.tokenizer import fingerprint
from electra_cli.disk import as_argument
from electra_cli.errors import NonFiniteError, RunError
from electra_cli.finetuning.outcome import export_model, write_results
from electra_cli.finetuning.session import (
    FinetuneSession,
    Job,
    TrainingRun,
    distinct,
    open_job,
    save_outputs,
    unfinished,
)
from electra_cli.finetuning.summary import show_report
from electra_cli.live import ProgressLine, progress_line
from electra_cli.metrics import log_row
from electra_cli.runs.out_of_memory import hint_at_less_memory, smaller_pass
from electra_cli.runs.trackers import TrackedRun
from electra_cli.runs.tracking import TrackingLogger
from electra_cli.runs.write_errors import explain_write_errors, record_event
from electra_cli.stopping import StopRequest, stop_request
from electra_cli.training.checkpoint import Checkpoint
from electra_cli.training.run_state import RunState


def finetune_to_end(session: FinetuneSession, part: tuple[int, int] | None = None) -> None:
    """Train what is left to train, then score, compare and report.

    `part`, such as (0, 4): of the trainings only every fourth, and no report; other processes
    train the others.
    """
    jobs = distinct(session.jobs)
    total = sum(job.inputs.num_steps for job in jobs)
    root = session.root
    windows = session.config.micro_batch_size or session.config.batch_size
    less = hint_at_less_memory(windows, _less_memory(session))
    with stop_request() as stop, less, explain_write_errors(root.root):
        with progress_line("fine-tuning", total=total) as line:
            progress = FinetuneProgress(line, jobs)
            for job in _own(session, part) if part else unfinished(session.jobs):
                try:
                    train(session, job, progress, stop)
                except NonFiniteError as error:
                    record_event(root, error.step, "stopped", f"{job.name}: {error}")
                    raise RunError(
                        f"{job.name}: the loss or gradient of step {error.step} is not finite",
                        hint="begin again with a lower --learning-rate, or --set "
                        "finetune.precision=fp32",
                    ) from None
        if part:
            return
        report = write_results(session)
    show_report(root.root, report)


def _own(session: FinetuneSession, part: tuple[int, int]) -> list[Job]:
    number, count = part
    return [job for job in distinct(session.jobs)[number::count] if not job.is_done]


def _less_memory(session: FinetuneSession) -> str:
    config = session.config
    smaller = smaller_pass(config.batch_size, config.micro_batch_size or config.batch_size)
    if smaller is None:
        return "begin again with a shorter --max-seq-length"
    resume = f"electra resume {as_argument(session.root.root)}"
    return f"go on with: {resume} --set finetune.micro_batch_size={smaller}"


def train(
    session: FinetuneSession, job: Job, progress: "FinetuneProgress", stop: StopRequest
) -> None:
    """The loop: train a job to its last step, then score and export its model.

    Raises KeyboardInterrupt after a stop request, once all is saved, and NonFiniteError.
    """
    run = open_job(session, job)
    trainer, num_steps = run.trainer, job.inputs.num_steps
    trackers = open_trackers(session, job, trainer.step)
    try:
        while trainer.step < num_steps:
            trainer.train_step(run.batches)
            step, is_last = trainer.step, trainer.step == num_steps
            if step % session.config.log_every == 0 or is_last:
                metrics = trainer.flush(run.batches.epochs)
                row = log_row(metrics, None)
                job.run.append_row(row)
                if trackers:
                    trackers.append_row(row)
                progress.show_loss(metrics.loss)
            progress.show_step(job, step)
            if stop.is_requested and not is_last:
                save(session, run)
                run.checkpoints.wait()
                _end_early(session, job, step, stop)
            if step % session.config.save_every == 0 and not is_last:
                save(session, run)
            run.checkpoints.check()
        network, kind = trainer.model.network, session.data.task.kind
        if job.is_trained and job.seed == session.config.seeds[0]:
            export_model(session, job, network)
        save_outputs(job, network, kind, session.compute)
    finally:
        run.checkpoints.close()
        if trackers:
            trackers.close()
    shutil.rmtree(job.run.checkpoints, ignore_errors=True)  # they are for a resume alone


def open_trackers(session: FinetuneSession, job: Job, step: int) -> TrackingLogger | None:
    """The trackers of finetune.report_to, if it names some, for a job that goes on from a step."""
    if not session.config.report_to:
        return None
    settings = {f"finetune.{name}": value for name, value in settings_of(session).items()}
    encoder = job.inputs.encoder.label
    name = "-".join((session.root.root.name, encoder, job.run.root.name))
    tracked = TrackedRun(job.run, name, settings | {"encoder": encoder, "seed": job.seed})
    trackers = TrackingLogger(session.config.report_to, tracked)
    if step:
        trackers.rewind(step)
    return trackers


def settings_of(session: FinetuneSession) -> dict[str, Any]:
    """All settings as JSON holds them."""
    return session.config.model_dump(mode="json")


def save(session: FinetuneSession, run: TrainingRun) -> None:
    """Begin a checkpoint of the trainer and of the place in the data."""
    state = RunState(
        trainer=run.trainer.state(),
        batches=run.batches.state(),
        log_rows=run.job.run.count_rows(),
        config={"finetune": settings_of(session)},
        tokenizer_sha256=fingerprint(run.job.inputs.encoder.tokenizer),
        data_sha256=session.data_sha256,
    )
    run.checkpoints.save(run.trainer.step, Checkpoint(run.trainer.tensors(), state))


def _end_early(session: FinetuneSession, job: Job, step: int, stop: StopRequest) -> NoReturn:
    """Say why and how to go on, and raise KeyboardInterrupt."""
    how = f"stopped and saved at step {step:,} of {job.name}"
    record_event(session.root, step, "stopped", f"{stop.reason}: {how}")
    console.talk(f"{stop.reason}: {how}")
    console.hint(f"go on with: electra resume {as_argument(session.root.root)}")
    raise KeyboardInterrupt


class FinetuneProgress:
    """One line for all jobs."""

    def __init__(self, line: ProgressLine, jobs: Sequence[Job]) -> None:
        self._line = line
        self._jobs = jobs
        self._loss = ""
        self._done = sum(job.inputs.num_steps for job in jobs if job.is_done)
        self._total = sum(job.inputs.num_steps for job in jobs)
        self._begun: tuple[float, int] | None = None  # (time, steps of all jobs) of the first call
        self._last: Job | None = None

    def show_loss(self, loss: float) -> None:
        """The mean since the last row."""
        self._loss = f" · loss {loss:.4g}"

    def show_step(self, job: Job, step: int) -> None:
        """A step of a job is done."""
        if self._last is not None and self._last is not job:
            self._done += self._last.inputs.num_steps
            self._loss = ""
        self._last = job
        now, done = time.monotonic(), self._done + step
        left = ""
        if self._begun is None:
            self._begun = (now, done)
        elif done > self._begun[1]:
            per_step = (now - self._begun[0]) / (done - self._begun[1])
            left = f" · {console.format_duration((self._total - done) * per_step)} left"
        self._line.update(
            done, f"{job.name}: step {step:,}/{job.inputs.num_steps:,}{left}{self._loss}"
        )
