"""Encoders of several families on packed batches, against themselves on padded ones."""

import copy
from collections.abc import Callable

import pytest
import torch
from conftest import VOCAB_SIZE, tiny_config, tiny_reader
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    EuroBertConfig,
    EuroBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from electra_cli.batch import Batch
from electra_cli.model.layers import attention
from electra_cli.model.layers.attention import PackedLayout, pack_attention

SIZES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
NO_SPECIAL_IDS = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"))
FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "albert": lambda: AlbertModel(AlbertConfig(**SIZES, embedding_size=16)),
    "bert": lambda: BertModel(BertConfig(**SIZES)),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(
            vocab_size=VOCAB_SIZE, dim=32, hidden_dim=48, n_layers=3, n_heads=4, pad_token_id=0
        )
    ),
    "electra": lambda: ElectraModel(ElectraConfig(**SIZES, embedding_size=16)),
    # Fewer keys and values than queries.
    "eurobert": lambda: EuroBertModel(
        EuroBertConfig(
            **SIZES, bos_token_id=None, eos_token_id=None, mask_token_id=4, num_key_value_heads=2
        )
    ),
    # Two layers of three see 4 places to each side.
    "modernbert": lambda: ModernBertModel(
        ModernBertConfig(**SIZES, **NO_SPECIAL_IDS, local_attention=8, global_attn_every_n_layers=3)
    ),
    "roberta": lambda: RobertaModel(RobertaConfig(**SIZES)),
}
FIRST_POSITIONS = {"roberta": 1}  # it counts from pad_token_id + 1


@pytest.fixture
def batch() -> Batch:
    return tiny_reader(tiny_config()).read(0, 0, 9)


def build(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    for module in model.modules():
        if isinstance(module, nn.Linear):  # wide enough for attention to matter
            nn.init.normal_(module.weight, std=0.3)
    return model


def run_padded(model: PreTrainedModel, batch: Batch) -> Tensor:
    lengths = batch.cu_seqlens.diff().tolist()
    rows = nn.utils.rnn.pad_sequence(torch.split(batch.input_ids, lengths), batch_first=True)
    is_real = torch.arange(rows.shape[1]) < torch.tensor(lengths)[:, None]
    output = model(input_ids=rows, attention_mask=is_real.long())
    return output.last_hidden_state[is_real]


def run_packed(model: PreTrainedModel, batch: Batch, first_position: int = 0) -> Tensor:
    output = model(
        input_ids=batch.input_ids[None],
        position_ids=batch.position_ids[None] + first_position,
        layout=PackedLayout(batch),
    )
    return output.last_hidden_state[0]


# tests/flash_kernels.py takes as many keys as queries.
WITHOUT_FLASH = ("eurobert",)


@pytest.mark.parametrize(
    ("family", "kernel"),
    [(name, "as chosen") for name in FAMILIES]
    + [(name, "flash") for name in FAMILIES if name not in WITHOUT_FLASH]
    + [("electra", "sdpa")],
)
def test_packed_equals_padded(batch, cpu_kernels, monkeypatch, family, kernel):
    """Flash attention is tests/flash_kernels.py here, so what is tested is what it is given."""
    if kernel != "as chosen":
        monkeypatch.setattr(attention, "choose_kernel", lambda *_: kernel)
    padded = build(family)
    packed = copy.deepcopy(padded)
    pack_attention(packed)
    expected = run_padded(padded, batch)
    found = run_packed(packed, batch, FIRST_POSITIONS.get(family, 0))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    weight = torch.randn(expected.shape)
    (expected * weight).sum().backward()
    (found * weight).sum().backward()
    wanted = dict(padded.named_parameters())
    for name, parameter in packed.named_parameters():
        if wanted[name].grad is not None:
            scale = wanted[name].grad.abs().max().item()
            difference = (parameter.grad - wanted[name].grad).abs().max().item()
            assert difference <= 1e-4 * scale + 1e-4, name


def test_a_sequence_does_not_see_another(batch):
    model = build("modernbert")
    pack_attention(model)
    before = run_packed(model, batch)
    first = int(batch.cu_seqlens[1])
    batch.input_ids[first:] = 7
    after = run_packed(model, batch)
    torch.testing.assert_close(after[:first], before[:first])
    assert (after[first:] - before[first:]).abs().max() > 0.1


def test_an_encoder_with_its_own_attention_is_refused():
    with pytest.raises(ValueError, match="MPNetModel does not call"):
        pack_attention(MPNetModel(MPNetConfig(**SIZES)))


def test_padded_windows_are_refused_once_attention_is_packed(batch):
    model = build("bert")
    pack_attention(model)
    with pytest.raises(ValueError, match="BertSelfAttention was given no layout"):
        run_padded(model, batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention_mask": torch.ones(1, 1, 1, 1)}, "mask"),
        ({"attention_mask": None, "is_causal": True}, "causal"),
        ({"attention_mask": None, "softcap": 30.0}, "softcap"),
    ],
)
def test_attention_that_it_does_not_compute_is_refused(batch, options, message):
    module = nn.Module()
    module.is_causal = False
    rows = [torch.zeros(1, 4, batch.num_tokens, 8)] * 3
    with pytest.raises(ValueError, match=message):
        attention.attend_packed(module, *rows, layout=PackedLayout(batch), **options)
