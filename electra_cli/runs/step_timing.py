"""How fast this machine makes the steps of a run: measured on steps of the run itself."""

import statistics
import time

import numpy as np
import torch

from electra_cli.config import PretrainConfig
from electra_cli.data.batches import TokenRoles, WindowReader
from electra_cli.data.prepared import PreparedData
from electra_cli.data.shards import TokenShards
from electra_cli.model.objectives.objective import Objective
from electra_cli.runs.out_of_memory import is_out_of_memory
from electra_cli.runs.session import build_model, count_model_parameters
from electra_cli.schedule import last_value
from electra_cli.training.device import Compute
from electra_cli.training.trainer import Trainer

# A dry run shall not take much longer than loading torch.
_MOST_SECONDS = 3.0
_ENOUGH_SAMPLES = 20
# Of a large model a few layers are timed: to make all of them takes longer than the measurement.
_LARGE_PARAMETERS = 50_000_000
_TIMED_LAYERS = 4


def measure_flops_per_second(
    config: PretrainConfig, vocab_size: int, data: PreparedData | None, compute: Compute
) -> float | None:
    """FLOPs per second of whole steps, updates included, with weights that are thrown away.

    None where not even one window fits into memory.

    Begins with one window and doubles up to a step's windows, as far as seconds allow. Leaves the
    random state to whoever builds a model next, since build_model sets it.
    """
    if count_model_parameters(config, vocab_size)[1] > _LARGE_PARAMETERS:
        layers = min(_TIMED_LAYERS, config.model.num_hidden_layers)
        model_config = config.model.model_copy(update={"num_hidden_layers": layers})
        config = config.model_copy(update={"model": model_config})
    # Weights that stay as they are cannot become infinite.
    optim = config.optim.model_copy(update={"learning_rate": 0.0})
    # Both networks, though the generator may train alone at first.
    objective = config.objective.model_copy(update={"discriminator_start_step": 0})
    config = config.model_copy(update={"optim": optim, "objective": objective})
    reader = _stand_in(config, vocab_size) if data is None else data.reader("train", config)
    model = build_model(config, vocab_size, pad_id=0 if data is None else data.pad_id)
    if config.run.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    trainer = Trainer(model, config, compute)
    samples = _time_doubling_steps(trainer, reader, config.run.batch_size)
    del trainer, model
    if compute.device.type == "cuda":
        torch.cuda.empty_cache()
    return statistics.median(samples[1:] or samples) if samples else None


def _time_doubling_steps(
    trainer: Trainer[Objective], reader: WindowReader, most_windows: int
) -> list[float]:
    """FLOPs per second of each step of the largest size; the first of a size takes new memory."""
    started, num_windows, flops_before = time.perf_counter(), 1, 0.0
    samples: dict[int, list[float]] = {}  # by size
    while True:
        began = time.perf_counter()
        trainer.step = 0  # a short run has too few for this
        try:
            trainer.train_step(iter([reader.read(0, 0, num_windows)]))
            flops = trainer.flush(0.0).train_flops  # waits for the device
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            break  # the run itself says what to do about it
        seconds = time.perf_counter() - began
        rate, flops_before = (flops - flops_before) / seconds, flops
        left = _MOST_SECONDS - (began + seconds - started)
        samples.setdefault(num_windows, []).append(rate)
        if num_windows < most_windows and 4 * seconds < left:  # two steps of the next size
            num_windows = min(2 * num_windows, most_windows)
        elif seconds > left or len(samples[num_windows]) == _ENOUGH_SAMPLES:
            break
    return samples[max(samples)] if samples else []


def _stand_in(config: PretrainConfig, vocab_size: int) -> WindowReader:
    """Windows of full length for a plan without data: one long document of random tokens."""
    num_tokens = config.run.batch_size * config.data.max_seq_length
    ids = np.random.default_rng(0).integers(0, vocab_size, num_tokens, dtype=np.uint32)
    tokens = TokenShards([(ids, np.array([0, num_tokens], dtype=np.int32))])
    roles = TokenRoles(cls_id=0, sep_id=1, mask_id=2, begins_word=np.ones(vocab_size, dtype=bool))
    mask_fraction = last_value(config.objective.mask_fraction)
    return WindowReader(tokens, roles, config.data, mask_fraction, seed=0)
