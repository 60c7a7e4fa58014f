"""The packed feature store: every frame of a set in one array, so that a plan becomes a batch by one gather."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ser.augment.copypaste import BatchPlan
from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table
from ser.base.progress import progress
from ser.data.arks import read_arks
from ser.features.packed import ContentDigest, Pack, is_packed

# Of a GPU's free memory, and of the machine's, that features may take; the rest is for the network's activations.
_DEVICE_SHARE = 0.5
_MEMORY_SHARE = 0.5
_UPLOAD_BYTES = 1 << 28  # copied to a GPU at a time
_RESIDENT_BYTES = 1 << 28  # of a mapped file that count as this process's memory, at most
_FAULT_BYTES = 1 << 16  # Linux maps whatever its cache has of as much around a page that is looked at
_ASK_BYTES = 1 << 17  # Linux reads ahead no more than its device's read-ahead, at least this, for one request


class FeatureStore:
    """Features of many utterances, packed.

    Attributes:
        utterances: ids, in the order of the data directories' feats.scp; a packed set's are read when looked at.
        lengths: (N,) frames of each utterance, int64.
        frames: (total frames, D) float32, or a packed set's float16, on the training device if they fit, else on the
            CPU (where they may be a memory-mapped file).
        digest: hash of all of this, of content alone: the same features made again are the same.
        BATCH_ROWS: padded frames of an evaluation batch: enough to fill the device, little enough for its memory.
    """

    BATCH_ROWS: ClassVar[dict[str, int]] = {"cuda": 200_000, "cpu": 16_000}

    def __init__(
        self,
        utterances: Sequence[str],
        lengths: np.ndarray,
        frames: Tensor,
        device: torch.device,
        digest: str = "",
        mapping: mmap.mmap | None = None,
    ) -> None:
        """`mapping` is the file behind `frames`, if they are mapped."""
        self.utterances, self.lengths, self.device = utterances, np.asarray(lengths, np.int64), device
        self.frames, self.digest, self._file = frames, digest, None
        if device.type == "cuda" and frames.nbytes < _DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
            self.frames = _upload(frames, device, mapping)
        elif mapping is not None:
            self._file = _MappedRows(mapping, frames.shape[1] * frames.itemsize)
        self._offsets = torch.from_numpy(np.cumsum(self.lengths) - self.lengths).to(self.frames.device)

    @classmethod
    def load(cls, data: Sequence[str | os.PathLike[str]], device: torch.device) -> FeatureStore:
        """The features of one packed set, or of data directories (clean and noisy copies, say).

        A packed set is memory-mapped: loading reads its index alone. Features of data directories are held in memory,
        or, if they would take over half of it, in a memory-mapped scratch file in `$TMPDIR` that goes when the
        process ends. Either are copied to a GPU that has room for them.

        Args:
            data: a packed set, or directories with feats.scp and utt2num_frames.
            device: where batches are wanted.

        Raises:
            SerError: a missing or damaged table, ark or packed set, a packed set beside others, an utterance in two
                directories, features that are not finite, or whose frames or dimension are not those stated.
        """
        if packs := [folder for folder in data if is_packed(folder)]:
            if len(data) > 1:
                raise SerError(f"{packs[0]}: a packed set stands alone; pack all of the data directories together "
                               "(steps/pack_feats.sh)")
            pack = Pack(packs[0])
            return cls(pack.utterances, pack.lengths, _tensor(pack.frames), device, pack.digest, pack.mapping)
        lengths: dict[str, int] = {}
        for folder in map(Path, data):
            for utterance, frames in read_table(folder / "utt2num_frames").items():
                if utterance in lengths:
                    raise SerError(f"{folder}/utt2num_frames: {utterance} is also in another directory of this set")
                lengths[utterance] = int(frames)
        total = sum(lengths.values())
        packed: np.ndarray | None = None
        mapping: mmap.mmap | None = None
        utterances: list[str] = []
        digest = ContentDigest()
        position = 0
        for utterance, matrix, scp in progress(_read_all(data), len(lengths), "loading features"):
            if packed is None:
                packed, mapping = _allocate((total, matrix.shape[1]))
            expected = (lengths.get(utterance), packed.shape[1])
            if matrix.shape != expected or not np.isfinite(matrix).all():
                raise SerError(
                    f"{scp}: {utterance} has features of shape {matrix.shape}, expected {expected}, all finite; "
                    "run steps/prepare_feats.sh again"
                )
            rows = packed[position : position + len(matrix)]
            rows[:] = matrix
            digest.add(utterance, rows)
            position += len(matrix)
            utterances.append(utterance)
        missing = lengths.keys() - set(utterances)
        if packed is None or missing:
            raise SerError(f"{data[0]}: {len(missing)} utterances of utt2num_frames have no features "
                           f"({', '.join(sorted(missing)[:3])}); run steps/prepare_feats.sh again")
        counts = np.array([lengths[utterance] for utterance in utterances])
        return cls(utterances, counts, torch.from_numpy(packed), device, digest.hexdigest(), mapping)

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return self.frames.shape[1]

    def prefetch(self, utterances: np.ndarray) -> None:
        """Have these utterances (indices) read into memory in the background, where they are in a mapped file.

        Asks the kernel and returns; nothing where features are in memory or on a GPU.
        """
        if self._file:
            self._file.ask(self._offsets.numpy()[utterances], self.lengths[utterances])

    def batch(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        """The features of a planned batch.

        Returns:
            The frames of all examples end to end, (n, D) float32 on the device, whatever they are stored as, and the
            frames of each example, (B,) on the CPU.
        """
        parts = np.stack([plan.utterances, plan.first, plan.frames, plan.start, plan.filled], 2).reshape(-1, 5)
        return self._gather(parts[plan.utterances.ravel() >= 0]), torch.from_numpy(plan.filled.sum(1))

    def whole(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Whole utterances as a batch; returns as `batch` does."""
        lengths, nothing = self.lengths[indices], np.zeros_like(indices)
        return self._gather(np.stack([indices, nothing, lengths, nothing, lengths], 1)), torch.from_numpy(lengths)

    def _gather(self, parts: np.ndarray) -> Tensor:
        """(P, 5) utterance, first, frames, start, filled of parts to their frames end to end, by one look-up."""
        if self._file:
            self._file.ask(self._offsets.numpy()[parts[:, 0]] + parts[:, 1], parts[:, 2])
        total = int(parts[:, 4].sum())
        begin = np.cumsum(parts[:, 4]) - parts[:, 4]
        # One small transfer carries every integer; frame by frame everything happens where the features are.
        columns = torch.from_numpy(np.column_stack([parts, begin])).to(self.frames.device, non_blocking=True)
        utterance, first, frames, start, filled, begin = columns.unbind(1)
        constants = torch.stack([start - begin, frames, self._offsets[utterance] + first], 1)
        shift, length, base = constants.repeat_interleave(filled, 0, output_size=total).unbind(1)
        # Filling goes round within the part; where nothing is filled up, the remainder changes nothing.
        within = (torch.arange(total, device=columns.device) + shift).remainder_(length)
        rows = self.frames.index_select(0, within.add_(base))
        if self._file:
            self._file.let_go_after(rows.nbytes + 2 * _FAULT_BYTES * len(parts))
        return rows.to(self.device, non_blocking=True).float()

    def in_length_order(self, frame_budget: int) -> Iterator[np.ndarray]:
        """Batches of indices of like lengths, longest first, of at most `frame_budget` frames (but one utterance)."""
        order = np.argsort(-self.lengths, kind="stable")
        position = 0
        while position < len(order):
            size = max(1, frame_budget // int(self.lengths[order[position]]))
            yield order[position : position + size]
            position += size


class _MappedRows:
    """A memory-mapped file of rows that are read here and there, a known list of them at a time."""

    def __init__(self, mapping: mmap.mmap, row_bytes: int) -> None:
        self._mapping, self._row_bytes, self._touched = mapping, row_bytes, 0
        mapping.madvise(mmap.MADV_RANDOM)  # what is wanted is asked for; a guess around it would read most of the file

    def ask(self, first: np.ndarray, count: np.ndarray) -> None:
        """Have the kernel start reading these runs of rows, in file order, and return.

        All reads are then under way at once: ten times as fast as going through the pages, in whatever order, each of
        which is waited for.
        """
        page = mmap.PAGESIZE
        begin = first * self._row_bytes // page
        end = -(-(first + count) * self._row_bytes // page)
        order = np.argsort(begin)
        begin, reach = begin[order], np.maximum.accumulate(end[order])
        gaps = np.flatnonzero(begin[1:] > reach[:-1]) + 1
        starts, stops = begin[np.r_[0, gaps]] * page, reach[np.r_[gaps - 1, -1]] * page
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            for position in range(start, stop, _ASK_BYTES):
                self._mapping.madvise(mmap.MADV_WILLNEED, position, min(_ASK_BYTES, stop - position))

    def let_go_after(self, mapped: int) -> None:
        """Count bytes; now and then give the pages back to the kernel, whose cache keeps them while it can.

        Else they would count as memory of this process, until the whole file does.
        """
        self._touched += mapped
        if self._touched > _RESIDENT_BYTES:
            self._mapping.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


def _read_all(data: Sequence[str | os.PathLike[str]]) -> Iterator[tuple[str, np.ndarray, Path]]:
    for folder in map(Path, data):
        for utterance, matrix in read_arks(folder / "feats.scp"):
            yield utterance, matrix, folder / "feats.scp"


def _allocate(shape: tuple[int, int]) -> tuple[np.ndarray, mmap.mmap | None]:
    """Room for features in memory, or in a scratch file that is mapped."""
    size, memory = 4 * shape[0] * shape[1], os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size <= _MEMORY_SHARE * memory:
        return np.empty(shape, np.float32), None
    if size > shutil.disk_usage(tempfile.gettempdir()).free:
        raise SerError(f"{tempfile.gettempdir()}: no room for {size / 1e9:.1f} GB of features; set TMPDIR to a folder "
                       "that has it, or pack them (steps/pack_feats.sh)")
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        mapping = mmap.mmap(file.fileno(), size)
    return np.frombuffer(mapping, np.float32).reshape(shape), mapping


def _tensor(frames: np.ndarray) -> Tensor:
    """A read-only array as a tensor, without copying it."""
    with warnings.catch_warnings():  # against writing to it, which nothing here does
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(frames)


def _upload(frames: Tensor, device: torch.device, mapping: mmap.mmap | None) -> Tensor:
    if mapping is not None:
        mapping.madvise(mmap.MADV_SEQUENTIAL)
    result = torch.empty_like(frames, device=device)
    pieces = list(zip(*(t.split(max(1, _UPLOAD_BYTES * len(t) // t.nbytes)) for t in (frames, result)), strict=True))
    for source, target in progress(pieces, len(pieces), "copying features to the GPU", "pieces"):
        target.copy_(source)
    return result
