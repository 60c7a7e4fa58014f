#!/usr/bin/env python3
"""train.py with a second system, as different from MFCC and ResNet as can be: single samples as rows, no batch norm.

Its network's first layer is made to be frozen, its last layer is not called classifier, and there is no attention.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from ser.features.directories import features_digest, frame_counts, front_end, read_labels
from ser.features.packed import pack
from ser.features.store import FeatureStore
from ser.training.systems import SYSTEMS, Network, System


class SampleNetwork(nn.Module):
    """Powers of samples, mixed, averaged over the utterance, to logits."""

    output_layers = ("head",)

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Linear(3 * dim, 16)
        self.body = nn.Linear(16, 16)
        self.head = nn.Linear(16, classes)

    def embed(self, rows: Tensor, lengths: Tensor) -> Tensor:
        x = self.body(self.stem(torch.cat([rows, rows.square(), rows.abs()], 1)).relu())
        utterance = torch.arange(len(lengths)).repeat_interleave(lengths).to(rows.device)
        sums = x.new_zeros(len(lengths), x.shape[1]).index_add_(0, utterance, x)
        return sums / lengths[:, None].to(rows.device)

    def forward(self, rows: Tensor, lengths: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.head(self.embed(rows, lengths))


SYSTEMS["samples"] = System(
    "single samples",
    {"powers": Network("mean of powers", lambda dim, classes, options: SampleNetwork(dim, classes))},
    FeatureStore.load, lambda data, folder: pack(data, folder, "float32"), frame_counts, read_labels, features_digest,
    front_end,
)

if __name__ == "__main__":
    program = Path(__file__).resolve().parent.parent / "pyscripts" / "train.py"
    sys.argv[0] = str(program)
    runpy.run_path(str(program), run_name="__main__")
