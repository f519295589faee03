"""CUDA graphs on a CPU, in obvious code: the operators that ran, run again on the same tensors.

So that what records and replays them can be tested without a GPU: what is baked in, which tensors
must stay, what is left over from the batch before.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class RecordedGraph(TorchDispatchMode):
    """In the place of torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, tree_leaves(found)))
        return found

    def replay(self) -> None:
        """Write into the tensors that the recording wrote into."""
        with torch.no_grad():
            for func, args, kwargs, outputs in self.calls:
                for old, new in zip(outputs, tree_leaves(func(*args, **kwargs)), strict=True):
                    is_new = isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr()
                    if is_new and old.numel():
                        old.copy_(new)


@contextmanager
def record(graph: RecordedGraph, pool: object, capture_error_mode: str) -> Iterator[None]:
    """In the place of torch.cuda.graph."""
    # Compiled code would be compiled anew for what sees its operators.
    with torch.compiler.set_stance("force_eager"), graph:
        yield


@contextmanager
def graphs_on_cpu() -> Iterator[None]:
    """In this context a CPU records and replays graphs."""
    stream = mock.MagicMock()
    with (
        mock.patch.object(torch.cuda, "CUDAGraph", RecordedGraph),
        mock.patch.object(torch.cuda, "graph", record),
        mock.patch.object(torch.cuda, "graph_pool_handle", lambda: None),
        mock.patch.object(torch.cuda, "Stream", lambda device: stream),
        mock.patch.object(torch.cuda, "current_stream", lambda device: stream),
        mock.patch.object(torch.cuda, "stream", lambda stream: nullcontext()),
        mock.patch.object(torch.cuda, "get_rng_state", lambda device: None),
        mock.patch.object(torch.cuda, "set_rng_state", lambda state, device: None),
    ):
        yield
