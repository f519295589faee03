"""docs/scaling.md equals what its script prints, and the script's model is the program's."""

import pytest

from benchmarks.cost_model import (
    ATTENTION_FRACTIONS,
    BF16_FLOPS,
    CHUNK_LAUNCHES,
    COMPILED_BYTES,
    EAGER_BYTES,
    EAGER_LAUNCHES,
    HBM_BYTES_PER_SECOND,
    HBM_FRACTION,
    KEPT_BYTES,
    LAUNCH_SECONDS,
    LOGIT_BYTES,
    MEMORY_BYTES,
    PRODUCT_FRACTION,
    VOCABULARY,
    product_flops,
)
from benchmarks.cost_tables import BEGIN, DOCUMENT, END, PRESETS, PUBLISHED_FRACTIONS, tables
from electra_cli.model.objectives.registry import training_flops
from electra_cli.presets import load_preset

PRODUCTS = ("mm", "addmm", "bmm")
ATTENTION = ("_flash_attention_forward", "_flash_attention_backward")


def test_the_document_is_what_the_script_prints():
    written = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]
    assert written.strip() == tables()


def test_the_assumptions_it_names_are_the_scripts():
    prose = DOCUMENT.read_text().partition(END)[2]
    for assumption in (
        f"{BF16_FLOPS / 1e12:.0f} TFLOP/s bf16",
        f"{HBM_BYTES_PER_SECOND / 1e12:.2f} TB/s; {MEMORY_BYTES / 1e9:.0f} GB",
        f"linear layers | {PRODUCT_FRACTION:.0%} of the peak",
        f"attention | {ATTENTION_FRACTIONS[128]:.0%} of the peak with windows of 128, "
        f"{ATTENTION_FRACTIONS[512]:.0%} with 512",
        f"memory | {HBM_FRACTION:.0%} of the bandwidth",
        f"{LOGIT_BYTES} bytes per logit",
        f"{LAUNCH_SECONDS * 1e6:.0f} µs each",
        f"{EAGER_BYTES[0]} H + {EAGER_BYTES[1]} I bytes per token and layer",
        f"compiled {COMPILED_BYTES[0]} H + {COMPILED_BYTES[1]} I",
    ):
        assert assumption in prose


def test_the_published_shares_are_named():
    prose = DOCUMENT.read_text().partition(END)[2]
    for share in PUBLISHED_FRACTIONS.values():
        assert f"{100 * share:.3g}%" in prose


@pytest.mark.parametrize("preset", PRESETS)
def test_its_flops_are_those_the_program_counts(preset):
    config = load_preset(preset)
    length = config.data.max_seq_length
    counted = training_flops(config, VOCABULARY)
    expected = counted.count(10 * length, 200, 10 * length * length)
    assert sum(product_flops(config, 10 * length, 200).values()) == pytest.approx(expected)


def difference(gpu_steps: dict, key: str, of: str = "layer") -> dict[str, int]:
    """What the second layer or chunk adds, by operation."""
    one, two = gpu_steps[f"one {of}"][key], gpu_steps[f"two {of}s"][key]
    return {name: count - one.get(name, 0) for name, count in two.items()}


@pytest.mark.slow
def test_a_layer_moves_keeps_and_launches_what_the_model_says(gpu_steps):
    """LayerNorm's backward pass reads its two inputs again, for weight and bias: 16 H unseen."""
    tokens, width = gpu_steps["two layers"]["tokens"], gpu_steps["two layers"]["width"]
    moved = difference(gpu_steps, "moved")
    elementwise = sum(n for name, n in moved.items() if name not in PRODUCTS + ATTENTION)
    expected = EAGER_BYTES[0] * width + EAGER_BYTES[1] * 4 * width
    assert elementwise / tokens + 16 * width == pytest.approx(expected, rel=0.05)

    kept = gpu_steps["two layers"]["kept"] - gpu_steps["one layer"]["kept"]
    expected = KEPT_BYTES[0] * width + KEPT_BYTES[1] * 4 * width
    assert kept / tokens == pytest.approx(expected, rel=0.02)

    # One kernel an operation, but two of a LayerNorm's backward pass and three of attention's.
    assert sum(difference(gpu_steps, "kernels").values()) + 4 == EAGER_LAUNCHES


@pytest.mark.slow
def test_a_chunk_of_logits_moves_and_launches_what_the_model_says(gpu_steps):
    """These read a few elements of a row, not all that their tensors have."""
    few = ("gather", "scatter_add_", "searchsorted")
    moved = difference(gpu_steps, "moved", "chunk")
    moved_by_passes = sum(count for name, count in moved.items() if name not in few)
    assert moved_by_passes / gpu_steps["two chunks"]["logits"] == pytest.approx(
        LOGIT_BYTES, rel=0.03
    )
    assert sum(difference(gpu_steps, "kernels", "chunk").values()) == CHUNK_LAUNCHES
