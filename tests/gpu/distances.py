"""How far results lie apart, relative to their size."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


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
