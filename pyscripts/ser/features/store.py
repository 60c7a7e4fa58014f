"""The feature store: all frames of a set in one array, so that a batch plan becomes a batch by one gather."""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ser.augment.copypaste import BatchPlan
from ser.augment.masking import Masks
from ser.base.errors import SerError
from ser.base.progress import progress
from ser.features.packed import CheckedFeatures, Pack, is_packed

# The shares of a GPU's free memory and of the machine's memory that features may take; activations need the rest.
_DEVICE_SHARE = 0.5
_MEMORY_SHARE = 0.5
_COUNTED_ROWS = 1 << 18  # rows that statistics are added up over at a time
_UPLOAD_BYTES = 1 << 28  # bytes copied to a GPU at a time
_RESIDENT_BYTES = 1 << 28  # bytes of a mapped file that this process may hold in memory before it gives them back
_FAULT_BYTES = 1 << 16  # a page fault also maps the cached pages in the 64 KiB around it (Linux, fault_around_bytes)
_ASK_BYTES = 1 << 17  # largest request of one madvise: Linux may cut it to the device's read-ahead, 128 KiB at least


class FeatureStore:
    """Features of many utterances, end to end.

    Attributes:
        BATCH_ROWS: by device type, the padded rows of an evaluation batch.
        utterances: ids, in the order of the data directories' feats.scp; a packed set's are read at the first access.
        lengths: (N,) frames of each utterance, int64.
        frames: (total frames, D) float32, uint8 of images, or a packed set's type; on the training device if they fit,
            else on the CPU (where they may be a memory-mapped file).
        digest: hash of ids, lengths and frames by content: features that are made again the same have the same.
    """

    BATCH_ROWS: ClassVar = {"cuda": 200_000, "cpu": 16_000}  # enough to fill the device, and within its memory

    def __init__(
        self,
        utterances: Sequence[str],
        lengths: np.ndarray,
        frames: Tensor,
        device: torch.device,
        digest: str = "",
        mapping: mmap.mmap | None = None,
    ) -> None:
        """`mapping` is the memory map behind `frames`, if they are mapped."""
        self.utterances, self.lengths, self.device = utterances, np.asarray(lengths, np.int64), device
        self.frames, self.digest, self._file = frames, digest, None
        if device.type == "cuda" and frames.nbytes < _DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
            self.frames = _upload(frames, device, mapping)
        elif mapping is not None:
            self._file = _MappedRows(mapping, frames.shape[1] * frames.itemsize)
        self._offsets = torch.from_numpy(np.cumsum(self.lengths) - self.lengths).to(self.frames.device)

    @classmethod
    def load(
        cls, data: Sequence[str | os.PathLike[str]], device: torch.device, dtype: str = "float32"
    ) -> FeatureStore:
        """Load the features of one packed set, or of data directories (clean and noisy copies, say).

        A packed set is memory-mapped: only its index is read. Features of data directories are held in memory or, if
        they would take over half of it, in a memory-mapped scratch file in `$TMPDIR`, which disappears when the
        process ends. Both are copied to a GPU that has room for them.

        Args:
            data: a packed set, or directories with feats.scp and utt2num_frames.
            device: where batches are wanted.
            dtype: what features of data directories are held as, one of `DTYPES` of `ser.features.packed`.

        Raises:
            SerError: as `Pack` and `CheckedFeatures`; or a packed set is named beside others, or `$TMPDIR` has too
                little room.
        """
        if packs := [folder for folder in data if is_packed(folder)]:
            if len(data) > 1:
                raise SerError(f"{packs[0]}: a packed set stands alone; pack all of the data directories together "
                               "(steps/pack_feats.sh)")
            pack = Pack(packs[0])
            return cls(pack.utterances, pack.lengths, _tensor(pack.frames), device, pack.digest, pack.mapping)
        features = CheckedFeatures(data, dtype)
        frames, mapping = allocate(features.shape, np.dtype(dtype))
        position = 0
        for matrix in progress(features, len(features.lengths), "loading features"):
            frames[position : position + len(matrix)] = matrix
            position += len(matrix)
        utterances = features.utterances.split("\n")[:-1]
        return cls(utterances, features.lengths, torch.from_numpy(frames), device, features.digest(), mapping)

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return self.frames.shape[1]

    def means(self) -> Tensor:
        """Return the mean of each coefficient over all frames, (D,) float32."""
        total = 0.0
        for rows in self.frames.split(_COUNTED_ROWS):
            total = total + rows.double().sum(0)
            if self._file:
                self._file.let_go_after(rows.nbytes)
        return (total / len(self.frames)).float()

    def deviations(self) -> Tensor:
        """Return the standard deviation of each coefficient over all frames, (D,) float32; 1 where nothing varies."""
        count, total, squares = len(self.frames), 0.0, 0.0
        for rows in self.frames.split(_COUNTED_ROWS):
            rows = rows.double()
            total, squares = total + rows.sum(0), squares + rows.square().sum(0)
            if self._file:
                self._file.let_go_after(rows.nbytes)
        deviations = (squares / count - (total / count).square()).clamp_min(0).sqrt()
        return torch.where(deviations > 1e-6, deviations, 1.0).float()

    def hashes(self) -> np.ndarray:
        """Return a hash of each utterance's rows, (N,) of strings: equal rows have equal ones."""
        found = []
        for start, length in zip(self._offsets.tolist(), self.lengths.tolist(), strict=True):
            rows = self.frames[start : start + length]
            found.append(hashlib.blake2b(rows.cpu().numpy(), digest_size=16).hexdigest())
            if self._file:
                self._file.let_go_after(rows.nbytes)
        return np.array(found)

    def prefetch(self, utterances: np.ndarray) -> None:
        """Have the kernel read these utterances (indices) in the background; returns at once.

        Does nothing where features are in memory or on a GPU.
        """
        if self._file:
            self._file.ask(self._offsets.numpy()[utterances], self.lengths[utterances])

    def batch(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        """Gather the features of a planned batch.

        Returns:
            The frames of all examples end to end, (n, D) float32 on the device, whatever type they are stored in, and
            the number of frames of each example, (B,) on the CPU. What the plan's masks hide is 0.
        """
        parts = np.stack([plan.utterances, plan.first, plan.frames, plan.start, plan.filled], 2).reshape(-1, 5)
        rows, lengths = self._gather(parts[plan.utterances.ravel() >= 0]), torch.from_numpy(plan.filled.sum(1))
        if plan.masks is not None:
            _hide(rows, lengths, plan.masks)
        return rows, lengths

    def whole(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Gather whole utterances; returns what `batch` does."""
        lengths, nothing = self.lengths[indices], np.zeros_like(indices)
        return self._gather(np.stack([indices, nothing, lengths, nothing, lengths], 1)), torch.from_numpy(lengths)

    def _gather(self, parts: np.ndarray) -> Tensor:
        """Gather the frames of parts end to end, by one look-up.

        `parts` is (P, 5): utterance, first, frames, start, filled of each, as in a `BatchPlan`.
        """
        if self._file:
            self._file.ask(self._offsets.numpy()[parts[:, 0]] + parts[:, 1], parts[:, 2])
        total = int(parts[:, 4].sum())
        begin = np.cumsum(parts[:, 4]) - parts[:, 4]
        # All integers are transferred at once; what is computed for every frame is computed where the features are.
        columns = torch.from_numpy(np.column_stack([parts, begin])).to(self.frames.device, non_blocking=True)
        utterance, first, frames, start, filled, begin = columns.unbind(1)
        constants = torch.stack([start - begin, frames, self._offsets[utterance] + first], 1)
        shift, length, base = constants.repeat_interleave(filled, 0, output_size=total).unbind(1)
        # A part that is too short is repeated from its start; of the others the remainder changes nothing.
        within = (torch.arange(total, device=columns.device) + shift).remainder_(length)
        rows = self.frames.index_select(0, within.add_(base))
        if self._file:
            self._file.let_go_after(rows.nbytes + 2 * _FAULT_BYTES * len(parts))
        return rows.to(self.device, non_blocking=True).float()


class WaveformStore(FeatureStore):
    """Waveforms of many utterances, end to end: a row of `frames`, which are int16, is a sample at 16 kHz."""

    BATCH_ROWS: ClassVar = {"cuda": 240 * 16000, "cpu": 16 * 16000}


def in_length_order(lengths: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    """Yield the indices of `lengths` (N,) in batches of similar lengths, longest first.

    A batch has at most `rows` padded rows, or one example.
    """
    order = np.argsort(-lengths, kind="stable")
    position = 0
    while position < len(order):
        size = max(1, rows // int(lengths[order[position]]))
        yield order[position : position + size]
        position += size


class _MappedRows:
    """Reads a memory-mapped file of rows in scattered runs that are known in advance."""

    def __init__(self, mapping: mmap.mmap, row_bytes: int) -> None:
        self._mapping, self._row_bytes, self._touched = mapping, row_bytes, 0
        mapping.madvise(mmap.MADV_RANDOM)  # no read-ahead beyond what `ask` asks for: it would read most of the file

    def ask(self, first: np.ndarray, count: np.ndarray) -> None:
        """Have the kernel start reading these runs of rows, in file order, and return.

        All reads are then in progress at once, which is ten times as fast as page faults, which wait for each page.
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
        """Count `mapped` bytes, and after every `_RESIDENT_BYTES` give the pages back to the kernel's cache.

        Otherwise all pages ever read would count as memory of this process.
        """
        self._touched += mapped
        if self._touched > _RESIDENT_BYTES:
            self._mapping.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


def _hide(rows: Tensor, lengths: Tensor, masks: Masks) -> None:
    """Set to 0, in place, what the masks of a batch hide of its rows (n, D); `lengths` is (B,)."""
    frames, coefficients = (torch.from_numpy(array).to(rows.device, non_blocking=True)
                            for array in (masks.frames, masks.coefficients))
    lengths = lengths.to(rows.device, non_blocking=True)
    example = torch.arange(len(lengths), device=rows.device).repeat_interleave(lengths, output_size=len(rows))
    ends = lengths.cumsum(0)
    position = torch.arange(len(rows), device=rows.device) - (ends - lengths)[example]
    hidden = ((position[:, None] >= frames[example, :, 0]) & (position[:, None] < frames[example, :, 1])).any(1)
    column = torch.arange(rows.shape[1], device=rows.device)[:, None, None]
    visible = ~((column >= coefficients[..., 0]) & (column < coefficients[..., 1])).any(2).T  # (B, D)
    rows.mul_(visible[example] & ~hidden[:, None])


def allocate(shape: tuple[int, int], dtype: np.dtype) -> tuple[np.ndarray, mmap.mmap | None]:
    """Return an array in memory, or one in a memory-mapped scratch file, with its map.

    Raises:
        SerError: `$TMPDIR` has too little room for the file.
    """
    size, memory = dtype.itemsize * shape[0] * shape[1], os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size <= _MEMORY_SHARE * memory:
        return np.empty(shape, dtype), None
    if size > shutil.disk_usage(tempfile.gettempdir()).free:
        raise SerError(f"{tempfile.gettempdir()}: no room for {size / 1e9:.1f} GB of features; set TMPDIR to a folder "
                       "that has it, or pack them (steps/pack_feats.sh)")
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        mapping = mmap.mmap(file.fileno(), size)
    return np.frombuffer(mapping, dtype).reshape(shape), mapping


def _tensor(frames: np.ndarray) -> Tensor:
    """Return a read-only array as a tensor, without copying it."""
    with warnings.catch_warnings():  # torch warns that such a tensor must not be written to; nothing here does
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
