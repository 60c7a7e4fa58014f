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
        if torch.compiler.is_exporting():  # ONNX has no cdist
            distances = (x[:, :, None] - self.centres).square().sum(-1).sqrt()
        else:  # the expanded square, which is the default for large inputs, loses the digits of small distances
            distances = torch.cdist(x, self.centres[None], compute_mode="donot_use_mm_for_euclid_dist")
        scores = -self.scales * distances
        if mask is not None:
            scores = scores.masked_fill(~mask[:, :, None], -torch.inf)
        return torch.einsum("bth,btd->bhd", scores.softmax(1), x).flatten(1)


def mean_and_deviation(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Turn the frames of all utterances end to end, (n, D), into means beside standard deviations, (B, 2·D).

    `lengths` is (B,), the frames of each utterance, on the CPU; None: there is one utterance.
    """
    if lengths is None:
        means = x.mean(0, keepdim=True)
        return torch.cat([means, ((x - means).square().mean(0, keepdim=True) + 1e-5).sqrt()], 1)
    utterance = torch.arange(len(lengths)).repeat_interleave(lengths).to(x.device, non_blocking=True)
    count = lengths.to(x.device, x.dtype, non_blocking=True)[:, None]

    def mean(values: Tensor) -> Tensor:
        return values.new_zeros(len(lengths), values.shape[1]).index_add_(0, utterance, values) / count

    means = mean(x)
    # A deviation of 0, of a lone frame, has no gradient; 1e-5 is what batch norm adds as well.
    return torch.cat([means, (mean((x - means[utterance]).square()) + 1e-5).sqrt()], 1)
