"""Self-attention over packed sequences of different lengths, for any encoder of transformers.

pack_attention lets an encoder run on a Batch without padding: everything but attention works token
by token, and attention goes to a function that is registered with transformers.
"""

# Shapes: T tokens of a packed batch, B sequences, L longest of them, A heads, D head size, H = A D.

from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, ElectraModel, PreTrainedModel

from electra_cli.batch import PackedTokens
from electra_cli.model.layers.autocast import autocast_dtype
from electra_cli.model.layers.flash_attention import can_run_flash_attention
from electra_cli.model.layers.layer_weights import LayerWeights, layer_weights
from electra_cli.model.layers.padded_attention import GroupedLayout
from electra_cli.model.layers.sdpa_attention import Padding, sdpa_attention
from electra_cli.model.torch_private import flash_attention

# The name of the registered function, an encoder's config.attn_implementation.
PACKED = "packed"

# What transformers hands to some attention functions, and none here computes.
_UNSUPPORTED = ("position_bias", "softcap", "s_aux")


class PackedLayout:
    """How a Batch is packed: made once for all layers, and passed to an encoder as `layout`."""

    def __init__(self, batch: PackedTokens, weights: list[LayerWeights] | None = None) -> None:
        self.weights = weights  # those of the encoder's layers; None: each uses its own
        self.cu_seqlens = batch.cu_seqlens  # [B + 1] int32
        self.max_length = batch.max_length  # L
        self._batch = batch
        self._grouped: dict[int, GroupedLayout] = {}

    @classmethod
    def of(cls, batch: PackedTokens, network: PreTrainedModel) -> "PackedLayout":
        """With the weights of an ELECTRA encoder's layers, where no CPU computes."""
        config, dtype = network.config, autocast_dtype(next(network.parameters()))
        size = config.hidden_size // config.num_attention_heads
        is_electra = isinstance(network, ElectraModel)
        if not is_electra or choose_kernel(batch.input_ids.device, dtype, size) == "groups":
            return cls(batch)
        encoder: Any = network.encoder
        return cls(batch, layer_weights(encoder.layer, dtype))

    @cached_property
    def padding(self) -> Padding:
        """For sdpa_attention."""
        return Padding.of(self._batch)

    def grouped(self, heads: int) -> GroupedLayout:
        """For padded_attention, with so many heads."""
        if heads not in self._grouped:
            self._grouped[heads] = GroupedLayout.of(self._batch, heads)
        return self._grouped[heads]


def pack_attention(network: PreTrainedModel) -> None:
    """Let `network` run on packed batches; parameters stay what they are.

    Its forward pass then takes ids [1, T], position_ids [1, T] as the encoder counts them, and
    layout=PackedLayout(batch). Only attention may mix tokens: MobileBERT and ConvBERT also
    join neighbours before it, across sequences. Raises ValueError if attention is not exchangeable.
    """
    AttentionInterface.register(PACKED, attend_packed)
    network.set_attn_implementation(PACKED)
    if network.config._attn_implementation != PACKED:  # transformers only logs it
        raise ValueError(
            f"{type(network).__name__} does not call transformers' attention interface, so it "
            "cannot run on packed batches"
        )


def attend_packed(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    layout: PackedLayout | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Query [1, A, T, D], key, value [1, heads that divide A, T, D] -> ([1, T, A, D], None).

    The function registered with transformers, called by every attention module. Raises ValueError
    where the result would not be the attention that the module asks for.
    """
    name = type(module).__name__
    if layout is None:
        raise ValueError(f"{name} was given no layout: packed attention needs a PackedLayout")
    if attention_mask is not None:
        raise ValueError(f"{name} was given a mask: packed batches have no padding to mask")
    # As transformers' own function for sdpa decides it.
    if getattr(module, "is_causal", True) if is_causal is None else is_causal:
        raise ValueError(f"{name} is causal: packed attention is for encoders")
    for option in _UNSUPPORTED:
        if rest.get(option) is not None:
            raise ValueError(f"{name} needs {option}, which packed attention does not support")
    query, key, value = (each.squeeze(0).transpose(0, 1) for each in (query, key, value))
    mixed = attend(
        query,
        key,
        value,
        layout,
        dropout,
        scaling,
        # Transformers counts the token itself.
        None if sliding_window is None else sliding_window - 1,
    )
    return mixed[None], None


def choose_kernel(
    device: torch.device, dtype: torch.dtype, head_size: int
) -> Literal["flash", "groups", "sdpa"]:
    """What computes attention on a device, for queries of this dtype.

    "flash" is one kernel for packed sequences, on GPUs in half precision; "groups" pads on CPUs,
    and "sdpa" elsewhere.
    """
    if can_run_flash_attention(device, dtype, head_size):
        return "flash"
    return "groups" if device.type == "cpu" else "sdpa"


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: PackedLayout,
    dropout: float,
    scale: float | None = None,
    window: int | None = None,
) -> Tensor:
    """query [T, A, D], key, value [T, heads that divide A, D] -> [T, A, D].

    A token sees only its own sequence, and there only tokens at most `window` places away.
    """
    if choose_kernel(query.device, query.dtype, query.shape[-1]) == "flash":
        return flash_attention(
            query, key, value, layout.cu_seqlens, layout.max_length, dropout, scale, window
        )
    mixed: Tensor = _pad_and_attend(query, key, value, layout, dropout, scale, window)
    return mixed


# Compiled graphs would differ between batches with and without padding; the layers around this
# function are compiled.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def _pad_and_attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: PackedLayout,
    dropout: float,
    scale: float | None,
    window: int | None,
) -> Tensor:
    return sdpa_attention(query, key, value, layout.padding, dropout, scale, window)
