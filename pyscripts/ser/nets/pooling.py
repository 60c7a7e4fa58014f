"""Pooling of an utterance's frames to one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionPooling(nn.Module):
    """Multi-head attention over time, equations (1) and (2) of Pappagari et al., ICASSP 2021.

    Head h weighs frame t by softmax over t of -s_h·‖x_t - μ_h‖ and returns the weighted mean of the frames.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(heads, dim))
        self.scales = nn.Parameter(torch.ones(heads))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Turn (B, T, D) frames, of which a (B, T) mask tells the real ones, into (B, heads·D)."""
        # The expanded square, which is the default for large inputs, loses the digits of small distances.
        distances = torch.cdist(x, self.centres[None], compute_mode="donot_use_mm_for_euclid_dist")
        scores = -self.scales * distances
        if mask is not None:
            scores = scores.masked_fill(~mask[:, :, None], -torch.inf)
        return torch.einsum("bth,btd->bhd", scores.softmax(1), x).flatten(1)
