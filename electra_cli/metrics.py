"""The numbers of a run: plain floats, one row of training_log.csv each.

Loads no torch, so that reading a log is quick. Losses are in nats a token, rates a second,
fractions and accuracies in [0, 1]. None means that there is no such number (no position was
masked, no token was replaced, an objective without that part).
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class StepMetrics:
    """Means over the training tokens since the row before."""

    step: int  # completed optimizer steps
    epoch: float  # passes over the training documents
    tokens_seen: int  # real tokens, special ones included
    train_flops: float  # model FLOPs spent so far
    elapsed_seconds: float  # time spent training so far, over all resumes
    loss: float
    mlm_loss: float | None
    mlm_masked_loss: float | None  # at positions that show [MASK]; the 15% kept are left out
    rtd_loss: float | None
    rtd_constant_loss: float | None  # entropy of replaced_fraction: the best constant predictor
    mlm_accuracy: float | None
    sampled_accuracy: float | None  # share of samples that equal the original token
    replaced_fraction: float | None
    rtd_accuracy: float | None
    rtd_precision: float | None
    rtd_recall: float | None
    word_loss: (
        float | None
    )  # of restoring words in the corrupted text (replace_mlm, all_tokens_mlm)
    word_accuracy: float | None
    learning_rate: float
    grad_norm: float  # of the last step, before clipping
    tokens_per_second: float


@dataclass(frozen=True)
class EvalMetrics:
    """Means over held-out windows whose masks and noise the seed fixes."""

    loss: float
    mlm_loss: float | None
    mlm_masked_loss: float | None
    unigram_entropy: float  # of the training tokens: the loss of knowing frequencies alone
    rtd_loss: float | None
    rtd_constant_loss: float | None
    mlm_accuracy: float | None
    sampled_accuracy: float | None
    replaced_fraction: float | None
    rtd_accuracy: float | None
    rtd_precision: float | None
    rtd_recall: float | None
    word_loss: float | None
    word_accuracy: float | None
    rtd_auc: float | None  # over all tokens
    # Without [CLS] and [SEP], which are never replaced: free true negatives that raise rtd_auc
    # the more, the shorter the windows are (a discriminator that knows nothing else has 0.55
    # with windows of 32 tokens).
    rtd_content_auc: float | None


VALIDATION_PREFIX = "validation_"

LOG_COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(StepMetrics)) + tuple(
    VALIDATION_PREFIX + field.name for field in fields(EvalMetrics)
)


def log_row(step: StepMetrics, validation: EvalMetrics | None) -> dict[str, float | None]:
    """One row of training_log.csv; the validation columns stay empty where none was made."""
    row: dict[str, float | None] = {f.name: getattr(step, f.name) for f in fields(StepMetrics)}
    for field in fields(EvalMetrics):
        value = None if validation is None else getattr(validation, field.name)
        row[VALIDATION_PREFIX + field.name] = value
    return row
