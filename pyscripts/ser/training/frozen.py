"""What the frozen layers of a network make of each image, computed once for all epochs, trainings and tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ser.augment.copypaste import BatchPlan
from ser.base.progress import Progress
from ser.features.store import FeatureStore, allocate
from ser.nets.image_classifier import ImageClassifier
from ser.training.kept_outputs import KeptOutputs

_GPU_SHARE = 0.5  # of what is free on a GPU that outputs may take
_KEPT_AT_ONCE = 512  # images whose outputs are written to a file: a kill costs no more than these


class FrozenStore:
    """A store of the outputs of a network's `trunk` in place of the images, which are all of one size.

    They are in memory, or in a memory-mapped scratch file in `$TMPDIR`, which disappears when the process ends. What
    an earlier process has kept (`KeptOutputs`) is read, and the rest computed and kept.

    Args:
        store: the images.
        data: the directory, or packed set, beside whose images outputs are kept.
        network: in whose `trunk` nothing is random or trained.
        precision: bf16 or fp32: how the outputs are computed, and so their type.
        batch: images computed at a time. Convolutions add up in an order that depends on it: in float32 the outputs
            are those of training batches of that size, bit for bit.
    """

    def __init__(self, store: FeatureStore, data: str, network: ImageClassifier, precision: str, batch: int) -> None:
        self.store, self.device, self.BATCH_ROWS = store, store.device, store.BATCH_ROWS
        images, first, places = np.unique(store.hashes(), return_index=True, return_inverse=True)
        self._places, self._outputs = torch.from_numpy(places), torch.empty(0)
        batch = min(batch, len(store.lengths))
        kept, missing = KeptOutputs(data, network, (precision, batch), store.device), np.ones(len(images), bool)
        for there, outputs in kept.read(images):
            self._put(there, outputs, len(images))
            missing[there] = False
        todo = np.flatnonzero(missing)
        piece = -(-_KEPT_AT_ONCE // batch) * batch
        with Progress(-(-len(todo) // batch), "frozen layers", "batch") as report:
            for start in range(0, len(todo), piece):
                some, outputs = todo[start : start + piece], []
                for at in range(0, len(some), batch):
                    # A batch that is not full is filled up by repeating it.
                    indices = first[np.resize(some[at : at + batch], batch)]
                    with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16"):
                        maps = network.trunk(*store.whole(indices))
                    outputs.append(maps[: len(some) - at].permute(0, 2, 3, 1))
                    report.add()
                outputs = torch.cat(outputs)
                self._put(some, outputs, len(images))
                kept.write(images[some], outputs)

    def _put(self, places: np.ndarray, outputs: Tensor, count: int) -> None:
        """Take the outputs, (n, H, W, C) as networks have them in memory, of some of `count` images."""
        if not len(self._outputs):
            self._outputs = _allocate((count, *outputs.shape[1:]), outputs.dtype, self.device)
        self._outputs[torch.from_numpy(places).to(self._outputs.device)] = outputs.to(self._outputs.device)

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
        chosen = self._outputs.index_select(0, self._places[indices].to(self._outputs.device))
        return chosen.to(self.device, non_blocking=True).permute(0, 3, 1, 2), torch.from_numpy(self.lengths[indices])

    def prefetch(self, utterances: np.ndarray) -> None:
        """Do nothing: outputs are in memory, or read when they are asked for."""


def frozen_for_evaluation(store: FeatureStore, data: str, network: nn.Module) -> FeatureStore | FrozenStore:
    """Return what an evaluation reads: what the frozen layers make of the images, or of other networks the store."""
    if not isinstance(network, ImageClassifier) or not network.frozen_layers():
        return store
    return FrozenStore(store, data, network, "fp32", store.BATCH_ROWS[store.device.type] // int(store.lengths.max()))


def _allocate(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a tensor on a GPU that has room for it, else in memory, else in a scratch file."""
    row = int(np.prod(shape[1:])) * dtype.itemsize
    if device.type == "cuda" and shape[0] * row < _GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(allocate((shape[0], row), np.dtype(np.uint8))[0]).view(dtype).view(shape)
