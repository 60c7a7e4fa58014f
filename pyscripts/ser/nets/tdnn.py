"""The network of Kaldi's x-vectors: Snyder et al., X-vectors, ICASSP 2018, Table 1.

A batch is the frames of its utterances end to end, whatever their lengths; what lies beyond an utterance's ends is 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ser.nets.embedding_classifier import EmbeddingClassifier
from ser.nets.pooling import mean_and_deviation

CONTEXTS = ((-2, -1, 0, 1, 2), (-2, 0, 2), (-3, 0, 3), (0,), (0,))  # frames that each layer sees around its own
POOLED = 3  # the last frame layer is so many times as wide as the others, which are 512 wide in the paper


class FrameLayer(nn.Module):
    """Frames around each frame spliced, a linear layer, ReLU, batch norm."""

    def __init__(self, dim_in: int, dim: int, context: tuple[int, ...]) -> None:
        super().__init__()
        self.context = context
        self.linear = nn.Linear(len(context) * dim_in, dim)
        self.norm = nn.BatchNorm1d(dim)

    def forward(self, x: Tensor, within: dict[int, Tensor]) -> Tensor:
        """Turn (n, in) into (n, out); `within[offset]` is (n, 1), 1 where the frame so far on is the utterance's."""
        spliced = [x if offset == 0 else x.roll(-offset, 0) * within[offset] for offset in self.context]
        return self.norm(self.linear(torch.cat(spliced, 1)).relu())


class Tdnn(EmbeddingClassifier):
    """Features to class logits.

    Args:
        dim: coefficients of a frame.
        classes: size of the output layer.
        width: of the frame layers; the embedding has as many.
        args, kwargs: as of `EmbeddingClassifier` after `classes`.
    """

    def __init__(self, dim: int, classes: int, width: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        widths = [dim, *[width] * (len(CONTEXTS) - 1), POOLED * width]
        self.frame_layers = nn.ModuleList(map(FrameLayer, widths, widths[1:], CONTEXTS))
        self.embedding = nn.Linear(2 * POOLED * width, width)
        self.classifier = self.output_layer(width, classes)

    def embed(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the first layer after pooling, before its ReLU (the x-vector of a speaker model), (B, width)."""
        x, within = self.scaled(frames), _within(lengths, frames)
        for layer in self.frame_layers:
            x = layer(x, within)
        with torch.autocast(frames.device.type, enabled=False):
            return self.embedding(mean_and_deviation(x.to(self.embedding.weight.dtype), lengths))


def _within(lengths: Tensor | None, frames: Tensor) -> dict[int, Tensor]:
    """Return for every offset of `CONTEXTS` where it stays within the utterance, (n, 1) in the type of the frames."""
    position = torch.arange(frames.shape[0])
    if lengths is None:
        behind = frames.shape[0] - position
    else:
        position = position - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        behind = lengths.repeat_interleave(lengths) - position
    offsets = sorted({offset for context in CONTEXTS for offset in context if offset})
    inside = torch.stack([(position >= -offset) & (behind > offset) for offset in offsets])
    return dict(zip(offsets, inside.to(frames.device, frames.dtype, non_blocking=True)[..., None], strict=True))
