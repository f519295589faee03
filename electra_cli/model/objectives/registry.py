"""Which pretrainer an objective is."""

from electra_cli.config import ModelConfig, ObjectiveConfig, ObjectiveName
from electra_cli.model.objectives.electra import ElectraPretrainer, Pretrainer
from electra_cli.model.objectives.words import MaskedLMPretrainer, WordPretrainer

_PRETRAINERS: dict[
    ObjectiveName, type[ElectraPretrainer] | type[MaskedLMPretrainer] | type[WordPretrainer]
] = {
    "electra": ElectraPretrainer,
    "electra_masked_only": ElectraPretrainer,
    "mlm": MaskedLMPretrainer,
    "replace_mlm": WordPretrainer,
    "all_tokens_mlm": WordPretrainer,
}


def build_pretrainer(
    model: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int
) -> Pretrainer:
    """The networks of `objective.name` with initial weights from torch's global generator."""
    return _PRETRAINERS[objective.name](model, objective, vocab_size, pad_id)
