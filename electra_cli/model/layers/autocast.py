"""What autocast does for torch's own products, for those inside of our operations."""

import torch
from torch import Tensor


def product_dtype(x: Tensor) -> torch.dtype:
    """What a product with x runs in: autocast's precision where that is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
