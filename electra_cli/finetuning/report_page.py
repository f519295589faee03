"""The report as one HTML file that needs nothing but a browser; it runs no script.

Everything on it is in report.json too. The style is that of the page of curves.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from electra_cli.finetuning.report_charts import reliability_chart, scores_over_flops
from electra_cli.finetuning.words import (
    RANDOM_WEIGHTS,
    compared,
    count_seeds,
    failures,
    findings,
    metric_title,
    show_gain,
    show_score,
    show_value,
)
from electra_cli.plotting.look import DARK, LIGHT
from electra_cli.plotting.tables import table

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title · report</title>
<style>
:root { $light }
@media (prefers-color-scheme: dark) { :root { $dark } }
$style</style>
</head>
<body>
<header><h1>$title</h1><p class="key">$subtitle</p></header>
<main>$main</main>
</body>
</html>
""")
_MOST_CLASSES = 40  # a confusion matrix of more is in report.json alone


def page_of(report: Mapping[str, Any]) -> str:
    """The page of what judgement.judge found."""
    sections = [
        section
        for split, judged in report["splits"].items()
        for section in _split_sections(report, split, judged)
    ]
    style = _style("electra_cli.plotting", "page.css") + _style(__package__, "report.css")
    return _PAGE.substitute(
        title=escape(report["title"]),
        light=LIGHT.css(),
        dark=DARK.css(),
        style=style,
        subtitle=f"{escape(report['task'])}, {report['num_training_examples']:,} training examples",
        main="\n".join([*sections, *_data_sections(report)]),
    )


