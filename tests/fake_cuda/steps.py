"""Train steps on a device that is not there: python tests/fake_cuda/steps.py -> JSON on stdout."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fake_cuda import load_device, make_mode, pretend

if TYPE_CHECKING:
    import torch

OBJECTIVES: dict[str, dict[str, object]] = {
    "electra": {},
    "electra_masked_only": {},
    "mlm": {},
    "replace_mlm": {},
    "all_tokens_mlm": {},
    "uniform_generator": {"name": "electra", "uniform_generator": True},
    "disallow_correct": {"name": "electra", "disallow_correct": True, "temperature": 0.5},
}


def run_step(
    objective: dict[str, object],
    precision: str,
    dropout: float = 0.1,
    gradient_checkpointing: bool = False,
    source: "torch.device | None" = None,
    spoil: Callable[[Any], object] = lambda pretrainer: None,
) -> dict[str, Any]:
    """One step in two micro-batches, then the row of the log; `spoil` is called in it.

    The batch is made for the device `source`, by default for that of the step.
    """
    import torch
    from conftest import VOCAB_SIZE, tiny_config, tiny_reader

    from electra_cli.model.objectives.registry import build_objective
    from electra_cli.presets import with_options
    from electra_cli.runs.training_batches import TrainingBatches
    from electra_cli.training.device import select_compute
    from electra_cli.training.run_state import BatchesState
    from electra_cli.training.trainer import Trainer

    model: dict[str, object] = {
        "num_hidden_layers": 1,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    config = tiny_config(model=model, objective=objective, run={"micro_batch_size": 4})
    device = torch.device("cuda:0")
    batches = TrainingBatches(tiny_reader(config), config, BatchesState(), source or device)
    batch = next(batches)
    batches.close()
    with make_mode() as mode:
        with device:
            pretrainer = build_objective(config.model, config.objective, VOCAB_SIZE, pad_id=0)
        pretrainer.to = lambda device: pretrainer  # it is there; swapping fake weights fails
        if gradient_checkpointing:
            pretrainer.enable_gradient_checkpointing()
        compute = select_compute(
            with_options(config, {"run.device": "cuda:0", "run.precision": precision}, "")
        )
        trainer = Trainer(pretrainer, config, compute)
        mode.syncs.clear()
        mode.ops.clear()
        trainer.train_step(iter([batch]))
        spoil(pretrainer)
        in_step, ops = list(mode.syncs), dict(mode.ops)
        mode.syncs.clear()
        trainer.flush(epoch=0.0)
    products = torch.get_float32_matmul_precision()
    return {"step": in_step, "flush": mode.syncs, "ops": ops, "float32 products": products}


def read_a_number(pretrainer: Any) -> None:
    next(iter(pretrainer.parameters())).grad.sum().item()


def copy_a_number(pretrainer: Any) -> None:
    import torch

    torch.tensor(1.0, device=next(iter(pretrainer.parameters())).device)


def run_flash_attention() -> dict[str, Any]:
    """Which tensors the kernel takes, and what one call with dropout and its backward pass run."""
    import torch

    from electra_cli.model.layers.flash_attention import _capability, can_run_flash_attention
    from electra_cli.model.torch_private import flash_attention

    device = torch.device("cuda:0")
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    with make_mode() as mode:
        takes = {
            f"{name}, head {size}": can_run_flash_attention(device, dtype, size)
            for name, dtype in dtypes.items()
            for size in (8, 60, 64, 256, 264)
        }
        query, key, value = (
            torch.empty(13, 4, 64, dtype=torch.bfloat16, device=device, requires_grad=True)
            for _ in range(3)
        )
        bounds = torch.tensor([0, 6, 13], dtype=torch.int32).to(device)
        mode.ops.clear()
        mixed = flash_attention(query, key, value, bounds, 7, 0.1)
        mixed.sum().backward()
        torch.cuda.get_device_capability = lambda *_: (7, 5)
        _capability.cache_clear()
        takes["fp16, head 64 before Ampere"] = can_run_flash_attention(device, torch.float16, 64)
    shapes = [list(tensor.shape) for tensor in (mixed, query.grad, key.grad, value.grad)]
    return {"takes": takes, "shapes": shapes, "ops": dict(mode.ops)}


def run_layers(num_layers: int, num_tokens: int = 4096, width: int = 64) -> dict[str, Any]:
    """Both passes of a discriminator's encoder in bf16 with dropout, all windows 128 long."""
    import torch
    from transformers import ElectraForPreTraining

    from electra_cli.batch import Batch
    from electra_cli.config import ModelConfig
    from electra_cli.model.networks import adapt_to_packs, build_electra_configs, encode

    model = ModelConfig(
        num_hidden_layers=num_layers,
        hidden_size=width,
        num_attention_heads=1,
        intermediate_size=4 * width,
        embedding_size=width,
    )
    _, config = build_electra_configs(model, vocab_size=100, pad_id=0)
    device = torch.device("cuda:0")
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if num_tokens in tensor.shape:  # no weight
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with make_mode() as mode:
        with device:
            network = ElectraForPreTraining(config).train()
            adapt_to_packs([network])
        ids = torch.zeros(num_tokens, dtype=torch.int64)
        bounds = torch.arange(0, num_tokens + 1, 128, dtype=torch.int32)
        batch = Batch(
            input_ids=ids,
            token_type_ids=ids,
            position_ids=ids,
            cu_seqlens=bounds,
            masked_positions=ids,
            masked_ids=ids,
            sample_noise=ids.float(),
            document_ids=ids[:32],
            max_length=128,
        ).to(device)
        mode.kernels.clear()
        mode.moved.clear()
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cuda", torch.bfloat16),
        ):
            hidden = encode(network, batch.input_ids, batch)
        hidden.sum().backward()
    return {
        "kernels": dict(mode.kernels),
        "moved": dict(mode.moved),
        "kept": sum(kept.values()),
        "tokens": num_tokens,
        "width": width,
    }


