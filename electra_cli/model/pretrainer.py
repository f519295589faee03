"""ElectraPretrainer: generator, discriminator, what they share, and the two losses."""

# Shapes: T tokens of a packed batch, N masked slots, H hidden size, V vocabulary.

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

from electra_cli.batch import Batch
from electra_cli.config import ModelConfig, ObjectiveConfig
from electra_cli.model.attention import PACKED, PackedLayout
from electra_cli.model.initialization import initialize, set_sinusoids
from electra_cli.model.masked_lm import MaskedLMOutput, masked_lm


class PretrainSums(NamedTuple):
    """Sums over a batch, [] each, without gradient; the counts they are divided by come last."""

    mlm_loss: Tensor  # over all masked slots
    mlm_masked_loss: Tensor  # over the slots that show [MASK]
    mlm_correct: Tensor  # slots whose most probable token is the original
    sampled_correct: Tensor  # slots whose sample is the original
    rtd_loss: Tensor  # over all tokens
    rtd_correct: Tensor  # tokens judged rightly
    rtd_flagged: Tensor  # tokens judged replaced
    rtd_found: Tensor  # replaced tokens judged replaced
    replaced: Tensor  # replaced tokens
    shown_masks: Tensor  # slots that show [MASK]


class PretrainOutput(NamedTuple):
    """One forward pass of both networks."""

    loss: Tensor  # [] what is minimised
    sums: PretrainSums
    rtd_logits: Tensor  # [T] without gradient
    is_replaced: Tensor  # [T] bool


def build_electra_configs(
    model: ModelConfig, vocab_size: int, pad_id: int
) -> tuple[ElectraConfig, ElectraConfig]:
    """Hugging Face's configs of (generator, discriminator)."""
    common: dict[str, Any] = {
        "vocab_size": vocab_size,
        "max_position_embeddings": model.max_position_embeddings,
        "hidden_dropout_prob": model.hidden_dropout_prob,
        "attention_probs_dropout_prob": model.attention_probs_dropout_prob,
        "initializer_range": model.initializer_range,
        "pad_token_id": pad_id,
        "attn_implementation": PACKED,
    }
    discriminator = ElectraConfig(
        **common,
        embedding_size=model.embedding_size,
        hidden_size=model.hidden_size,
        num_hidden_layers=model.num_hidden_layers,
        num_attention_heads=model.num_attention_heads,
        intermediate_size=model.intermediate_size,
    )
    # Embeddings of its own are as wide as the generator (run_pretraining.py:82).
    own_size = model.embedding_size if model.tie_embeddings else model.generator_hidden_size
    generator = ElectraConfig(
        **common,
        embedding_size=own_size,
        hidden_size=model.generator_hidden_size,
        num_hidden_layers=model.generator_layers,
        num_attention_heads=model.generator_heads,
        intermediate_size=model.generator_intermediate_size,
    )
    return generator, discriminator