def _style(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def _split_sections(report: Mapping[str, Any], split: str, judged: Any) -> Iterator[str]:
    metrics, encoders = report["metrics"], judged["encoders"]
    yield _section(
        f"Scores on {split}: {judged['num_examples']:,} examples",
        _score_table(metrics, judged),
        f"<p>{_how_to_read(judged)}</p>",
        _sentences(metrics[0], judged),
        _flops_chart(metrics[0], judged),
    )
    for name, encoder in encoders.items():
        yield _section(
            f"{name} on {split}",
            _side_by_side(
                _gain_table(metrics, encoder),
                _per_class(encoder["per_class"]),
                _confusion(encoder, list(report["classes"] or ())),
                _calibration(encoder["calibration"]),
            ),
            _mistakes(encoder["mistakes"], len(encoder["seeds"])),
        )


def _score_table(metrics: Sequence[str], judged: Any) -> str:
    cells = [
        (name, [show_score(m, scores[m]) for m in metrics]) for name, scores in compared(judged)
    ]
    return table(_head("", *map(metric_title, metrics)), cells)


def _how_to_read(judged: Any) -> str:
    seeds = count_seeds(judged)
    if seeds == "1 seed":
        return (
            "One seed. The 95% intervals are over the examples alone: how much another seed would "
            "change is not known (--seeds 5)."
        )
    return f"Means of {seeds}, with 95% intervals over seeds and examples; never the best."


def _sentences(metric: str, judged: Any) -> str:
    """What was found, and which seeds failed."""
    found = "".join(f"<p>{escape(sentence)}</p>" for sentence in findings(metric, judged))
    failed = "".join(f'<p class="failed">▲ {escape(each)}</p>' for each in failures(judged))
    return f'<div class="sentences">{found}{failed}</div>'


def _flops_chart(metric: str, judged: Any) -> str:
    known = {n: each for n, each in judged["encoders"].items() if each["pretraining_flops"]}
    levels = [(name, scores[metric].value) for name, scores in judged["controls"].items()]
    levels += [
        (RANDOM_WEIGHTS, encoder["random_weights"]["scores"][metric].value)
        for encoder in list(known.values())[:1]
        if encoder["random_weights"] is not None
    ]
    levels = [(name, value) for name, value in levels if math.isfinite(value)]
    points = [(each["pretraining_flops"], each["scores"][metric]) for each in known.values()]
    if len(points) < 2 or not all(math.isfinite(score.value) for _, score in points):
        return ""
    names = "; ".join(f"{at}: {escape(name)}" for at, name in enumerate(known, start=1))
    chart = scores_over_flops(metric, points, levels)
    return f"<h3>Over pre-training FLOPs</h3>{chart}<p>{names}</p>"


def _gain_table(metrics: Sequence[str], encoder: Any) -> str:
    """The difference from each control, and each seed's score."""
    gains = [
        (name, [show_gain(m, gain[m]) for m in metrics]) for name, gain in encoder["gains"].items()
    ]
    seeds = [
        (f"seed {seed}", [show_value(m, encoder["by_seed"][m][at]) for m in metrics])
        for at, seed in enumerate(encoder["seeds"])
    ]
    titles = list(map(metric_title, metrics))
    return (
        f"<h3>Difference from each control</h3>{table(_head('', *titles), gains)}"
        f"<details><summary>Each seed's score</summary>{table(_head('', *titles), seeds)}</details>"
    )


def _per_class(per_class: Mapping[str, Mapping[str, float]] | None) -> str:
    if not per_class:
        return ""
    rows = [
        (
            name,
            [
                *(_percent(each[key]) for key in ("precision", "recall", "f1")),
                f"{each['examples']:g}",
                f"{each['predicted']:.4g}",
            ],
        )
        for name, each in per_class.items()
    ]
    head = _head("", "precision", "recall", "F1", "examples", "predicted")
    return f"<h3>Per class</h3>{table(head, rows)}"


def _confusion(encoder: Any, names: Sequence[str]) -> str:
    matrix = encoder["confusion"]
    if matrix is None or len(names) > _MOST_CLASSES:
        return ""
    rows = [
        (name, [f"{count:.4g}" if count else "" for count in row])
        for name, row in zip(names, matrix, strict=True)
    ]
    head = _head("right ↓ predicted →", *names)
    return f"<h3>Confusion matrix</h3>{table(head, rows)}"


def _calibration(calibration: Any) -> str:
    if calibration is None:
        return ""
    before, after = calibration["before"], calibration["after"]
    rows = [
        ("expected calibration error", [f"{100 * each.error:.1f}%" for each in (before, after)]),
        ("mean loss (nats)", [f"{each.loss:.4f}" for each in (before, after)]),
        ("Brier score", [f"{each.brier:.4f}" for each in (before, after)]),
    ]
    temperature = f"{calibration['temperature']:.2f}, fitted on {calibration['fitted_on']}"
    head = _head("", "before", "after")
    return (
        f"<h3>Calibration before and after one temperature ({escape(temperature)})</h3>"
        f"{table(head, rows)}{reliability_chart(before, after)}"
    )


def _mistakes(mistakes: Any, seeds: int) -> str:
    if not mistakes["first"]:
        return ""
    rows = [
        (
            each["id"],
            [
                " · ".join(each["texts"]),
                each["label"],
                each["prediction"],
                f"{each['size']:.3g}",
                f"{each['seeds_wrong']} of {seeds}",
            ],
        )
        for each in mistakes["first"]
    ]
    head = _head("id", "text", "label", "prediction", mistakes["size_is"], "wrong in")
    title = f"The most confident mistakes ({len(rows)} of {mistakes['count']:,})"
    return f"<details><summary>{title}</summary>{table(head, rows, 'long')}</details>"


def _data_sections(report: Mapping[str, Any]) -> Iterator[str]:
    if report["classes"]:
        splits = list(next(iter(report["classes"].values())))
        rows = [
            (label, [f"{counts[split]:,}" for split in splits])
            for label, counts in report["classes"].items()
        ]
        yield _section("Examples of each class", table(_head("", *splits), rows))
    found = [(name, [f"{count:,}"]) for name, count in report["notes"].items()]
    if found:
        yield _section("What was cut, left out, repeated or shared", table("", found))
    for split, judged in report["splits"].items():
        also = judged["shared_with_train"]
        if also["count"]:
            texts = "".join(f"<p>{escape(' · '.join(each))}</p>" for each in also["examples"])
            title = f"{also['count']:,} examples of {split} are also in train"
            yield _section(title, texts)
    if report["settings"]:
        settings = [(name, [value]) for name, value in report["settings"].items()]
        yield _section("Settings that differ from the defaults", table("", settings))


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def _percent(share: float) -> str:
    """A dash where nothing was there or predicted."""
    return f"{100 * share:.1f}" if math.isfinite(share) else "–"


def _side_by_side(*parts: str) -> str:
    """The parts that are there, beside each other where the screen is wide enough."""
    return f'<div class="parts">{"".join(f"<div>{part}</div>" for part in parts if part)}</div>'


def _head(*titles: str) -> str:
    cells = (f'<th scope="col">{escape(title)}</th>' for title in titles)
    return f"<tr>{''.join(cells)}</tr>"
