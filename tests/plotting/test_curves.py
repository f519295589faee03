import math

import numpy as np
import pytest
from plot_runs import LOG_COLUMNS, run_of

from electra_cli.plotting.curves import (
    AXES,
    BUCKETS,
    GROUPS,
    groups_to_draw,
    newest_value,
    smoothed,
    thin,
)
from electra_cli.plotting.run_log import RunLog

PANELS = [panel for group in GROUPS for panel in group.panels]

PROBED = {
    *("probe_accuracy", "probe_last_accuracy", "probe_layer"),
    *("pairs_discriminator", "pairs_generator", "pairs_masked_lm"),
}


def test_every_drawn_column_is_in_the_log():
    names = {panel.column for panel in PANELS} | {panel.held_out_column for panel in PANELS}
    names |= {panel.reference for panel in PANELS if panel.reference}
    names |= {axis.column for axis in AXES}
    only_held_out = {"rtd_content_auc"} | PROBED
    of_probes = {f"validation_{name}" for name in PROBED}  # in logs of runs with run.probes
    only_training = {f"validation_{name}" for name in ("learning_rate", "grad_norm")}
    only_training.add("validation_tokens_per_second")
    assert names - set(LOG_COLUMNS) == only_held_out | of_probes | only_training


def test_there_is_a_panel_for_each_figure():
    assert {panel.column for panel in PANELS} == {
        *("mlm_loss", "mlm_masked_loss", "rtd_loss"),
        *("mlm_accuracy", "sampled_accuracy", "replaced_fraction"),
        *("rtd_content_auc", "rtd_precision", "rtd_recall"),
        *("word_loss", "word_accuracy"),  # of the paper's comparisons
        *("learning_rate", "grad_norm", "tokens_per_second"),
        *PROBED,
    }
    assert [axis.column for axis in AXES] == [
        *("step", "tokens_seen", "train_flops", "elapsed_seconds")
    ]


def titles(*runs: RunLog) -> dict[str, list[str]]:
    return {group.title: [panel.title for panel in group.panels] for group in groups_to_draw(runs)}


def test_every_column_that_is_logged_has_its_panel_or_none_on_purpose():
    columns = (*LOG_COLUMNS, "validation_probe_accuracy")
    every_column = run_of("run", **{column: [1.0] for column in columns})
    assert list(titles(every_column)) == [group.title for group in GROUPS]


def test_columns_that_nobody_listed_are_drawn_last_under_their_own_name():
    old = run_of("old", step=[1], mlm_loss=[2])
    new = run_of(
        "new", step=[1], contrast_loss=[3], validation_contrast_loss=[4], validation_spread=[1]
    )
    empty = run_of("empty", step=[1], nothing=[math.nan])
    assert list(titles(old, new, empty).items()) == [
        ("Losses", ["MLM loss"]),
        ("Other figures", ["contrast_loss", "spread"]),
    ]
    contrast, spread = groups_to_draw([new])[0].panels
    assert (contrast.column, contrast.held_out_column) == (
        "contrast_loss",
        "validation_contrast_loss",
    )
    assert spread.held_out_column == "validation_spread"


def test_a_reference_alone_is_nothing_to_draw():
    assert groups_to_draw([run_of("run", step=[1], rtd_constant_loss=[0.4])]) == []
    assert groups_to_draw([run_of("run", step=[1], epoch=[0.5], loss=[9])]) == []


def test_a_short_curve_keeps_every_value():
    curve = thin(np.array([1.0, np.nan, 3.0, np.nan, np.inf, 2.0]))
    assert (curve.points.rows.tolist(), curve.points.values.tolist()) == ([0, 2, 5], [1, 3, 2])
    assert not curve.thinned


def test_thinning_keeps_extremes_and_ends():
    values = np.sin(np.arange(100_000) / 1000)
    values[33_333], values[77_777] = 9.0, -9.0
    curve = thin(values)
    kept = dict(zip(curve.points.rows.tolist(), curve.points.values.tolist(), strict=True))
    assert curve.thinned
    assert len(kept) <= 2 * BUCKETS + 2
    assert (kept[33_333], kept[77_777]) == (9.0, -9.0)
    assert {0, 99_999} <= set(kept)
    assert all(values[row] == value for row, value in kept.items())


def test_thinning_keeps_the_extremes_of_every_bucket():
    values = np.array([float((i * 7919) % 10_007) for i in range(10 * BUCKETS)])
    kept = set(thin(values).points.rows.tolist())
    for start in range(0, len(values), 10):
        bucket = values[start : start + 10]
        assert start + int(bucket.argmin()) in kept
        assert start + int(bucket.argmax()) in kept


def test_the_means_of_a_thinned_curve_have_its_mean():
    values = np.arange(50 * BUCKETS) % 97.0
    means = thin(values).means
    assert len(means.rows) == BUCKETS
    assert means.values.mean() == pytest.approx(values.mean())


def test_smoothing_is_a_mean_without_a_biased_start():
    assert smoothed([1.0, 3.0], 0.5).tolist() == [1.0, pytest.approx((0.5 * 1 + 3) / 1.5)]
    assert smoothed([4.0] * 5, 0.9).tolist() == pytest.approx([4.0] * 5)
    assert smoothed([1.0, 5.0], 0.0).tolist() == [1.0, 5.0]


def test_the_newest_value_is_the_last_that_there_is():
    assert newest_value(np.array([1.0, 2.0, math.nan])) == 2.0
    assert newest_value(np.array([math.nan])) is None
    assert newest_value(np.empty(0)) is None
