"""The output layer of speaker models."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AngularMargin(nn.Module):
    """Additive angular margin softmax: Deng et al., ArcFace, CVPR 2019, equation (3).

    Logits are scaled cosines of the embedding and a vector per class; in training the angle to the true class is
    enlarged by the margin first, so that a class is learnt only once it wins by that much.
    """

    def __init__(self, dim: int, classes: int, margin: float, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(classes, dim)))
        self.margin, self.scale = margin, scale

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, D) embeddings and, in training, their (B,) labels to (B, classes) logits."""
        with torch.autocast(x.device.type, enabled=False):
            cosines = F.linear(F.normalize(x.float()), F.normalize(self.weight))
            if labels is not None:
                true = cosines.gather(1, labels[:, None])
                sine = (1 - true.square()).clamp_min(1e-7).sqrt()
                further = true * math.cos(self.margin) - sine * math.sin(self.margin)
                # Past half a turn the cosine would rise again; a straight line goes on falling.
                beyond = true - self.margin * math.sin(self.margin)
                true = torch.where(true > -math.cos(self.margin), further, beyond)
                cosines = cosines.scatter(1, labels[:, None], true)
            return self.scale * cosines
