"""The two pictures of the report as SVG, whose colours follow the page's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from electra_cli.finetuning.calibration import Calibration
from electra_cli.finetuning.intervals import Estimate
from electra_cli.finetuning.words import metric_title

_WIDTH, _HEIGHT = 360, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 24, 12, 40
_APART = 14  # between points of equal FLOPs, in pixels


@dataclass(frozen=True)
class _Frame:
    """From the data's ranges to places in the picture."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            round(_LEFT + across * (_WIDTH - _LEFT - _RIGHT), 1),
            round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM), 1),
        )

    def line(self, start: tuple[float, float], end: tuple[float, float], kind: str) -> str:
        (x1, y1), (x2, y2) = self.at(*start), self.at(*end)
        return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'

    def text(self, x: float, y: float, text: str, dx: int, dy: int, anchor: str) -> str:
        left, top = self.at(x, y)
        place = f'x="{left + dx}" y="{top + dy}" text-anchor="{anchor}"'
        return f"<text {place}>{escape(text)}</text>"

    def drawn(self, parts: Sequence[str], titles: tuple[str, str], label: str) -> str:
        """The picture with its frame, ticks and the titles of both axes."""
        middle = (self.x[0] + self.x[1]) / 2
        across = self.text(middle, self.y[0], titles[0], 0, 34, "middle")
        up = f'<text transform="translate(12 {_HEIGHT / 2 - 14}) rotate(-90)" text-anchor="middle">'
        frame = self.line((self.x[0], self.y[0]), (self.x[1], self.y[0]), "frame")
        frame += self.line((self.x[0], self.y[0]), (self.x[0], self.y[1]), "frame")
        return (
            f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
            f'aria-label="{escape(label)}">{frame}{"".join(parts)}{across}{up}'
            f"{escape(titles[1])}</text></svg>"
        )


def reliability_chart(before: Calibration, after: Calibration) -> str:
    """The share that is right over the probability that was said; on the diagonal both agree."""
    frame = _Frame((0, 1), (0, 1))
    parts = [frame.line((0, 0), (1, 1), "reference")]
    for kind, calibration in (("before", before), ("after", after)):
        points = [(mean, share) for count, mean, share in calibration.bins if count]
        places = [frame.at(*point) for point in points]
        path = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline class="{kind}" points="{path}"/>')
        parts += [f'<circle class="{kind}" cx="{x}" cy="{y}" r="3"/>' for x, y in places]
    for tick in (0, 0.5, 1):
        parts.append(frame.text(tick, 0, f"{tick:g}", 0, 16, "middle"))
        parts.append(frame.text(0, tick, f"{tick:g}", -6, 4, "end"))
    label = "Reliability before and after one temperature"
    return frame.drawn(parts, ("probability that was said", "share that is right"), label)


def scores_over_flops(
    metric: str, points: Sequence[tuple[float, Estimate]], levels: Sequence[tuple[str, float]]
) -> str:
    """Scores over (pre-training FLOPs), numbered from 1; levels: scores without any, by name."""
    ends = [end for _, each in points for end in (each.low, each.high)]
    ends += [value for _, value in levels]
    margin = 0.08 * (max(ends) - min(ends)) or 0.01
    powers = [math.log10(flops) for flops, _ in points]
    frame = _Frame(
        (math.floor(min(powers) - 0.2), math.ceil(max(powers) + 0.2)),
        (min(ends) - margin, max(ends) + margin),
    )
    parts = []
    for name, value in levels:
        parts.append(frame.line((frame.x[0], value), (frame.x[1], value), "reference"))
        parts.append(frame.text(frame.x[0], value, name, 4, -3, "start"))
    for at, (power, (_, score)) in enumerate(zip(powers, points, strict=True)):
        before = sum(abs(power - other) < 0.05 for other in powers[:at])
        (x, low), (_, middle), (_, high) = (
            frame.at(power, each) for each in (score.low, score.value, score.high)
        )
        x += _APART * before
        parts.append(f'<line class="interval" x1="{x}" y1="{low}" x2="{x}" y2="{high}"/>')
        parts.append(f'<circle class="after" cx="{x}" cy="{middle}" r="4"/>')
        parts.append(f'<text x="{x}" y="{high - 4}" text-anchor="middle">{at + 1}</text>')
    for power in range(int(frame.x[0]), int(frame.x[1]) + 1):
        parts.append(frame.text(power, frame.y[0], f"1e{power}", 0, 16, "middle"))
    for end in (min(ends), max(ends)):
        parts.append(frame.text(frame.x[0], end, f"{100 * end:.1f}", -6, 4, "end"))
    title = metric_title(metric)
    return frame.drawn(parts, ("pre-training FLOPs", title), f"{title} over pre-training FLOPs")
