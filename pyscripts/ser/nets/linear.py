"""Frames pooled over time and one linear layer, which is enough on top of a pretrained encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ser.nets.embedding_classifier import EmbeddingClassifier
from ser.nets.pooling import mean_and_deviation


class Linear(EmbeddingClassifier):
    """Features to class logits.

    Args:
        dim: coefficients of a frame.
        classes: size of the output layer.
        pooling: `mean` of an utterance's frames, or `mean+deviation`: their standard deviation beside it.
        pooled_norm: `batch`: each number of the pooled vector is brought to mean 0 and variance 1, as over the training
            utterances; `none`: it is taken as it is.
        args, kwargs: as of `EmbeddingClassifier`.
    """

    def __init__(self, dim: int, classes: int, pooling: str, pooled_norm: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dim = dim if pooling == "mean" else 2 * dim
        self.norm = nn.BatchNorm1d(self.dim, affine=False) if pooled_norm == "batch" else nn.Identity()
        self.classifier = self.output_layer(self.dim, classes)

    def embed(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the pooled frames, normalised, (B, dim) or (B, 2·dim) float32."""
        with torch.autocast(frames.device.type, enabled=False):
            frames = frames.to(self.classifier.weight.dtype)
            return self.norm(mean_and_deviation(self.scaled(frames), lengths)[:, : self.dim])

    def activated(self, embeddings: Tensor) -> Tensor:
        """Return the embeddings as they are."""
        return embeddings
