"""What a search writes: the table of trials, best.yaml, trials.csv and study.html."""

import csv
import html
import io
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna import visualization
from optuna.trial import FrozenTrial, TrialState

from electra_cli.console import format_value
from electra_cli.disk import replace_file
from electra_cli.presets import save_preset
from electra_cli.tuning.search import Search
from electra_cli.tuning.space import WARMUP_FRACTION, apply_values, value_of
from electra_cli.tuning.storage import IS_PRESET, RETRY_OF
from electra_cli.tuning.study import (
    FAILURE_REASON,
    HOST,
    PID,
    wait_for_folder,
    was_interrupted,
)
from electra_cli.tuning.trial import FIGURES

BEST_NAME, TABLE_NAME, PAGE_NAME = "best.yaml", "trials.csv", "study.html"
_SHOWN_TRIALS = 4  # with their settings' names they fit into 80 columns
_CONTENT_AUC = "yardstick_rtd_content_auc"


def state_of(trial: FrozenTrial) -> str:
    """complete, pruned, failed, interrupted, skipped (never started), running or waiting."""
    if was_interrupted(trial):
        return "interrupted" if HOST in trial.user_attrs else "skipped"
    return "failed" if trial.state == TrialState.FAIL else str(trial.state.name).lower()


def best_trials(search: Search) -> list[FrozenTrial]:
    """The complete trials, best first."""
    complete = search.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = -1.0 if search.metric.direction == "maximize" else 1.0
    return sorted(complete, key=lambda trial: sign * value_in(trial))


def value_in(trial: FrozenTrial) -> float:
    """The value that a complete trial is ranked by."""
    assert trial.value is not None
    return trial.value


def table_of_trials(search: Search) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: one column per trial, because names are longer than values."""
    ranked = best_trials(search)
    shown = ranked[:_SHOWN_TRIALS]
    shown += [t for t in ranked[_SHOWN_TRIALS:] if t.user_attrs.get(IS_PRESET)]
    figures = [trial.user_attrs[FIGURES] for trial in shown]
    rows: list[list[Any]] = [
        [search.metric.name, *(trial.value for trial in shown)],
        [_CONTENT_AUC, *(figure[_CONTENT_AUC] for figure in figures)],
        ["num_steps", *(f"{figure['num_steps']:,}" for figure in figures)],
        *([_short_name(name), *(t.params[name] for t in shown)] for name in search.space.names),
    ]
    columns = ["trial", *(_column_name(trial) for trial in shown)]
    return columns, [[format_value(cell) for cell in row] for row in rows]


def _column_name(trial: FrozenTrial) -> str:
    return f"{trial.number} preset" if trial.user_attrs.get(IS_PRESET) else str(trial.number)


def _short_name(name: str) -> str:
    """An option's name without its section."""
    return name.rpartition(".")[2]


def count_states(search: Search) -> str:
    """`12 complete, 5 pruned, 1 failed`."""
    return ", ".join(f"{count} {state}" for state, count in _states(search).items())


def _states(search: Search) -> Counter[str]:
    return Counter(map(state_of, search.study.get_trials(deepcopy=False)))


def as_json(search: Search) -> dict[str, Any]:
    """What `electra tune --json` prints: the complete trials, best first."""
    return {
        "study": search.study.study_name,
        "folder": str(search.folder),
        "best_preset": str(search.folder / BEST_NAME),
        "metric": search.metric.name,
        "direction": search.metric.direction,
        "states": _states(search),
        "preset_value": search.preset_value(),
        "trials": [
            {
                "number": trial.number,
                "value": trial.value,
                "is_preset": bool(trial.user_attrs.get(IS_PRESET)),
                "parameters": trial.params,
                "figures": trial.user_attrs[FIGURES],
            }
            for trial in best_trials(search)
        ],
    }


def title_of(search: Search) -> str:
    """What stands above the table."""
    return f"best trials of {search.study.study_name} ({count_states(search)})"


def write_reports(search: Search) -> FrozenTrial | None:
    """Write all three files -> the best trial; None if none is complete.

    One process at a time does so.
    """
    with wait_for_folder(search.folder):
        _write(search.folder / TABLE_NAME, _trials_csv(search))
        ranked = best_trials(search)
        if not ranked:
            return None
        _write_best(search, ranked[0])
        _write(search.folder / PAGE_NAME, _page(search, ranked[0]))
        return ranked[0]


def _write(path: Path, text: str) -> None:
    replace_file(path, lambda file: file.write(text.encode()))


