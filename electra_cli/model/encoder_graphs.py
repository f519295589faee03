"""An encoder's passes as CUDA graphs: the host launches two of them, not hundreds of kernels.

A GPU runs a layer of a small model faster than a host launches its kernels: on an H200 with a slow
host a step of `small` took 63 ms, in which the GPU had 18 ms of work. A graph is recorded for one
number of tokens, so batches are padded to one of a few; what is padded has no gradient.
"""

# Shapes: T tokens of a packed batch, P of a padded one, B sequences, H hidden size.

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from electra_cli.batch import PackedTokens
from electra_cli.model.torch_private import add_all, copy_all

Parameters = Mapping[str, nn.Parameter]  # by their names in the encoder

# Numbers of tokens that graphs are recorded for, at most; half of a step between two of them is
# padding on the average, a 64th of the largest number.
_SIZES = 32
# Rows of a product that a GPU computes together.
_MULTIPLE = 64
# Passes before a recording: libraries allocate and choose kernels in the first ones (torch's
# documentation of CUDA graphs makes 3).
_WARM_UPS = 3


class GraphMemory:
    """Memory that the graphs of a model's networks share, since only one of them is in use."""

    def __init__(self) -> None:
        self.pool: Any = torch.cuda.graph_pool_handle()
        # From a forward pass until its backward pass its activations lie in the pool, and another
        # graph would overwrite them.
        self.is_in_use = False


class EncoderGraphs:
    """Both passes of one network's encoder over packed batches of up to so many windows."""

    def __init__(
        self,
        encoder: nn.Module,
        parameters: Parameters,
        num_windows: int,
        max_length: int,
        memory: GraphMemory,
    ) -> None:
        """`encoder`: a batch of P tokens -> hidden states [P, H]; `parameters`: those that it uses.

        Their gradients must stay the same tensors from the first call on.
        """
        self._encoder, self._parameters = encoder, parameters
        self._num_windows, self._max_length, self._memory = num_windows, max_length, memory
        step = -(-num_windows * max_length // _SIZES)
        self._step = -(-step // _MULTIPLE) * _MULTIPLE
        self._passes: dict[int, _Passes] = {}
        # Only for autograd: without an input that has a gradient there is no backward pass.
        self._anchor = torch.zeros((), requires_grad=True)

    def __deepcopy__(self, memo: object) -> None:
        """A copy of a network has none."""

    def can_run(self, batch: PackedTokens) -> bool:
        """Whether the graphs can take this batch now."""
        is_trained = torch.is_grad_enabled() and not self._memory.is_in_use
        return is_trained and batch.num_sequences <= self._num_windows

    def encode(self, input_ids: Tensor, batch: PackedTokens) -> Tensor:
        """Token ids [T] -> hidden states [T, H], valid until the next call of any graph."""
        size = -(-len(input_ids) // self._step) * self._step
        passes = self._passes.get(size)
        padded = passes.batch if passes else self._padded(size, input_ids.device)
        _fill(padded, input_ids, batch)
        if passes is None:
            passes = _Passes(self._encoder, self._parameters, padded, self._memory)
            self._passes[size] = passes
        hidden: Tensor = _Replay.apply(  # type: ignore[no-untyped-call]
            self._anchor, passes, self._memory, len(input_ids)
        )
        return hidden

    def _padded(self, size: int, device: torch.device) -> PackedTokens:
        """`size` tokens, to be filled in, with bounds for windows and what is padded."""
        num_bounds = self._num_windows + 1 + -(-self._step // self._max_length)
        ids = torch.zeros(size, dtype=torch.int64, device=device)
        return PackedTokens(
            input_ids=ids,
            token_type_ids=torch.zeros_like(ids),
            position_ids=torch.zeros_like(ids),
            cu_seqlens=torch.full((num_bounds,), size, dtype=torch.int32, device=device),
            document_ids=ids[:0],
            max_length=self._max_length,
        )


class _Passes:
    """Two graphs for one number of tokens, and the tensors that they read and write."""

    def __init__(
        self,
        encoder: nn.Module,
        parameters: Parameters,
        batch: PackedTokens,
        memory: GraphMemory,
    ) -> None:
        self.batch = batch
        self._encoder, self._parameters = encoder, parameters
        self.forward_graph, self.backward_graph = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        gradients = [_kept_gradient(parameter) for parameter in parameters.values()]
        device = batch.input_ids.device
        # What is recorded must not depend on how often dropout was drawn before, nor on copies of
        # weights that autocast has kept.
        with torch.random.fork_rng([device]), _autocast_without_copies(device):
            stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    hidden, used = self._run_forward()
                    found = torch.autograd.grad(hidden, used, torch.zeros_like(hidden))
                    add_all([torch.zeros_like(gradient) for gradient in gradients], list(found))
            torch.cuda.current_stream(device).wait_stream(stream)
            del hidden, used, found
            with _recording(self.forward_graph, memory):
                hidden, used = self._run_forward()
            self.grad = torch.zeros_like(hidden)
            with _recording(self.backward_graph, memory):
                add_all(gradients, list(torch.autograd.grad(hidden, used, self.grad)))
        self.hidden = hidden.detach()

    def _run_forward(self) -> tuple[Tensor, list[nn.Parameter]]:
        """Hidden states, and what stands for the parameters in them.

        Autograd computes the gradient of a parameter on the stream on which it was first used,
        which may be that of a loss outside of the graph: to record it would then fail. These have
        the parameters' memory, but a history of their own.
        """
        used = [nn.Parameter(each.detach()) for each in self._parameters.values()]
        by_name: dict[str, Tensor] = dict(zip(self._parameters, used, strict=True))
        hidden: Tensor = functional_call(self._encoder, by_name, (self.batch,))
        return hidden, used


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, anchor: Tensor, passes: _Passes, memory: GraphMemory, num_tokens: int
    ) -> Tensor:
        ctx.passes, ctx.memory, ctx.num_tokens = passes, memory, num_tokens
        memory.is_in_use = True
        passes.forward_graph.replay()
        return passes.hidden[:num_tokens].detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, ...]:
        ctx.passes.grad[: ctx.num_tokens].copy_(grad)
        ctx.passes.grad[ctx.num_tokens :].zero_()
        ctx.passes.backward_graph.replay()
        ctx.memory.is_in_use = False
        return None, None, None, None


def _recording(graph: torch.cuda.CUDAGraph, memory: GraphMemory) -> torch.cuda.graph:
    # Other threads read ahead and save meanwhile, and may ask the driver for memory.
    return torch.cuda.graph(graph, pool=memory.pool, capture_error_mode="thread_local")


def _kept_gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _autocast_without_copies(device: torch.device) -> torch.autocast:
    is_on = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type)
    return torch.autocast(device.type, dtype, enabled=is_on, cache_enabled=False)


def _fill(padded: PackedTokens, input_ids: Tensor, batch: PackedTokens) -> None:
    """Copy a batch of other ids [T] in; what stood behind T before becomes sequences of its own."""
    own, size = len(input_ids), padded.num_tokens
    targets = [x[:own] for x in (padded.input_ids, padded.token_type_ids, padded.position_ids)]
    copy_all(targets, [input_ids, batch.token_type_ids, batch.position_ids])
    num_bounds = len(batch.cu_seqlens)
    padded.cu_seqlens[:num_bounds].copy_(batch.cu_seqlens)
    # None is longer than the longest window, so that the kernel for windows computes all of it.
    rest = padded.cu_seqlens[num_bounds:]
    first, step = own + padded.max_length, padded.max_length
    torch.arange(first, first + step * len(rest), step, out=rest).clamp_(max=size)