class ElectraPretrainer(nn.Module):
    """Hugging Face's two models, trained together on packed batches.

    The discriminator comes first, so that shared tensors bear its names in a state dict.
    """

    def __init__(
        self, model: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int
    ) -> None:
        super().__init__()
        generator, discriminator = build_electra_configs(model, vocab_size, pad_id)
        self.objective = objective
        self.discriminator = ElectraForPreTraining(discriminator)
        self.generator = ElectraForMaskedLM(generator)
        if model.tie_encoders:
            self.generator.electra = self.discriminator.electra
        elif model.tie_embeddings:
            # Word, position and segment embeddings and their LayerNorm (modeling.py:187-218).
            self.generator.electra.embeddings = self.discriminator.electra.embeddings
        for encoder in (self.discriminator.electra, self.generator.electra):
            # padding_idx would drop the gradient of [PAD] where the generator samples it.
            encoder.embeddings.word_embeddings.padding_idx = None
        initialize(self, model.initializer_range)
        if model.position_init == "sinusoidal":
            for encoder in (self.discriminator.electra, self.generator.electra):
                set_sinusoids(encoder.embeddings.position_embeddings, model.initializer_range)
        # After the embeddings module was replaced, the head still held the old matrix.
        words = self.generator.electra.embeddings.word_embeddings
        self.generator.generator_lm_head.weight = words.weight

    def enable_gradient_checkpointing(self) -> None:
        """Keep a layer's input alone, and compute the rest again in the backward pass."""
        for model in (self.discriminator, self.generator):
            model.activation_checkpointing_enable()

    def compile_encoders(self) -> None:
        """Compile both encoders, for any number of tokens; the names of weights stay."""
        for model in (self.discriminator, self.generator):
            model.electra.encoder.compile(dynamic=True)

    def forward(self, batch: Batch, num_masked: int, num_tokens: int) -> PretrainOutput:
        """One micro-batch of a step that has num_masked slots and num_tokens tokens in all.

        Both losses are means over the whole step, so the losses of its micro-batches add up.
        """
        layout = PackedLayout.of(batch)
        original_ids = batch.input_ids[batch.masked_positions]
        generated = self._generate(batch, original_ids, layout)
        # The corrupted text starts from the original: the discriminator never sees [MASK]
        # (run_pretraining.py:222).
        corrupted_ids = batch.input_ids.index_put((batch.masked_positions,), generated.sampled_ids)
        # A sample equal to the original counts as original: the token defines the label, not
        # whether the generator touched it (paper, section 2).
        is_replaced = corrupted_ids != batch.input_ids
        logits = self._discriminate(batch, corrupted_ids, layout)
        rtd_loss = functional.binary_cross_entropy_with_logits(
            logits, is_replaced.float(), reduction="sum"
        )
        loss = self.objective.generator_loss_weight / num_masked * generated.loss_sum
        loss = loss + self.objective.discriminator_loss_weight / num_tokens * rtd_loss

        is_flagged = logits.detach() > 0
        shows_mask = batch.masked_ids != original_ids
        sums = PretrainSums(
            mlm_loss=generated.loss_sum.detach(),
            mlm_masked_loss=(generated.losses * shows_mask).sum(),
            mlm_correct=generated.is_correct.sum(),
            sampled_correct=(generated.sampled_ids == original_ids).sum(),
            rtd_loss=rtd_loss.detach(),
            rtd_correct=(is_flagged == is_replaced).sum(),
            rtd_flagged=is_flagged.sum(),
            rtd_found=(is_flagged & is_replaced).sum(),
            replaced=is_replaced.sum(),
            shown_masks=shows_mask.sum(),
        )
        return PretrainOutput(loss, sums, logits.detach(), is_replaced)

    def _generate(self, batch: Batch, original_ids: Tensor, layout: PackedLayout) -> MaskedLMOutput:
        masked_input = batch.input_ids.index_put((batch.masked_positions,), batch.masked_ids)
        hidden = self._encode(self.generator.electra, masked_input, batch, layout)
        # The head works on masked positions alone (run_pretraining.py:264); Hugging Face's own
        # forward makes V logits for every token.
        masked_hidden = self.generator.generator_predictions(hidden[batch.masked_positions])
        head = self.generator.generator_lm_head
        return masked_lm(
            masked_hidden,
            head.weight,
            head.bias,
            original_ids,
            batch.sample_noise,
            self.objective.temperature,
        )

    def _discriminate(self, batch: Batch, corrupted_ids: Tensor, layout: PackedLayout) -> Tensor:
        """Logits [T] in float32, positive where a token looks replaced."""
        hidden = self._encode(self.discriminator.electra, corrupted_ids, batch, layout)
        logits: Tensor = self.discriminator.discriminator_predictions(hidden)
        return logits.float()

    @torch.no_grad()
    def corrupt(self, batch: Batch) -> Tensor:
        """The text [T] that the discriminator reads: samples at the masked positions."""
        original_ids = batch.input_ids[batch.masked_positions]
        generated = self._generate(batch, original_ids, PackedLayout.of(batch))
        return batch.input_ids.index_put((batch.masked_positions,), generated.sampled_ids)

    @torch.no_grad()
    def detect(self, batch: Batch) -> Tensor:
        """Logits [T] of the discriminator for a batch's text as it stands."""
        return self._discriminate(batch, batch.input_ids, PackedLayout.of(batch))

    @staticmethod
    def _encode(
        encoder: nn.Module, input_ids: Tensor, batch: Batch, layout: PackedLayout
    ) -> Tensor:
        """Token ids [T] -> hidden states [T, H]."""
        output = encoder(
            input_ids=input_ids[None],
            token_type_ids=batch.token_type_ids[None],
            position_ids=batch.position_ids[None],
            layout=layout,
        )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden


def count_parameters(module: nn.Module) -> int:
    """Numbers that are trained, shared tensors once."""
    return sum(parameter.numel() for parameter in module.parameters())
