"""Colours, dashes and symbols that the page and the picture share. Data only.

Curves have Okabe and Ito's colours, which colour-blind readers can tell apart (Color Universal
Design, jfly.uni-koeln.de/color): on white without yellow; on dark without blue, and with white for
black. Several runs in one panel also differ in dashes and symbols, so without any colour.
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Palette:
    """Colours on a light or on a dark background."""

    surface: str
    page: str
    text: str
    muted: str
    rule: str
    accent: str
    warning: str
    series: tuple[str, ...]

    def css(self) -> str:
        """The colours as CSS custom properties, `--text: #1c2430;` and so on."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["series"] = " ".join(self.series)
        return " ".join(f"--{name}: {value};" for name, value in values.items())


LIGHT = Palette(
    surface="#ffffff",
    page="#f5f6f8",
    text="#1c2430",
    muted="#5d6878",
    rule="#e3e6eb",
    accent="#0072b2",
    warning="#b3261e",
    series=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"),
)
DARK = Palette(
    surface="#1a1f27",
    page="#11151b",
    text="#e6e9ee",
    muted="#a0aaba",
    rule="#2e3642",
    accent="#56b4e9",
    warning="#ff8a80",
    series=("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#f0e442", "#ffffff"),
)

# Lengths in pixels: of a dash, of a gap, of a dash and so on; () is a solid line. A dotted line is
# the reference.
DASHES: tuple[tuple[int, ...], ...] = ((), (10, 3), (10, 3, 2, 3), (5, 2))


@dataclass(frozen=True)
class Symbol:
    """A shape: its name in Plotly, its name in matplotlib, and a character that looks like it."""

    plotly: str
    matplotlib: str
    text: str


# Of held-out values, one per run.
SYMBOLS = (
    Symbol("circle", "o", "●"),
    Symbol("square", "s", "■"),
    Symbol("diamond", "D", "◆"),
    Symbol("triangle-up", "^", "▲"),
    Symbol("cross", "P", "✚"),
    Symbol("star", "*", "★"),
    Symbol("x", "X", "✖"),
)


@dataclass(frozen=True)
class MarkLook:
    """How an event or a checkpoint is marked on the frame of a panel."""

    symbol: Symbol
    at_top: bool
    has_line: bool  # across the panel: the curves after it may differ from those before


MARK_LOOKS = {
    "checkpoint": MarkLook(Symbol("diamond", "D", "◆"), at_top=False, has_line=False),
    "stopped": MarkLook(Symbol("square", "s", "■"), at_top=True, has_line=False),
    "resumed": MarkLook(Symbol("triangle-right", ">", "▶"), at_top=True, has_line=True),
    "warning": MarkLook(Symbol("triangle-up", "^", "▲"), at_top=True, has_line=True),
}
