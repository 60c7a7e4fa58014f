"""Functionals of an utterance's frames, and a support vector machine on them: what a network has to beat.

The machine is fitted elsewhere (scikit-learn); here it is numbers in buffers, so that a checkpoint holds it as it holds
any network's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PERCENTILES = (5, 25, 50, 75, 95)


class Padded:
    """The frames of a batch, one row of equal length for each utterance.

    Attributes:
        frames: (B, T, D) float64, 0 beyond an utterance's end.
        real: (B, T, 1) whether a frame is the utterance's.
        count: (B, 1) frames of each utterance.
    """

    def __init__(self, rows: Tensor, lengths: Tensor) -> None:
        """`rows` is (n, D), the frames of all utterances end to end; `lengths` is (B,), the frames of each."""
        lengths = lengths.to(rows.device)
        self.real = (torch.arange(int(lengths.max()), device=rows.device) < lengths[:, None])[..., None]
        self.count = lengths[:, None].double()
        self.frames = rows.new_zeros(*self.real.shape[:2], rows.shape[1], dtype=torch.float64)
        self.frames[self.real[..., 0]] = rows.double()

    def mean(self) -> Tensor:
        """Return the mean of each coefficient, (B, D)."""
        return self.frames.sum(1) / self.count

    def deviation(self) -> Tensor:
        """Return the standard deviation of each coefficient, (B, D)."""
        return _deviation(self.frames, self.real)

    def percentiles(self) -> Tensor:
        """Return `PERCENTILES` of each coefficient, (B, 5·D), with linear interpolation between frames."""
        ordered = self.frames.masked_fill(~self.real, torch.inf).sort(1).values
        found = []
        for percentile in PERCENTILES:
            position = percentile / 100 * (self.count - 1)
            low, high = (ordered.take_along_dim(place.long()[..., None], 1)[:, 0]
                         for place in (position.floor(), position.ceil()))
            found.append(low.lerp(high, position.frac().expand_as(low)))
        return torch.cat(found, 1)

    def slope(self) -> Tensor:
        """Return the slope of the regression line of each coefficient over time, per frame, (B, D); 0 of one frame."""
        time = torch.arange(self.frames.shape[1], device=self.frames.device) - (self.count - 1) / 2
        time = (time * self.real[..., 0])[..., None]
        return (time * self.frames).sum(1) / time.square().sum(1).clamp_min(1e-9)

    def change(self) -> Tensor:
        """Return the standard deviation of the difference from frame to frame, (B, D); 0 of one frame."""
        return _deviation(self.frames[:, 1:] - self.frames[:, :-1], self.real[:, 1:])


def _deviation(x: Tensor, real: Tensor) -> Tensor:
    """Return the standard deviation over the real ones of (B, T, D) frames, (B, D); 0 where there are none."""
    count = real.sum(1).clamp_min(1)
    mean = (x * real).sum(1) / count
    return (((x - mean[:, None]) * real).square().sum(1) / count).sqrt()


FUNCTIONALS: dict[str, Callable[[Padded], Tensor]] = {
    "mean": Padded.mean, "deviation": Padded.deviation, "percentiles": Padded.percentiles, "slope": Padded.slope,
    "change": Padded.change,
}


class FunctionalsSvm(nn.Module):
    """Functionals of each coefficient, standardised, and a support vector machine's choice of a class.

    With C classes the machine is C·(C-1)/2 binary ones, each of which votes for one of two classes (libsvm's
    one-against-one: C.-C. Chang and C.-J. Lin, ACM TIST 2011, §7).

    Args:
        classes: C.
        names: of the functionals, keys of `FUNCTIONALS`.

    Attributes:
        mean, deviation: (E,) of each functional over the training set.
        vectors: (V, E) support vectors, standardised; none before `adopt`.
        coefficients: (V, C·(C-1)/2) dual coefficients, by pair of classes, (0, 1), (0, 2), … (C-2, C-1).
        intercepts: (C·(C-1)/2,).
        gamma: of the kernel exp(-gamma·‖x - v‖²); 0 stands for the linear kernel x·v.
    """

    output_layers = ()
    mean: Tensor
    deviation: Tensor
    vectors: Tensor
    coefficients: Tensor
    intercepts: Tensor
    gamma: Tensor

    def __init__(self, classes: int, names: Sequence[str]) -> None:
        super().__init__()
        self.classes, self.names = classes, names
        for name in ("mean", "deviation", "vectors", "coefficients", "intercepts", "gamma"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.float64))

    def adopt(self, **numbers: np.ndarray | float) -> None:
        """Take over a fitted machine: a number or an array for each of the attributes."""
        for name, value in numbers.items():
            setattr(self, name, torch.as_tensor(value, dtype=torch.float64, device=self.mean.device))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load buffers of whatever size: how many support vectors there are is known to the checkpoint only."""
        for name, buffer in self.named_buffers():
            if prefix + name in state:
                setattr(self, name, buffer.new_empty(state[prefix + name].shape))
        super()._load_from_state_dict(state, prefix, *args)

    def embed(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Return the functionals, (B, E) float32, of utterances' frames (n, D) end to end, `lengths` (B,) of each."""
        padded = Padded(frames, lengths)
        return torch.cat([FUNCTIONALS[name](padded) for name in self.names], 1).float()

    def forward(self, frames: Tensor, lengths: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return what `classify` does, of frames as `embed` takes them."""
        return self.classify(self.embed(frames, lengths))

    def classify(self, functionals: Tensor) -> Tensor:
        """Return (B, C) float64 from functionals (B, E): each class's votes and, below a vote, how clear they were.

        The greatest of a row is the class that scikit-learn's `SVC(break_ties=True)` predicts; rows are no
        probabilities. What breaks ties, the sum s of a class's decision values as s / (3·(|s| + 1)), is scikit-learn's.
        """
        x = (functionals.double() - self.mean) / self.deviation
        products = x @ self.vectors.T
        if self.gamma > 0:
            squares = x.square().sum(1)[:, None] + self.vectors.square().sum(1) - 2 * products
            products = (-self.gamma * squares).exp()
        decisions = products @ self.coefficients + self.intercepts
        votes, sums = (x.new_zeros(len(x), self.classes) for _ in range(2))
        for decision, (one, other) in zip(decisions.T, combinations(range(self.classes), 2), strict=True):
            sums[:, one] += decision
            sums[:, other] -= decision
            votes[:, one] += decision >= 0
            votes[:, other] += decision < 0
        return votes + sums / (3 * (sums.abs() + 1))
