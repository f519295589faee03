"""A network of an exported folder as ONNX, for any batch and length; the only importer of it."""

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from electra_cli.batch import Batch
from electra_cli.errors import ConfigError
from electra_cli.model.export import logit_difference, padded_inputs

ONNX_NAME = "model.onnx"
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")  # onnxscript: torch's exporter needs it
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def require_onnx() -> None:
    """Raise ConfigError if a package that ONNX needs is not installed."""
    for name in _PACKAGES:
        if find_spec(name) is None:
            raise ConfigError(
                f"--onnx needs {name}, which is not installed",
                hint="pip install 'electra-cli[onnx]', or leave --onnx out",
            )


def export_onnx(network: Any, folder: Path, sample: Batch) -> None:
    """Write model.onnx of a network of transformers; then ask onnxruntime on the sample's windows.

    Raises RuntimeError if its logits differ from torch's, on windows alone or padded together.
    """
    import onnxruntime

    plain = _Logits(network).eval()
    batches = [sample, *sample.split(1)]
    padded = [padded_inputs(network, batch) for batch in batches]
    dynamic = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in _INPUTS}
    path = folder / ONNX_NAME
    # It tells of operators of packages that are not here, and of its own deprecations.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                plain,
                (),
                path,
                kwargs=padded[0],
                input_names=list(_INPUTS),
                output_names=["logits"],
                dynamic_shapes=dynamic,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for inputs in padded:
        arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
        found = torch.from_numpy(session.run(["logits"], arrays)[0])
        with torch.no_grad():
            is_real = inputs["attention_mask"].bool()
            difference = logit_difference(plain(**inputs)[is_real], found[is_real])
        if difference is not None:
            raise RuntimeError(f"{path}: logits differ by {difference:.2g} from torch's")


class _Logits(nn.Module):
    """A network that takes three tensors [B, L] and gives one, which is what ONNX knows."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Logits [B, L, ...]."""
        logits: Tensor = self.network(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).logits
        return logits
