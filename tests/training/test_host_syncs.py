"""Nothing in a train step makes the host wait: counted on a device that is not there.

tests/fake_cuda runs the steps with FakeTensors on "cuda", so that the GPU's branches are walked.
What a kernel of torch does inside is not seen.
"""

import pytest

CASES = (
    "electra",
    "electra_masked_only",
    "mlm",
    "replace_mlm",
    "all_tokens_mlm",
    "uniform_generator",
    "disallow_correct",
    "fp32",
    "fp16",
    "no dropout",
    "checkpointing",
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", CASES)
def test_no_step_waits_and_a_row_of_the_log_waits_once(gpu_steps, case):
    found = gpu_steps[case]
    assert found["ops"]["_fused_adamw_"] == 2  # one a parameter group: the step did run
    assert found["step"] == []
    assert found["flush"] == ["device to host"]


def test_a_number_that_is_read_in_a_step_is_counted(gpu_steps):
    assert gpu_steps["reads a number"]["step"] == ["a number is read"]


def test_a_blocking_copy_in_a_step_is_counted(gpu_steps):
    assert gpu_steps["copies a number"]["step"] == ["host to device, blocking"]


def test_copies_from_memory_that_is_not_pinned_are_counted(gpu_steps):
    tensors = 8  # of a Batch, in each of two micro-batches
    assert gpu_steps["pageable batch"]["step"] == ["host to device, blocking"] * 2 * tensors


def test_fp16_scales_its_gradients_on_the_device(gpu_steps):
    scaled = "_amp_foreach_non_finite_check_and_unscale_"
    assert gpu_steps["fp16"]["ops"][scaled] > 0
    assert gpu_steps["fp16"]["ops"]["_amp_update_scale_"] == 1
    assert scaled not in gpu_steps["electra"]["ops"]


def test_products_that_stay_float32_are_exact_only_where_all_are(gpu_steps):
    found = {case: gpu_steps[case]["float32 products"] for case in ("fp32", "fp16", "electra")}
    assert found == {"fp32": "highest", "fp16": "high", "electra": "high"}


def test_the_flash_kernel_takes_what_it_can(gpu_steps):
    takes = gpu_steps["flash attention"]["takes"]
    assert takes["bf16, head 64"] and takes["fp16, head 8"] and takes["bf16, head 256"]
    assert not takes["fp32, head 64"]
    assert not takes["bf16, head 60"] and not takes["bf16, head 264"]
    assert not takes["fp16, head 64 before Ampere"]


def test_flash_attention_is_one_operator_each_way(gpu_steps):
    found = gpu_steps["flash attention"]
    assert found["shapes"] == [[13, 4, 64]] * 4  # the result, and three gradients
    assert found["ops"]["_flash_attention_forward"] == 1
    assert found["ops"]["_flash_attention_backward"] == 1


@pytest.mark.parametrize("case", ["electra", "no dropout", "fp16"])
def test_half_precision_attention_is_never_padded(gpu_steps, case):
    ops = gpu_steps[case]["ops"]
    assert ops["_flash_attention_forward"] == 4  # a layer of both networks, in two micro-batches
    assert "bmm" not in ops
