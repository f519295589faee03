"""Memory of a CPU for what a layer needs for a moment, the same for all layers.

Tensors are aligned to 64 bytes, and glibc's malloc (2.36) seldom gives the hole of a freed one to
the next of its size, since small objects settle in what the alignment left over. So tensors made
and freed between those that are kept leave holes: a tenth of the peak of a step of small.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_SPACES: dict[tuple[str, torch.dtype], Tensor] = {}


def workspace(name: str, shape: Sequence[int], like: Tensor) -> Tensor:
    """An uninitialised tensor of the dtype and device of `like`; the next call may overwrite it.

    So no caller keeps it, returns it, or calls another that asks for the same name. GPUs have an
    allocator that has no such holes, and compiled code plans its memory: there it is a new tensor.
    """
    if like.device.type != "cpu" or torch.compiler.is_compiling():
        return like.new_empty(shape)
    size = torch.Size(shape)
    key = (name, like.dtype)
    if key not in _SPACES or _SPACES[key].numel() < size.numel():
        _SPACES[key] = like.new_empty(size.numel())
    return _SPACES[key][: size.numel()].view(size)
