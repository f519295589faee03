import torch

from electra_cli.model.layers.scratch import scratch_buffer


def test_the_same_memory_serves_one_layer_after_another():
    like = torch.zeros(1)
    first = scratch_buffer("test", (3, 4), like)
    second = scratch_buffer("test", (2, 5), like)
    assert (first.shape, second.shape) == ((3, 4), (2, 5))
    assert second.is_contiguous()
    assert first.data_ptr() == second.data_ptr()
    assert scratch_buffer("another", (3, 4), like).data_ptr() != first.data_ptr()


def test_it_grows_and_every_precision_has_its_own():
    like = torch.zeros(1)
    small = scratch_buffer("growing", (4,), like).fill_(1)
    assert scratch_buffer("growing", (5,), like).shape == (5,)
    half = scratch_buffer("growing", (4,), like.bfloat16())
    assert half.dtype == torch.bfloat16
    half.fill_(2)
    assert scratch_buffer("growing", (4,), like).data_ptr() != half.data_ptr()
    assert small.tolist() == [1] * 4


def test_other_devices_get_a_new_tensor():
    like = torch.zeros(1, device="meta")
    first, second = (scratch_buffer("test", (3, 4), like) for _ in range(2))
    assert first is not second
    assert first.device.type == "meta"
