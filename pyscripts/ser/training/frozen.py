"""What the frozen layers of a network make of each example, computed once for all epochs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ser.augment.copypaste import BatchPlan
from ser.base.progress import progress
from ser.features.store import allocate
from ser.training.systems import Store

_GPU_SHARE = 0.5  # of what is free on a GPU that outputs may take


class FrozenStore:
    """A store of the outputs of a network's `trunk` in place of the examples, which are all of one length.

    They are in memory, or in a memory-mapped scratch file in `$TMPDIR`, which disappears when the process ends.

    Args:
        store: the examples.
        network: with `trunk(rows, lengths)`, in which nothing is random or trained.
        autocast: how the outputs are computed, and so their type.
        batch: examples computed at a time. Convolutions add up in an order that depends on it: in float32 the outputs
            are those of training batches of that size, bit for bit.
    """

    def __init__(self, store: Store, network: nn.Module, autocast: torch.autocast, batch: int) -> None:
        self.store, self.device, self.BATCH_ROWS = store, store.device, store.BATCH_ROWS
        count = len(store.lengths)
        batch = min(batch, count)
        starts = range(0, count, batch)
        self.outputs: Tensor | None = None
        with torch.no_grad():
            for start in progress(starts, len(starts), "frozen layers", "batch"):
                indices = np.arange(batch) + min(start, count - batch)
                with autocast:
                    output = network.trunk(*store.whole(indices))
                if self.outputs is None:
                    self.outputs = _allocate((count, *output.shape[1:]), output.dtype, store.device)
                self.outputs[indices[0] : indices[0] + batch] = output

    @property
    def utterances(self) -> Sequence[str]:
        return self.store.utterances

    @property
    def lengths(self) -> np.ndarray:
        return self.store.lengths

    @property
    def dim(self) -> int:
        return self.store.dim

    @property
    def digest(self) -> str:
        return self.store.digest

    def batch(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        """Return the outputs of a plan's examples, (B, C, H, W), and the rows of each, (B,) on the CPU."""
        return self.whole(plan.utterances[:, 0])

    def whole(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the outputs of these examples, as `batch` does."""
        chosen = self.outputs.index_select(0, torch.from_numpy(indices).to(self.outputs.device))
        return chosen.to(self.device, non_blocking=True), torch.from_numpy(self.lengths[indices])

    def prefetch(self, utterances: np.ndarray) -> None:
        """Do nothing: outputs are in memory, or read when they are asked for."""


def _allocate(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a tensor on a GPU that has room for it, else in memory, else in a scratch file."""
    row = int(np.prod(shape[1:])) * dtype.itemsize
    if device.type == "cuda" and shape[0] * row < _GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(allocate((shape[0], row), np.dtype(np.uint8))[0]).view(dtype).view(shape)
