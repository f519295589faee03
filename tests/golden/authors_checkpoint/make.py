"""The recorded weights as a checkpoint of TensorFlow, under the authors' names.

Needs TensorFlow, which the suite does not: python make.py ../authors_steps.npz
"""

import re
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent
PREFIX = "params/init/"


def their_name(name: str) -> str:
    """Of a weight in google-research/electra (modeling.py, run_pretraining.py)."""
    network, _, rest = name.partition(".")
    rest = rest.replace("generator_lm_head.bias", "generator_predictions.output_bias")
    scope = "generator." if network == "generator" else "electra."
    rest = re.sub(r"^electra\.", scope, rest)
    rest = re.sub(r"\.layer\.(\d+)\.", r".layer_\1.", rest).replace("dense_prediction", "dense_1")
    rest = re.sub(r"_embeddings\.weight$", "_embeddings", rest)
    is_norm = ".LayerNorm." in rest
    rest = re.sub(r"\.weight$", ".gamma" if is_norm else ".kernel", rest)
    return re.sub(r"\.bias$", ".beta" if is_norm else ".bias", rest).replace(".", "/")


def main(recorded: str) -> None:
    arrays = dict(np.load(recorded))
    named = {}
    for key, value in arrays.items():
        if key.startswith(PREFIX):
            name = their_name(key.removeprefix(PREFIX))
            named[name] = value.T if name.endswith("/kernel") else value
    # What a checkpoint of theirs has beside the weights.
    first = min(named)
    named |= {f"{first}/adam_{moment}": np.zeros_like(named[first]) for moment in "mv"}
    named["global_step"] = np.int64(0)
    tf.raw_ops.SaveV2(
        prefix=str(HERE / "model.ckpt-0"),
        tensor_names=list(named),
        shape_and_slices=[""] * len(named),
        tensors=[tf.constant(value) for value in named.values()],
    )
    (HERE / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-0"\n')


if __name__ == "__main__":
    main(sys.argv[1])
