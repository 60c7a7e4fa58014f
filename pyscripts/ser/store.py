"""The packed feature store: every frame of a set in one array, so that a plan becomes a batch by one gather."""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ser.arks import ark_of, read_arks
from ser.copypaste import BatchPlan
from ser.errors import SerError
from ser.files import file_identity, fingerprint
from ser.progress import progress
from ser.tables import read_table

# Of a GPU's free memory, and of the machine's, that features may take; the rest is for the network's activations.
_DEVICE_SHARE = 0.5
_MEMORY_SHARE = 0.5


class FeatureStore:
    """Features of many utterances, packed.

    Attributes:
        utterances: ids, in the order of the data directories' feats.scp.
        lengths: (N,) frames of each utterance, int64.
        frames: (total frames, D) float32, on the training device if they fit, else on the CPU (where they may be a
            memory-mapped file).
        digest: hash of all of this, of content alone: the same features made again are the same.
    """

    def __init__(
        self, utterances: Sequence[str], lengths: np.ndarray, frames: Tensor, device: torch.device, digest: str = ""
    ) -> None:
        self.utterances, self.lengths, self.device = list(utterances), np.asarray(lengths, np.int64), device
        self.frames, self.digest = frames, digest
        if device.type == "cuda" and frames.nbytes < _DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
            self.frames = frames.to(device)
        self._offsets = torch.from_numpy(np.cumsum(self.lengths) - self.lengths).to(self.frames.device)

    @classmethod
    def load(cls, data: Sequence[str | os.PathLike[str]], device: torch.device) -> FeatureStore:
        """Pack the features of data directories (clean and noisy copies, say).

        They are held in memory, or, if they would take over half of it, in a memory-mapped scratch file in `$TMPDIR`
        that goes when the process ends.

        Args:
            data: directories with feats.scp and utt2num_frames.
            device: where batches are wanted.

        Raises:
            SerError: a missing or damaged table or ark, an utterance in two directories, features that are not
                finite, or whose frames or dimension are not those stated.
        """
        lengths: dict[str, int] = {}
        for folder in map(Path, data):
            for utterance, frames in read_table(folder / "utt2num_frames").items():
                if utterance in lengths:
                    raise SerError(f"{folder}/utt2num_frames: {utterance} is also in another directory of this set")
                lengths[utterance] = int(frames)
        total = sum(lengths.values())
        packed: np.ndarray | None = None
        utterances: list[str] = []
        position = 0
        for utterance, matrix, scp in progress(_read_all(data), len(lengths), "loading features"):
            if packed is None:
                packed = _allocate((total, matrix.shape[1]))
            expected = (lengths.get(utterance), packed.shape[1])
            if matrix.shape != expected or not np.isfinite(matrix).all():
                raise SerError(
                    f"{scp}: {utterance} has features of shape {matrix.shape}, expected {expected}, all finite; "
                    "run steps/prepare_feats.sh again"
                )
            packed[position : position + len(matrix)] = matrix
            position += len(matrix)
            utterances.append(utterance)
        missing = lengths.keys() - set(utterances)
        if packed is None or missing:
            raise SerError(f"{data[0]}: {len(missing)} utterances of utt2num_frames have no features "
                           f"({', '.join(sorted(missing)[:3])}); run steps/prepare_feats.sh again")
        digest = fingerprint(utterances, hashlib.blake2b(packed.data).hexdigest())
        return cls(utterances, np.array([lengths[u] for u in utterances]), torch.from_numpy(packed), device, digest)

    def batch(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        """The features of a planned batch.

        Returns:
            The frames of all examples end to end, (n, D) float32 on the device, and the frames of each example, (B,)
            on the CPU.
        """
        parts = np.stack([plan.utterances, plan.first, plan.frames, plan.start, plan.filled], 2).reshape(-1, 5)
        return self._gather(parts[plan.utterances.ravel() >= 0]), torch.from_numpy(plan.filled.sum(1))

    def whole(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Whole utterances as a batch; returns as `batch` does."""
        lengths, nothing = self.lengths[indices], np.zeros_like(indices)
        return self._gather(np.stack([indices, nothing, lengths, nothing, lengths], 1)), torch.from_numpy(lengths)

    def _gather(self, parts: np.ndarray) -> Tensor:
        """(P, 5) utterance, first, frames, start, filled of parts to their frames end to end, by one look-up."""
        total = int(parts[:, 4].sum())
        begin = np.cumsum(parts[:, 4]) - parts[:, 4]
        # One small transfer carries every integer; frame by frame everything happens where the features are.
        columns = torch.from_numpy(np.column_stack([parts, begin])).to(self.frames.device, non_blocking=True)
        utterance, first, frames, start, filled, begin = columns.unbind(1)
        constants = torch.stack([start - begin, frames, self._offsets[utterance] + first], 1)
        shift, length, base = constants.repeat_interleave(filled, 0, output_size=total).unbind(1)
        # Filling goes round within the part; where nothing is filled up, the remainder changes nothing.
        within = (torch.arange(total, device=columns.device) + shift).remainder_(length)
        return self.frames.index_select(0, within.add_(base)).to(self.device, non_blocking=True)

    def in_length_order(self, frame_budget: int) -> Iterator[np.ndarray]:
        """Batches of indices of like lengths, longest first, of at most `frame_budget` frames (but one utterance)."""
        order = np.argsort(-self.lengths, kind="stable")
        position = 0
        while position < len(order):
            size = max(1, frame_budget // int(self.lengths[order[position]]))
            yield order[position : position + size]
            position += size


def front_end(data: Sequence[str | os.PathLike[str]]) -> str:
    """The options that made the features of all of the data, as lines; '' where no directory records them.

    Raises:
        SerError: they differ from one directory to another.
    """
    found: dict[str, str] = {}
    for folder in data:
        lines: list[str] = []
        for name in ("mfcc.conf", "cmn.conf"):
            path = Path(folder) / "conf" / name
            if path.is_file():
                lines += [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
        found.setdefault("\n".join(sorted(filter(None, lines))), str(folder))
    if len(found) > 1:
        raise SerError(f"the features of {' and '.join(found.values())} were made with different options; "
                       "make them alike (run.sh stages 1 and 2)")
    return next(iter(found), "")


def features_digest(data: Sequence[str | os.PathLike[str]]) -> str:
    """A hash that changes whenever the features of any of the data directories do, without reading them."""
    indices = [Path(folder) / "feats.scp" for folder in data]
    arks = {ark_of(location) for index in indices for location in read_table(index).values()}
    return fingerprint(*indices, sorted(map(file_identity, arks)))


def _read_all(data: Sequence[str | os.PathLike[str]]) -> Iterator[tuple[str, np.ndarray, Path]]:
    for folder in map(Path, data):
        for utterance, matrix in read_arks(folder / "feats.scp"):
            yield utterance, matrix, folder / "feats.scp"


def _allocate(shape: tuple[int, int]) -> np.ndarray:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if 4 * shape[0] * shape[1] <= _MEMORY_SHARE * memory:
        return np.empty(shape, np.float32)
    array = np.memmap(tempfile.TemporaryFile(), np.float32, "w+", shape=shape)  # noqa: SIM115 - the map needs it open
    if hasattr(mmap, "MADV_RANDOM"):  # read-ahead around random rows would read most of the file each epoch
        array._mmap.madvise(mmap.MADV_RANDOM)
    return array
