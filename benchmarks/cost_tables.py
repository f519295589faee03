"""The computed tables of docs/scaling.md: python -m benchmarks.cost_tables [--write].

--write puts them there.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.cost_model import BF16_FLOPS, Step, cost
from electra_cli.presets import load_preset

DOCUMENT = Path(__file__).parents[1] / "docs" / "scaling.md"
PRESETS = ("small", "small++", "base", "large")
# The shares of an H100's peak that others publish for encoders of about this size; a run is
# planned with the lower of the two rates (docs/scaling.md names them).
PUBLISHED_FRACTIONS = {"small": 0.058, "small++": 0.058, "base": 0.25, "large": 0.34}


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """Markdown; the first column is text, the others are numbers."""
    columns = head.split("|")
    lines = [f"| {' | '.join(c.strip() for c in columns)} |"]
    lines.append("|---|" + "---:|" * (len(columns) - 1))
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


GB = 1e9


def size_row(preset: str) -> list[str]:
    eager, step = (cost(load_preset(preset), compiled) for compiled in (False, True))
    return [
        preset,
        f"{step.parameters / 1e6:.1f}M",
        f"{step.tokens:,}",
        f"{step.micro_batches} of {step.windows}",
        f"{step.model_flops / 1e12:,.1f}",
        f"{eager.hbm_bytes / GB:,.0f}",
        f"{step.hbm_bytes / GB:,.0f}",
        f"{eager.launches:,}",
        f"{step.launches:,}",
        f"{(16 * step.parameters + step.kept_bytes) / GB:.1f}",
        f"{step.estimated_bytes / GB:.1f}",
    ]


def time_row(name: str, step: Step) -> list[str]:
    parts = [*step.seconds.values(), step.device_seconds, step.launch_seconds]
    return [name, *(f"{1e3 * seconds:,.1f}" for seconds in parts), step.bound_by]


def run_row(name: str, step: Step, num_steps: int, published: float) -> list[str]:
    published_rate = published * BF16_FLOPS * step.tokens / step.model_flops
    estimated_rate = step.tokens / step.total_seconds
    days = num_steps * step.tokens / min(estimated_rate, published_rate) / 86_400
    return [
        name,
        f"{estimated_rate:,.0f}",
        f"{step.model_flops / step.total_seconds / BF16_FLOPS:.0%}",
        f"{published_rate:,.0f}",
        f"{published:.1%}",
        f"{days:.2f}",
    ]


def tables() -> str:
    """All of docs/scaling.md that is computed."""
    times, runs = [], []
    for preset in PRESETS:
        config = load_preset(preset)
        for name, compiled in ((preset, False), (f"{preset}, compiled", True)):
            step = cost(config, compiled)
            times.append(time_row(name, step))
            runs.append(run_row(name, step, config.run.num_steps, PUBLISHED_FRACTIONS[preset]))
    parts = " | ".join(step.seconds)
    made = {
        "Per step.": table(
            "preset | weights | tokens | micro-batches, windows | TFLOP | GB moved | compiled "
            "| kernels | compiled | GB kept | by the program's estimate",
            map(size_row, PRESETS),
        ),
        "Milliseconds per step.": table(
            f"preset | {parts} | device in total | launches | bound by", times
        ),
        "Per run, at the lower of the two rates.": table(
            "preset | estimated tokens/s | of the peak | at the published share | which is | days",
            runs,
        ),
    }
    return "\n\n".join(f"**{title}**\n\n{text}" for title, text in made.items())


BEGIN = "<!-- tables: made by python -m benchmarks.cost_tables --write -->"
END = "<!-- end of tables -->"


def main() -> None:
    made = tables()
    if "--write" not in sys.argv:
        print(made)
        return
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}")


if __name__ == "__main__":
    main()
