"""The settings of a trial's run: as many steps as cost the preset's FLOPs, rows at each share."""

from typing import Any

from electra_cli.config import PretrainConfig
from electra_cli.data.prepared import PreparedData
from electra_cli.presets import with_options
from electra_cli.runs.plan import measure_run
from electra_cli.tuning.space import apply_values
from electra_cli.tuning.study import NUM_SHARES

_ROWS_A_SHARE = 10


def equal_flops_steps(preset: PretrainConfig, draft: PretrainConfig, data: PreparedData) -> int:
    """Steps after which a trial has spent the training FLOPs of the preset, both networks'."""
    vocab_size = data.manifest.vocab_size
    budget = measure_run(preset, vocab_size, data).total_flops
    flops_a_step = measure_run(draft, vocab_size, data).total_flops / draft.run.num_steps
    return max(1, round(budget / flops_a_step))


def trial_config(preset: PretrainConfig, values: dict[str, Any], num_steps: int) -> PretrainConfig:
    """A trial's settings; it evaluates at each share of its FLOPs and saves at its end."""
    config = apply_values(preset, values, num_steps)
    log_every, eval_every = 1, max(1, round(num_steps / NUM_SHARES))
    if eval_every >= _ROWS_A_SHARE**2:
        log_every = round(eval_every / _ROWS_A_SHARE)
        eval_every = log_every * _ROWS_A_SHARE
    rhythm = {
        "run.log_every": log_every,
        "run.eval_every": eval_every,
        "run.save_every": num_steps,
        "run.keep_checkpoints": 1,
        "run.keep_every": None,
        "run.on_nonfinite": "stop",  # a trial that diverges is a failed trial
    }
    return with_options(config, rhythm, "these settings")
