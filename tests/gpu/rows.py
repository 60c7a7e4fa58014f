"""The lines of the table that check.py prints, and distances between results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

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


def distance(a: Tensor, b: Tensor) -> float:
    """Return |a - b| / |b|, Euclidean."""
    a, b = a.double(), b.double()
    return float((a - b).norm() / b.norm().clamp_min(1e-300))


def distances(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the distance of each of b's tensors that is not next to nothing beside the others."""
    typical = sorted(float(tensor.norm()) for tensor in b.values())[len(b) // 2]
    return {name: distance(a[name], b[name]) for name in b if float(b[name].norm()) > 1e-3 * typical}


def together(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return all elements of tensors as one vector."""
    return torch.cat([tensor.double().flatten() for tensor in tensors.values()])
