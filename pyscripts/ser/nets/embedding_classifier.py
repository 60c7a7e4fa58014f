"""What the networks on features have in common: scaled input, an embedding of an utterance, and its class logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ser.nets.angular_margin import AngularMargin


class EmbeddingClassifier(nn.Module):
    """A network on frames; a subclass says in `embed` how frames become an embedding, and makes a `classifier`.

    Args:
        angular: margin and scale of an `AngularMargin` output layer; None: a linear one after a ReLU.
        dropout: share of the embedding that is set to 0 in training, before a linear output layer.
        deviations: (D,) what each coefficient of the input is divided by; kept in checkpoints. None: nothing.
        layers: how many hidden states, of as many layers of an encoder, are side by side in a frame. What is read of
            several is their weighted mean, whose weights, the softmax of `layer_weights`, are learnt (Yang et al.,
            SUPERB, Interspeech 2021).

    Attributes:
        output_layers: the layers that depend on the classes.
    """

    output_layers = ("classifier",)

    def __init__(
        self,
        angular: tuple[float, float] | None = None,
        dropout: float = 0.0,
        deviations: Tensor | None = None,
        layers: int = 1,
    ) -> None:
        super().__init__()
        self.register_buffer("deviations", deviations)
        self.layer_weights = nn.Parameter(torch.zeros(layers)) if layers > 1 else None
        self.angular, self.dropout = angular, dropout

    def output_layer(self, dim: int, classes: int) -> nn.Module:
        """Return what turns embeddings into logits."""
        return AngularMargin(dim, classes, *self.angular) if self.angular else nn.Linear(dim, classes)

    def embed(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the embeddings (B, dim), float32.

        Args:
            frames: (n, D), the frames of all utterances end to end.
            lengths: (B,) frames of each utterance, on the CPU; None: the frames are of one utterance.
        """
        raise NotImplementedError

    def scaled(self, frames: Tensor) -> Tensor:
        """Return the frames, each coefficient divided by its deviation, and the mean of the layers."""
        frames = frames if self.deviations is None else frames / self.deviations
        if self.layer_weights is None:
            return frames
        return self.layer_weights.softmax(0).to(frames.dtype) @ frames.view(len(frames), len(self.layer_weights), -1)

    def activated(self, embeddings: Tensor) -> Tensor:
        """Return what a linear output layer reads of embeddings (B, dim)."""
        return F.relu(embeddings)

    def forward(self, frames: Tensor, lengths: Tensor | None, labels: Tensor | None = None) -> Tensor:
        """Return logits (B, classes); arguments as of `embed`, and in training the (B,) labels, for the margin."""
        embeddings = self.embed(frames, lengths)
        if self.angular:
            return self.classifier(embeddings, labels)
        return self.classifier(F.dropout(self.activated(embeddings), self.dropout, self.training))