def _write_best(search: Search, best: FrozenTrial) -> None:
    """The best trial's settings as a preset, of the length that it was trained for."""
    figures, preset = best.user_attrs[FIGURES], search.preset
    values = {} if best.user_attrs.get(IS_PRESET) else dict(best.params)
    config = apply_values(preset, values, figures["num_steps"])
    config = config.with_directory(None)
    lines = [
        f"Trial {best.number} of study {search.study.study_name}: "
        f"{search.metric.name} {best.value:.4g} after {figures['num_steps']:,} steps",
    ]
    preset_value = search.preset_value()
    if preset_value is not None and not best.user_attrs.get(IS_PRESET):
        lines.append(f"(the preset: {preset_value:.4g}, for the same training FLOPs).")
    lines.append(
        "For a longer run keep the warm-up's share of the steps: "
        f"{value_of(config, WARMUP_FRACTION):.4g}."
    )
    save_preset(config, search.folder / BEST_NAME, "\n".join(lines))


def _trials_csv(search: Search) -> str:
    """One row per trial, in order; a cell is empty where there is no such number."""
    trials = search.study.get_trials(deepcopy=False)
    figure_names = dict.fromkeys(name for t in trials for name in t.user_attrs.get(FIGURES, {}))
    figure_names.pop(search.metric.name, None)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    header = ["trial", "state", search.metric.name, *search.space.names, *figure_names]
    writer.writerow([*header, "is_preset", "retry_of", "host", "pid", "reason"])
    for trial in trials:
        figures, attributes = trial.user_attrs.get(FIGURES, {}), trial.user_attrs
        writer.writerow(
            [
                trial.number,
                state_of(trial),
                "" if trial.value is None else trial.value,
                *(trial.params.get(name, "") for name in search.space.names),
                *(figures.get(name, "") for name in figure_names),
                attributes.get(IS_PRESET, False),
                attributes.get(RETRY_OF, ""),
                attributes.get(HOST, ""),
                attributes.get(PID, ""),
                attributes.get(FAILURE_REASON, ""),
            ]
        )
    return file.getvalue()


_FIGURES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    (
        "History",
        "Each trial's value, and the best so far.",
        visualization.plot_optimization_history,
    ),
    (
        "Importance",
        "How much each setting decides which trials are among the best tenth (PED-ANOVA).",
        visualization.plot_param_importances,
    ),
    ("Parallel coordinates", "One line per trial.", visualization.plot_parallel_coordinate),
    ("Slice", "The value against each setting alone.", visualization.plot_slice),
    (
        "Intermediate values",
        "The value at each ninth of a trial's FLOPs; short lines were pruned.",
        visualization.plot_intermediate_values,
    ),
)
# Different values that Optuna needs to compare settings.
_IMPORTANCE_NEEDS = 3

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; font-size: 0.875rem; display: block; overflow-x: auto; }
th, td { padding: 0.25rem 0.75rem; text-align: right; border-bottom: 1px solid #ddd; }
.figure { overflow-x: auto; }
.figure > div { min-width: 45rem; }
th:first-child, td:first-child { text-align: left; }
"""


def _page(search: Search, best: FrozenTrial) -> str:
    """One page that loads nothing from the network: plotly.js is inside, once."""
    preset_value = search.preset_value()
    against = "" if preset_value is None else f" The preset's own value is {preset_value:.4g}."
    title = html.escape(f"Study {search.study.study_name}")
    parts = [
        f"<h1>{title}</h1>",
        f"<p>{html.escape(count_states(search))}. Best: trial {best.number}, "
        f"{html.escape(search.metric.name)} {best.value:.4g} ({search.metric.direction}d)."
        f"{against} All trials may spend the same training FLOPs. Each is one run of one seed: "
        "settings whose values are close may have changed places by luck.</p>",
        _html_table(*table_of_trials(search)),
        *_figure_parts(search),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _html_table(columns: list[str], rows: list[list[str]]) -> str:
    def row(tag: str, cells: list[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{row('th', columns)}{''.join(row('td', cells) for cells in rows)}</table>"


def _figure_parts(search: Search) -> Iterator[str]:
    study = search.study
    include_plotlyjs: bool = True
    for heading, text, plot in _FIGURES:
        yield f"<h2>{heading}</h2>\n<p>{text}</p>"
        if plot is visualization.plot_param_importances and not _varies(study):
            yield "<p>Too few complete trials yet.</p>"
            continue
        extra = (
            {"target_name": search.metric.name}
            if plot is not visualization.plot_intermediate_values
            else {}
        )
        figure = plot(study, **extra)
        figure.update_layout(title=None, template="plotly_white", margin={"t": 40})
        drawn = figure.to_html(full_html=False, include_plotlyjs=include_plotlyjs)
        yield f'<div class="figure">{drawn}</div>'
        include_plotlyjs = False


def _varies(study: optuna.Study) -> bool:
    """Whether there are enough different values to tell importance."""
    values = {t.value for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
    return len(values) >= _IMPORTANCE_NEEDS
