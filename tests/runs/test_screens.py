"""What a training shows on terminals of 40, 80 and 200 columns, kept as text in tests/screens/.

Make the texts again, after looking at them: PYTHONPATH=. python tests/runs/test_screens.py
"""

import io
from pathlib import Path
from unittest.mock import patch

import pyte
import pytest
from rich.console import Console

from electra_cli import console, live
from electra_cli.live import progress_line
from electra_cli.metrics import StepMetrics
from electra_cli.runs.plan import Plan, show_plan
from electra_cli.runs.progress import TrainingProgress

SCREENS = Path(__file__).parents[1] / "screens"
WIDTHS = (40, 80, 200)

PLAN = Plan(
    main_network="discriminator",
    main_parameters=13_549_057,
    generator_parameters=3_900_000,
    generator_layers=12,
    generator_hidden_size=64,
    num_steps=1_000_000,
    windows_per_step=128,
    windows_per_pass=128,
    tokens_per_step=15_000.0,
    total_tokens=15e9,
    num_epochs=12.34,
    training_flops=2.2e17,
    authors_flops=1.43e17,
    memory_bytes=2_400_000_000,
    available_memory_bytes=25_000_000_000,
    device="cuda:0",
    precision="bf16",
    num_threads=None,
    flops_per_second=1.2e14,
    seconds=19_800.0,
    probes="labelled and pairs every 10,000 steps, 1.2% of the FLOPs",
)
HELD_OUT = {
    "loss": 28.4,
    "mlm_masked_loss": 4.717,
    "unigram_entropy": 5.554,
    "rtd_loss": 0.4737,
    "rtd_constant_loss": 0.5118,
    "rtd_auc": 0.6045,
    "rtd_content_auc": 0.5134,
    "rtd_precision": 0.719,
    "rtd_recall": 0.05631,
    "replaced_fraction": 0.208,
}


def row_at(step: int) -> StepMetrics:
    return StepMetrics(
        step=step,
        epoch=0.1,
        tokens_seen=15_000 * step,
        train_flops=2.2e11 * step,
        elapsed_seconds=step / 10,
        objective={"mlm_loss": 4.341, "rtd_loss": 0.4783, "replaced_fraction": 0.117},
        learning_rate=1e-4,
        grad_norm=1.0,
        tokens_per_second=654_321.0,
    )


def screen_of(width: int) -> str:
    """The terminal in the middle of a run."""
    written = io.StringIO()
    terminal = Console(
        file=written, highlight=False, soft_wrap=True, force_terminal=True, width=width, height=60
    )
    with patch.object(console, "stderr", terminal), patch.object(live, "_can_draw", lambda: True):
        show_plan(PLAN)
        with progress_line("training", total=PLAN.num_steps) as line:
            progress = TrainingProgress(line, PLAN.num_steps)
            progress.show_row(row_at(100), None)
            progress.show_row(row_at(200), HELD_OUT)
            console.warn("no context gain yet at step 200: held-out MLM loss 5.6", "it may come")
            progress.show_step(250)
            line._progress.refresh()
            text = written.getvalue()  # before the bar is taken away
    screen = pyte.Screen(width, 60)
    pyte.Stream(screen).feed(text.replace("\n", "\r\n"))
    return "\n".join(shown.rstrip() for shown in screen.display).rstrip() + "\n"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_training_is_readable_on_every_width(width):
    assert screen_of(width) == (SCREENS / f"{width}.txt").read_text()


if __name__ == "__main__":
    for width in WIDTHS:
        (SCREENS / f"{width}.txt").write_text(screen_of(width))
