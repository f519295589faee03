"""The training steps that ours is compared with, as their users write them.

Both pad, compute logits for every token, and use torch's AdamW with its default settings.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import ElectraForMaskedLM, ElectraForPreTraining

from benchmarks.batches import CLS_ID, MASK_ID, PAD_ID, SEP_ID, VOCAB_SIZE
from electra_cli.batch import Batch
from electra_cli.config import PretrainConfig
from electra_cli.model.networks import build_electra_configs

IGNORED = -100  # the label that Hugging Face's loss leaves out


class PaddedBatch(NamedTuple):
    """A Batch as rows of equal length, [B, L] each."""

    input_ids: Tensor
    token_type_ids: Tensor
    attention_mask: Tensor
    masked_ids: Tensor  # what the generator reads
    labels: Tensor  # the originals at masked slots, IGNORED elsewhere

    @classmethod
    def of(cls, batch: Batch) -> "PaddedBatch":
        lengths = batch.cu_seqlens.diff().tolist()

        def pad(tensor: Tensor, filler: int = 0) -> Tensor:
            rows = list(torch.split(tensor, lengths))
            return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=filler)

        masked_ids, labels = batch.input_ids.clone(), torch.full_like(batch.input_ids, IGNORED)
        masked_ids[batch.masked_positions] = batch.masked_ids
        labels[batch.masked_positions] = batch.input_ids[batch.masked_positions]
        return cls(
            input_ids=pad(batch.input_ids, PAD_ID),
            token_type_ids=pad(batch.token_type_ids),
            attention_mask=pad(torch.ones_like(batch.input_ids)),
            masked_ids=pad(masked_ids, PAD_ID),
            labels=pad(labels, IGNORED),
        )


class Losses(NamedTuple):
    mlm: Tensor
    rtd: Tensor


class PlainStep:
    """Hugging Face's two models with their own losses."""

    def __init__(self, config: PretrainConfig) -> None:
        generator, discriminator = build_electra_configs(config.model, VOCAB_SIZE, PAD_ID)
        for each in (generator, discriminator):
            each._attn_implementation = "sdpa"  # transformers' default
        self.generator = ElectraForMaskedLM(generator)
        self.discriminator = ElectraForPreTraining(discriminator)
        # The authors share all embeddings.
        self.generator.electra.embeddings = self.discriminator.electra.embeddings
        words = self.discriminator.electra.embeddings.word_embeddings
        self.generator.generator_lm_head.weight = words.weight
        self.networks = nn.ModuleList([self.discriminator, self.generator])
        self._weight = config.objective.discriminator_loss_weight
        decayed = [p for p in self.networks.parameters() if p.ndim > 1]
        others = [p for p in self.networks.parameters() if p.ndim <= 1]
        self._optimizer = torch.optim.AdamW(
            [{"params": decayed}, {"params": others, "weight_decay": 0.0}],
            lr=1e-4,
            eps=1e-6,
            weight_decay=0.01,
        )

    def losses(self, batch: PaddedBatch, corrupted_ids: Tensor | None = None) -> Losses:
        """corrupted_ids [B, L], where given, replace the generator's samples."""
        inputs = {"token_type_ids": batch.token_type_ids, "attention_mask": batch.attention_mask}
        predicted = self.generator(input_ids=batch.masked_ids, labels=batch.labels, **inputs)
        if corrupted_ids is None:
            is_masked = batch.labels != IGNORED
            probabilities = predicted.logits.detach()[is_masked].softmax(-1)
            corrupted_ids = batch.input_ids.clone()
            corrupted_ids[is_masked] = torch.multinomial(probabilities, 1).squeeze(1)
        is_replaced = (corrupted_ids != batch.input_ids).long()
        judged = self.discriminator(input_ids=corrupted_ids, labels=is_replaced, **inputs)
        return Losses(predicted.loss, judged.loss)

    def train(self, batch: PaddedBatch) -> None:
        losses = self.losses(batch)
        (losses.mlm + self._weight * losses.rtd).backward()
        nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()


class _Logits(nn.Module):
    """The interface that the package expects of a network: ids in, logits out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, **inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(input_ids, **inputs).logits
        return logits


class ElectraPytorchStep(PlainStep):
    """The package electra-pytorch (0.1.2) around the same two models; it masks tokens itself."""

    def __init__(self, config: PretrainConfig) -> None:
        from electra_pytorch import Electra

        super().__init__(config)
        self._electra = Electra(
            _Logits(self.generator),
            _Logits(self.discriminator),
            num_tokens=VOCAB_SIZE,
            mask_prob=config.objective.mask_fraction,
            mask_token_id=MASK_ID,
            pad_token_id=PAD_ID,
            mask_ignore_token_ids=[CLS_ID, SEP_ID],
            disc_weight=self._weight,
        )

    def losses(self, batch: PaddedBatch, corrupted_ids: Tensor | None = None) -> Losses:
        if corrupted_ids is not None:
            raise ValueError("the package takes no samples; see chosen_by in training_step.py")
        found = self._electra(
            batch.input_ids,
            token_type_ids=batch.token_type_ids,
            attention_mask=batch.attention_mask,
        )
        return Losses(found.mlm_loss, found.disc_loss)
