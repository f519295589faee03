"""Checkpoints of the authors' code as networks to start from; TensorFlow is not needed."""

import re
from pathlib import Path

from torch import Tensor
from transformers import ElectraConfig

from electra_cli.errors import RunError
from electra_cli.model.sources import EMBEDDINGS, LAYERS, OUTPUT_BIAS, SourceNetwork, checked
from electra_cli.model.tensor_bundle import read_bundle

# Of their models (get_generator_config in run_pretraining.py); no checkpoint holds it.
HEAD_SIZE = 64
_SKIPPED = re.compile(r"/adam_[mv]$")
_HEADS = ("discriminator_predictions", "generator_predictions")
# The last parts of their names (modeling.py, run_pretraining.py) and of torch's.
_PARTS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "dense_1": "dense_prediction",
}


def open_tensorflow(
    name: str, prefix: Path, num_attention_heads: int | None
) -> tuple[SourceNetwork, SourceNetwork | None]:
    """The discriminator and the generator of a checkpoint.

    `num_attention_heads` are the discriminator's; None: of 64 values each, as in all of theirs and
    in every generator. Raises RunError for damaged files, and for a checkpoint of something else.
    """
    found = {key: t for key, t in read_bundle(prefix).items() if not _SKIPPED.search(key)}
    networks: dict[str, dict[str, Tensor]] = {"electra": {}, "generator": {}}
    left_over = []
    for key, tensor in found.items():
        scope, _, rest = key.partition("/")
        named = _torch_name(rest)
        value = tensor.t().contiguous() if key.endswith("/kernel") else tensor
        if scope in networks:
            networks[scope][f"electra.{named}"] = value
        elif key == "generator_predictions/output_bias":
            networks["generator"][OUTPUT_BIAS] = value
        elif scope in _HEADS:
            owner = "generator" if scope == "generator_predictions" else "electra"
            networks[owner][f"{scope}.{named}"] = value
        else:
            left_over.append(key)
    main, generator = networks.values()
    lacking = {f"{EMBEDDINGS}word_embeddings.weight", f"{LAYERS}layer.0.output.dense.weight"}
    if lacking := lacking - main.keys():
        raise RunError(
            f"{prefix} is no checkpoint of ELECTRA: it lacks {min(lacking)}",
            hint="take one of google-research/electra; others, such as BERT's, have a Hugging Face "
            "version",
        )
    head_size = HEAD_SIZE
    if num_attention_heads is not None:
        head_size = len(main[f"{LAYERS}layer.0.output.dense.bias"]) // num_attention_heads
    source = checked(SourceNetwork(name, _config_of(main, head_size), main, tuple(left_over)))
    if OUTPUT_BIAS not in generator:
        return source, None
    if not any(key.startswith(EMBEDDINGS) for key in generator):  # they share those
        generator |= {key: t for key, t in main.items() if key.startswith(EMBEDDINGS)}
    return source, checked(SourceNetwork(name, _config_of(generator, HEAD_SIZE), generator))


def _torch_name(name: str) -> str:
    parts = [_PARTS.get(part, part) for part in name.split("/")]
    dotted = ".".join(parts)
    if dotted.endswith("_embeddings"):
        dotted += ".weight"
    return re.sub(r"\blayer_(\d+)\b", r"layer.\1", dotted)


def _config_of(weights: dict[str, Tensor], head_size: int) -> ElectraConfig:
    """The sizes that the shapes tell."""
    words = weights[f"{EMBEDDINGS}word_embeddings.weight"]
    inner = weights[f"{LAYERS}layer.0.intermediate.dense.weight"]
    layers = {key.split(".")[3] for key in weights if key.startswith(f"{LAYERS}layer.")}
    return ElectraConfig(
        vocab_size=len(words),
        embedding_size=words.shape[1],
        hidden_size=inner.shape[1],
        intermediate_size=len(inner),
        num_hidden_layers=len(layers),
        num_attention_heads=max(1, inner.shape[1] // head_size),
        max_position_embeddings=len(weights[f"{EMBEDDINGS}position_embeddings.weight"]),
    )
