import time

import pytest
from conftest import CPU, tiny_config

from electra_cli.data.prepared import open_data
from electra_cli.errors import DataError
from electra_cli.model.objectives.registry import training_flops
from electra_cli.runs.plan import make_plan, matrix_flops_per_second, measure_run, show_plan
from electra_cli.runs.session import count_model_parameters


def test_a_run_without_data_has_windows_of_full_length():
    config = tiny_config()
    size = measure_run(config, 200, None)
    assert size.tokens_per_step == 8 * 32
    assert size.num_epochs is None
    per_step = training_flops(config, 200).count(256, 38, 256 * 32)
    assert size.total_flops == pytest.approx(6 * per_step)
    assert (size.main_parameters, size.total_parameters) == count_model_parameters(config, 200)
    assert size.authors_flops is not None
    other = tiny_config(objective={"name": "mlm"})
    assert measure_run(other, 200, None).authors_flops is None


def test_a_run_on_data_has_the_windows_there_are(prepared):
    config, data = tiny_config(), open_data(prepared)
    num_windows = data.reader("train", config).num_windows(0)
    size = measure_run(config, data.manifest.vocab_size, data)
    assert size.num_epochs == pytest.approx(6 * 8 / num_windows)
    # [CLS] and [SEP], and in nine of ten windows a second [SEP].
    window_tokens = data.manifest.num_tokens / num_windows + 2.9
    assert size.tokens_per_step == pytest.approx(8 * window_tokens)
    assert 8 < window_tokens < 32
    flops = training_flops(config, data.manifest.vocab_size)
    tokens = round(8 * window_tokens)
    expected = flops.count(tokens, round(8 * window_tokens * 0.15), round(tokens * window_tokens))
    assert size.total_flops == pytest.approx(6 * expected, rel=0.01)
    # An evaluation reads the windows that are held back, at most as many as it may.
    assert size.num_eval_windows == data.reader("validation", config).num_windows(0) < 2048
    few = tiny_config(run={"num_eval_windows": 2})
    assert measure_run(few, data.manifest.vocab_size, data).num_eval_windows == 2
    mixed = tiny_config(data={"replay": f"{prepared}:0.25"})  # of which a quarter is not new text
    epochs = measure_run(mixed, data.manifest.vocab_size, data).num_epochs
    assert epochs == pytest.approx(6 * 8 * 0.75 / num_windows)


def test_less_text_than_a_batch_is_refused(prepared):
    config, data = tiny_config(run={"batch_size": 100_000}), open_data(prepared)
    with pytest.raises(DataError, match="less than one batch of 100000"):
        measure_run(config, data.manifest.vocab_size, data)


@pytest.mark.parametrize(
    ("objective", "generator", "main"),
    [("electra", "2 layers of 16", "discriminator"), ("mlm", "none", "masked_lm")],
)
def test_the_plan_says_what_the_run_is(capsys, objective, generator, main):
    config = tiny_config(objective={"name": objective}, run={"micro_batch_size": 4})
    show_plan(make_plan(config, measure_run(config, 200, None), CPU, flops_per_second=2e9))
    lines = dict(line.split("  ", 2)[1:] for line in shown_lines(capsys.readouterr().err))
    shown = {name.strip(): value.strip() for name, value in lines.items()}
    assert main in shown
    assert generator in shown["generator (not shared)"]
    assert shown["per step"] == "8 windows, 256 tokens"
    assert shown["per forward pass"] == "4 windows"
    assert shown["total tokens"] == "1,536"
    assert shown["steps"] == "6"
    assert shown["epochs"] == "no data yet"
    assert ("as the authors count" in shown["training FLOPs"]) == (objective == "electra")
    assert shown["device"] == "cpu, fp32, threads: 1, steps at 2 GFLOP/s"


def shown_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("  ") and line.strip()]


def test_the_rate_is_that_of_the_measured_products(monkeypatch):
    clock = iter((5.0, 7.0))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert matrix_flops_per_second(CPU) == 4 * 2 * 1_024**3 / 2


def test_the_rate_of_products_is_that_of_a_processor():
    assert 1e8 < matrix_flops_per_second(CPU) < 1e14
