"""Is the run healthy? Warnings with what to do about them, each at most once per run.

Each rule is a pure function of what the log holds; HealthMonitor remembers which warnings were
issued, also over resumes. The figures that the limits come from are those of published runs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from electra_cli.config import PretrainConfig
from electra_cli.data.report import MAX_LOST_FRACTION
from electra_cli.errors import RunError
from electra_cli.metrics import UNIGRAM_ENTROPY, Metrics, StepMetrics
from electra_cli.run_directory import RunDirectory
from electra_cli.run_events import read_events

# A held-out loss on [MASK] this close to the unigram entropy (nats) means that the generator knows
# word frequencies alone. A run that has left this plateau gains more within a few hundred steps.
_PLATEAU_GAIN = 0.05
# The plateau is worth a warning after a tenth of the run, but not within 1,000 steps, or a third of
# a shorter run: the preset tiny leaves it at 500 to 700 of its 3,000 steps.
_PLATEAU_FRACTION, _PLATEAU_STEPS, _SHORT_RUN_FRACTION = 0.1, 1_000, 1 / 3
# At most this AUC on content tokens: the discriminator can tell only [CLS] and [SEP].
_CHANCE_AUC = 0.505
# An encoder that was a discriminator alone, and ends below this, is worse to fine-tune than random
# weights: its last layers keep little but one answer (docs/study.md).
_WEAK_AUC, _WEAK_FRACTION = 0.6, 2 / 3
# So is one that has read this many tokens or fewer (docs/study.md: 4 layers of 128, 3M and 12M).
_FEW_TOKENS = 12e6
_FEWEST_REPLACED = 0.03  # the authors' healthy run replaces 6% (google-research/electra issue 49)
_MOST_EPOCHS = 40  # BERT read its corpus 40 times (Devlin et al. 2019, appendix A.2)
_RISES = 2  # consecutive held-out evaluations above the best one: a single one may be chance


@dataclass(frozen=True)
class HealthWarning:
    """Something to look at that stops nothing."""

    key: str  # which rule: each warns once per run
    problem: str
    hint: str


@dataclass(frozen=True)
class Evaluation:
    """What the rules see: a held-out evaluation and the training figures beside it."""

    step: int
    training_loss: float
    validation_loss: float


def warnings_before_training(
    config: PretrainConfig,
    num_tokens: float,
    num_epochs: float | None,
    unknown_fraction: float | None,
) -> Iterator[HealthWarning]:
    """Warnings that need no training, of a run that reads `num_tokens`.

    The last two are None where there is no data yet.
    """
    num_steps, num_warmup = config.run.num_steps, config.optim.num_warmup_steps
    if num_warmup >= num_steps:
        yield HealthWarning(
            "warmup",
            f"the warm-up of {num_warmup:,} steps does not end within {num_steps:,} steps",
            f"--set optim.num_warmup_steps={num_steps // 10}",
        )
    if num_epochs is not None and num_epochs > _MOST_EPOCHS:
        yield HealthWarning(
            "epochs",
            f"the run reads its corpus {num_epochs:,.0f} times; beyond {_MOST_EPOCHS} it mostly "
            "memorises it",
            f"fewer steps (--steps {int(num_steps * _MOST_EPOCHS / num_epochs)}), more text, or "
            "a smaller --preset",
        )
    if _learns_rtd_alone(config) and not config.model.starts_trained and num_tokens <= _FEW_TOKENS:
        yield HealthWarning(
            "few_tokens",
            f"the run reads {num_tokens / 1e6:.1f}M tokens; after {_FEW_TOKENS / 1e6:.0f}M or "
            "fewer, a discriminator fine-tuned worse than random weights",
            "to get an encoder, not only to try the program: more --steps, --set "
            "objective.name=mlm, or tied encoders (as --preset mini)",
        )
    if unknown_fraction is not None and unknown_fraction > MAX_LOST_FRACTION:
        yield HealthWarning(
            "unknown",
            f"[UNK] stands for {unknown_fraction:.1%} of the text: the tokenizer does not fit it",
            "prepare the text without --tokenizer, so that word pieces are learned from it, or "
            "with a larger --vocab-size",
        )


def _learns_rtd_alone(config: PretrainConfig) -> bool:
    """Whether nothing but replaced tokens teaches the encoder."""
    return config.objective.name == "electra" and not config.model.tie_encoders


def _is_early(config: PretrainConfig, step: int) -> bool:
    """Whether a healthy run may still be on the plateau, and its discriminator at chance."""
    num_steps = config.run.num_steps
    shortest = min(_PLATEAU_STEPS, _SHORT_RUN_FRACTION * num_steps)
    return step < max(_PLATEAU_FRACTION * num_steps, shortest)


def _plateau(config: PretrainConfig, step: int, held_out: Metrics) -> HealthWarning | None:
    loss, unigram = held_out.get("mlm_masked_loss"), held_out[UNIGRAM_ENTROPY]
    if loss is None or unigram is None or _is_early(config, step):
        return None
    if unigram - loss >= _PLATEAU_GAIN:
        return None
    return HealthWarning(
        "plateau",
        f"no context gain yet at step {step:,}: held-out MLM loss on [MASK] {loss:.3f}, "
        f"unigram entropy {unigram:.3f} (the generator knows frequencies alone)",
        "it may still come; if not within a third of the run, start again with more masked tokens "
        "per step (--batch-size, objective.mask_fraction), shorter windows or a smaller vocabulary",
    )


def _chance(config: PretrainConfig, step: int, held_out: Metrics) -> HealthWarning | None:
    loss, constant = held_out.get("rtd_loss"), held_out.get("rtd_constant_loss")
    if loss is None or constant is None:
        return None
    if step < config.optim.num_warmup_steps or _is_early(config, step):
        return None
    auc = held_out.get("rtd_content_auc")
    # [CLS] and [SEP] are never replaced, so a discriminator that knows nothing else passes by loss.
    if loss < constant and (auc is None or auc > _CHANCE_AUC):
        return None
    ranking = "" if auc is None else f", AUC on content tokens {auc:.3f}"
    return HealthWarning(
        "chance",
        f"the discriminator is no better than a constant predictor at step {step:,}: "
        f"held-out RTD loss {loss:.4f}, constant {constant:.4f}{ranking}",
        "wait until the generator gains from context; if it does already, try another "
        "--learning-rate or objective.discriminator_loss_weight",
    )


def _weak(config: PretrainConfig, step: int, held_out: Metrics) -> HealthWarning | None:
    auc = held_out.get("rtd_content_auc")
    if auc is None or not _learns_rtd_alone(config):
        return None
    if step < _WEAK_FRACTION * config.run.num_steps or not _CHANCE_AUC < auc < _WEAK_AUC:
        return None
    return HealthWarning(
        "weak",
        f"the discriminator knows little at step {step:,} of {config.run.num_steps:,}: AUC on "
        f"content tokens {auc:.3f}; below {_WEAK_AUC} it fine-tunes worse than random weights",
        "train much longer, tie the encoders (as --preset mini), start from a masked language "
        "model (--init-from RUN --generator RUN), or --set objective.name=mlm; and fine-tune with "
        "finetune.layers=1",
    )


def _few_replaced(config: PretrainConfig, step: int, held_out: Metrics) -> HealthWarning | None:
    replaced, accuracy = held_out.get("replaced_fraction"), held_out.get("sampled_accuracy")
    if replaced is None or accuracy is None or replaced >= _FEWEST_REPLACED:
        return None
    return HealthWarning(
        "few_replaced",
        f"only {replaced:.1%} of held-out tokens are replaced at step {step:,}: "
        f"{accuracy:.0%} of the generator's samples are right",
        "a smaller generator (model.generator_width), a higher objective.mask_fraction, or "
        "objective.disallow_correct=true leaves more to find",
    )


_RULES: tuple[Callable[[PretrainConfig, int, Metrics], HealthWarning | None], ...] = (
    _plateau,
    _chance,
    _weak,
    _few_replaced,
)


def find_overfitting(evaluations: list[Evaluation]) -> HealthWarning | None:
    """Held-out loss above its best in the last evaluations, while the training loss fell."""
    if len(evaluations) <= _RISES:
        return None
    best = min(evaluations, key=lambda evaluation: evaluation.validation_loss)
    recent = evaluations[-_RISES:]
    is_rising = all(
        evaluation.training_loss < best.training_loss
        and evaluation.validation_loss > before.validation_loss
        for before, evaluation in zip(evaluations[-_RISES - 1 :], recent, strict=False)
    )
    if not is_rising:
        return None
    return HealthWarning(
        "overfitting",
        f"held-out loss rises while training loss falls: {best.validation_loss:.4g} at step "
        f"{best.step:,}, {recent[-1].validation_loss:.4g} at step {recent[-1].step:,}",
        "the corpus is small for this model: stop here, add text, or take a smaller --preset",
    )


def _read_evaluations(run: RunDirectory) -> Iterator[Evaluation]:
    try:
        log = run.read_log()
    except RunError:  # no log, or none of its rows is left: the run begins
        return
    columns = (log.get(name, ()) for name in ("step", "loss", "validation_loss"))
    for step, loss, validation in zip(*columns, strict=False):
        if step is not None and loss is not None and validation is not None:
            yield Evaluation(int(step), loss, validation)


class HealthMonitor:
    """Checks every held-out evaluation of a run."""

    def __init__(self, config: PretrainConfig, run: RunDirectory) -> None:
        """`run` may already have a log and events: a resumed run."""
        self._config = config
        self._raised = {event.key for event in read_events(run.events)}
        self._evaluations = list(_read_evaluations(run))

    def check(self, metrics: StepMetrics, held_out: Metrics) -> list[HealthWarning]:
        """The warnings that were not raised before."""
        loss = held_out["loss"]
        assert loss is not None
        self._evaluations.append(Evaluation(metrics.step, metrics.loss, loss))
        found = [rule(self._config, metrics.step, held_out) for rule in _RULES]
        found.append(find_overfitting(self._evaluations))
        new = [w for w in found if w is not None and w.key not in self._raised]
        self._raised.update(warning.key for warning in new)
        return new

    def rewind(self, step: int) -> None:
        """Forget the evaluations after `step`; warnings were issued all the same."""
        self._evaluations = [known for known in self._evaluations if known.step <= step]
