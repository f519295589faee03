from conftest import VOCAB_SIZE, tiny_config, tiny_reader
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from electra_cli.model.flops import training_flops
from electra_cli.model.pretrainer import ElectraPretrainer


def test_the_count_equals_what_torch_counts():
    options = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = tiny_config(model=options)
    model = ElectraPretrainer(config.model, config.objective, VOCAB_SIZE, pad_id=0)
    reader = tiny_reader(config)
    # Windows of one length, so that padded attention computes no more than is counted.
    windows = [b for b in reader.read(0, 0, 60).split(1) if b.num_tokens == 32]
    batch = windows[0]
    # The plain products of attention, since torch does not count the CPU's fused kernel.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(batch, batch.num_masked, batch.num_tokens).loss.backward()
    counted = training_flops(config.model, config.objective, VOCAB_SIZE).count(
        32, batch.num_masked, 32 * 32
    )
    # Nor the in-place product that adds up the gradient of the tied matrix.
    tied_gradient = 2 * batch.num_masked * VOCAB_SIZE * config.model.embedding_size
    assert counter.get_total_flops() + tied_gradient == counted