def run_chunks(num_chunks: int, vocab_size: int = 30_522, width: int = 64) -> dict[str, Any]:
    """The loss and samples of as many slots as fill so many chunks of logits."""
    import torch

    from electra_cli.model.masked_lm import masked_lm, rows_of_chunk

    device = torch.device("cuda:0")
    with make_mode() as mode:
        weight = torch.empty(vocab_size, width, device=device, requires_grad=True)
        bias = torch.empty(vocab_size, device=device, requires_grad=True)
        rows = rows_of_chunk(weight)
        slots = num_chunks * rows
        hidden = torch.empty(slots, width, device=device, requires_grad=True)
        target_ids = torch.empty(slots, dtype=torch.int64, device=device)
        noise = torch.empty(slots, device=device)
        mode.kernels.clear()
        mode.moved.clear()
        with torch.autocast("cuda", torch.bfloat16):
            masked_lm(hidden, weight, bias, target_ids, noise)
    return {
        "kernels": dict(mode.kernels),
        "moved": dict(mode.moved),
        "logits": rows * vocab_size,
    }


def main() -> None:
    import torch

    results = {}
    for name, options in OBJECTIVES.items():
        results[name] = run_step({"name": name, **options}, "bf16")
    electra: dict[str, object] = {"name": "electra"}
    results["fp32"] = run_step(electra, "fp32")
    results["fp16"] = run_step(electra, "fp16")
    results["no dropout"] = run_step(electra, "bf16", dropout=0)
    results["checkpointing"] = run_step(electra, "bf16", gradient_checkpointing=True)
    results["pageable batch"] = run_step(electra, "bf16", source=torch.device("cpu"))
    results["reads a number"] = run_step(electra, "bf16", spoil=read_a_number)
    results["copies a number"] = run_step(electra, "bf16", spoil=copy_a_number)
    results["one layer"], results["two layers"] = run_layers(1), run_layers(2)
    results["one chunk"], results["two chunks"] = run_chunks(1), run_chunks(2)
    results["flash attention"] = run_flash_attention()
    json.dump(results, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # autograd's threads of a device that is not there do not end in order


if __name__ == "__main__":
    load_device()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    pretend()
    main()
