from electra_cli.metrics import StepMetrics
from electra_cli.runs.progress import TrainingProgress, describe_evaluation

OWN = {"loss": 8.0, "mlm_loss": 3.25, "rtd_loss": 0.25, "replaced_fraction": 0.125}


class Line:
    def __init__(self) -> None:
        self.shown: list[tuple[float, str]] = []

    def update(self, completed: float, text: str) -> None:
        self.shown.append((completed, text))


def row(step: int, seconds: float) -> StepMetrics:
    return StepMetrics(step, 0.5, 1_000, 4e9, seconds, OWN, 1e-4, 2.0, 5_000.0)


def test_the_line_has_steps_figures_and_the_time_left():
    line = Line()
    progress = TrainingProgress(line, 1_000)
    progress.show_step(1)
    progress.show_row(row(10, 20.0), None)
    progress.show_step(10)
    progress.show_row(row(20, 70.0), None)
    progress.show_step(20)
    figures = " · mlm 3.25 · rtd 0.25 · 5,000 tokens/s · 12.5% replaced · 20 GFLOP/s"
    assert line.shown == [
        (1, "1/1,000"),
        (10, f"10/1,000{figures}"),
        (20, f"20/1,000 · 82 min left{figures}"),  # 980 steps of 5 s
    ]


def test_after_going_back_the_time_is_measured_anew():
    line = Line()
    progress = TrainingProgress(line, 1_000)
    progress.show_row(row(20, 70.0), None)
    progress.rewind(20)
    progress.show_row(row(20, 90.0), None)  # the same step again: no interval to divide by
    progress.show_step(20)
    assert "left" not in line.shown[-1][1]


def test_an_evaluation_is_two_lines_with_what_it_compares_with():
    metrics = {
        "mlm_masked_loss": 3.5, "unigram_entropy": 5.75, "rtd_loss": 0.31,
        "rtd_constant_loss": 0.35, "rtd_auc": 0.75, "rtd_content_auc": 0.625,
        "rtd_precision": 0.5, "rtd_recall": None, "replaced_fraction": 0.1,
    }  # fmt: skip
    assert describe_evaluation(1_500, metrics) == (
        "step 1,500 held-out: MLM on [MASK] 3.500 (unigram 5.750, context gains +2.250)\n"
        "  RTD 0.31 (constant 0.35) · AUC 0.75 (content 0.625) · precision 0.5 · recall – · "
        "replaced 10.0%"
    )
    words = {"unigram_entropy": 5.0, "word_loss": 1.5, "word_accuracy": 0.8}
    assert describe_evaluation(1, words) == "step 1 held-out: words 1.5 (80.0% right)"
    masked = {"unigram_entropy": 5.0, "mlm_masked_loss": 4.0}  # of a masked language model alone
    assert describe_evaluation(2, masked) == (
        "step 2 held-out: MLM on [MASK] 4.000 (unigram 5.000, context gains +1.000)"
    )
