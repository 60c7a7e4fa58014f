"""The lines of the table that check.py prints. Nothing here needs torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

HEADER = ("what", "CPU", "GPU", "difference or ratio", "limit", "ok?")


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        what: the thing that was measured.
        cpu, gpu: its figure on each, or '' where there is none.
        figure: a difference or a ratio, or ''.
        limit: what the figure has to keep to, or ''.
        ok: whether it does; None for a line that only reports.
        target: the limit is an aim: missing it is said and fails nothing.
    """

    what: str
    cpu: str = ""
    gpu: str = ""
    figure: str = ""
    limit: str = ""
    ok: bool | None = None
    target: bool = False

    @property
    def failed(self) -> bool:
        return self.ok is False and not self.target

    def cells(self) -> tuple[str, ...]:
        verdict = {None: "", True: "yes", False: "missed" if self.target else "NO"}[self.ok]
        return self.what, self.cpu, self.gpu, self.figure, self.limit, verdict

    def line(self) -> str:
        return json.dumps(asdict(self))


def at_most(what: str, figure: float, limit: float, cpu: str = "", gpu: str = "") -> Row:
    """Return the line of a figure that may not exceed a limit; NaN does."""
    return Row(what, cpu, gpu, f"{figure:.2g}", f"<= {limit:.2g}", bool(figure <= limit))


def aim(what: str, figure: float, target: float, unit: str = "") -> Row:
    """Return the line of a figure that should reach a target."""
    return Row(what, "", "", f"{figure:.3g}{unit}", f">= {target:g}{unit} (target)", figure >= target, True)


def table(rows: Sequence[Row]) -> str:
    """Return the lines as a Markdown table whose columns are aligned."""
    cells = [HEADER, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in cells]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
