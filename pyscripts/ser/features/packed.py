"""Features packed end to end: reading and checking those of data directories, and packed sets.

A packed set holds the features of any number of utterances in one file that is memory-mapped, not read:

    frames.bin      (T, D) float16, float32, uint8 or int16, row-major, little-endian: all utterances end to end
    lengths.npy     (N,) int32 frames of each utterance
    utterances      their ids, one a line
    <table>.npz     of each label table: classes (K,) sorted, and indices (N,) int32 into them
    conf/…          the front end's options, as in a data directory
    packed.json     sizes and digest of the others; written last, so that a set without it is not finished
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import math
import mmap
import os
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ser.base.errors import SerError
from ser.base.files import atomic_path, fingerprint, remove_leftovers, write_text
from ser.base.kaldi_tables import read_table
from ser.base.progress import progress
from ser.data.arks import ark_identities, read_arks

DTYPES = ("float16", "float32", "uint8", "int16")
_WHOLE = {"uint8": "0 to 255, as images have; run steps/make_spectrogram.sh again",
          "int16": "of 16 bits, as waveforms have; run steps/make_waveforms.sh again"}
LABEL_TABLES = ("utt2spk", "utt2emo")
# Files with the options that made features
FRONT_END = ("conf/mfcc.conf", "conf/encoder.conf", "conf/cmn.conf", "conf/spectrogram.conf", "conf/waveforms.conf",
             "conf/mel.conf", "conf/world.conf")
_OF_FEATURES = (*FRONT_END, "frame_shift")
_SUMMARY, _FRAMES, _LENGTHS, _UTTERANCES = "packed.json", "frames.bin", "lengths.npy", "utterances"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORMAT = 1


class Pack:
    """An open packed set: its index is in memory, its frames are memory-mapped.

    Attributes:
        lengths: (N,) int32 frames of each utterance.
        frames: (T, D) float16, float32, uint8 or int16, read-only, memory-mapped.
        mapping: the memory map behind `frames`.
        utterances: N ids, read at the first access.
        digest: hash of ids, lengths and frames by content.

    Raises:
        SerError: packing has not finished, or a file is missing or of another size than the set's summary says.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        summary = _summary(self.folder)
        if summary is None:
            raise SerError(f"{self.folder}: packing has not finished; run steps/pack_feats.sh again")
        count, shape = summary["utterances"], (summary["frames"], summary["dim"])
        dtype = np.dtype(summary["dtype"]).newbyteorder("<")
        self.digest: str = summary["digest"]
        try:
            self.lengths: np.ndarray = np.load(self.folder / _LENGTHS, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(_LENGTHS, str(error)) from error
        if self.lengths.shape != (count,) or self.lengths.sum(dtype=np.int64) != shape[0]:
            raise self._damaged(_LENGTHS, f"does not tell of {count} utterances with {shape[0]} frames")
        expected = shape[0] * shape[1] * dtype.itemsize
        try:
            with open(self.folder / _FRAMES, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size != expected:
                    raise self._damaged(_FRAMES, f"has {size} bytes, expected {expected}")
                self.mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise self._damaged(_FRAMES, "no such file") from None
        self.frames: np.ndarray = np.frombuffer(self.mapping, dtype).reshape(shape)
        self.utterances: Sequence[str] = _Utterances(self.folder / _UTTERANCES, count)

    def labels(self, table: str) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the classes of a label table, sorted, and the class index (N,) int32 of each utterance.

        Raises:
            SerError: the packed data directories do not all have this table, or its file is damaged.
        """
        path = label_file(self.folder, table)
        if not path.exists():
            raise SerError(f"{path}: no such labels; give all data directories {table} and run steps/pack_feats.sh")
        try:
            with np.load(path, allow_pickle=False) as file:
                classes, indices = tuple(file["classes"].tolist()), file["indices"]
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise self._damaged(path.name, str(error)) from error
        if indices.shape != self.lengths.shape or not 0 <= indices.min() <= indices.max() < len(classes):
            raise self._damaged(path.name, f"does not label {len(self.lengths)} utterances")
        return classes, indices

    def _damaged(self, name: str, what: str) -> SerError:
        return SerError(
            f"{self.folder / name}: {what}; remove {self.folder / _SUMMARY} and run steps/pack_feats.sh again"
        )


class _Utterances(Sequence[str]):
    """Ids that are read at the first access, because millions of strings take time and memory and training needs none.
    """

    def __init__(self, path: Path, count: int) -> None:
        self._path, self._count = path, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index):
        return self._ids[index]

    @cached_property
    def _ids(self) -> list[str]:
        ids = self._path.read_text(encoding="utf-8").split("\n")[:-1]
        if len(ids) != self._count:
            raise SerError(f"{self._path}: has {len(ids)} lines, expected {self._count}; pack again")
        return ids


class CheckedFeatures:
    """The features of data directories, read and checked one utterance at a time.

    Iterated once, it yields the matrix (frames, D) of each utterance, C-contiguous and little-endian, in the order of
    the directories and of their utt2num_frames.

    Args:
        data: directories with feats.scp and utt2num_frames.
        dtype: the matrices' type, one of `DTYPES`.
        tables: label tables to read, which all of the directories have.

    Attributes:
        utterances: the ids, each followed by a newline.
        lengths: (N,) int32 frames of each utterance.
        labels: from table to its classes, sorted, and the class index (N,) int32 of each utterance.
        shape: all frames, D.

    Raises:
        SerError: a table or ark is missing or damaged, an utterance is in two directories, lacks a label, is not where
            utt2num_frames has it, or has features that are not finite, not in the range of `dtype`, or not of the
            size stated.
    """

    def __init__(
        self, data: Sequence[str | os.PathLike[str]], dtype: str = "float32", tables: Sequence[str] = ()
    ) -> None:
        sources = [Path(source) for source in data]
        self.utterances, self.lengths, self.labels = _index(sources, tables)
        matrices = ((source / "feats.scp", *item) for source in sources for item in read_arks(source / "feats.scp"))
        first = next(matrices)
        self.shape = (int(self.lengths.sum(dtype=np.int64)), first[2].shape[-1])
        self._dtype, self._matrices = dtype, itertools.chain([first], matrices)
        self._names, self._frames = hashlib.blake2b(), hashlib.blake2b()

    def __iter__(self) -> Iterator[np.ndarray]:
        ids = (line[1] for line in re.finditer("(.*)\n", self.utterances))
        for expected, found in itertools.zip_longest(zip(ids, self.lengths, strict=True), self._matrices):
            matrix = self._checked(expected, found)
            self._names.update(f"{expected[0]} {len(matrix)}\n".encode())
            self._frames.update(matrix.data)
            yield matrix

    def digest(self) -> str:
        """Return a hash of the ids and features read so far; equal for equal features, however they are stored."""
        return fingerprint(self._names.hexdigest(), self._frames.hexdigest())

    def _checked(self, expected: tuple[str, int] | None, found: tuple[Path, str, np.ndarray] | None) -> np.ndarray:
        """Return the features found in the type wanted, if they are those that the tables promise."""
        if expected is None or found is None or expected[0] != found[1]:
            raise SerError(
                f"{found[0] if found else 'feats.scp'} has {found[1] if found else 'nothing'} where utt2num_frames has "
                f"{expected[0] if expected else 'nothing'}; run steps/prepare_feats.sh again"
            )
        scp, utterance, matrix = found
        if matrix.shape != (shape := (int(expected[1]), self.shape[1])):
            raise SerError(f"{scp}: {utterance} has features of shape {matrix.shape}, expected {shape}; "
                           "run steps/prepare_feats.sh again")
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = np.rint(matrix) if self._dtype in _WHOLE else matrix  # level 7 of 65536 is read as 6.9999
            converted = np.ascontiguousarray(rounded, np.dtype(self._dtype).newbyteorder("<"))
        if self._dtype in _WHOLE and not (np.abs(converted - matrix) < 0.01).all():
            raise SerError(f"{scp}: {utterance} has features that are not whole numbers {_WHOLE[self._dtype]}")
        if not np.isfinite(converted).all():
            if not np.isfinite(matrix).all():
                raise SerError(f"{scp}: {utterance} has features that are not finite; run steps/prepare_feats.sh again")
            raise SerError(f"{scp}: {utterance} has a feature of {np.abs(matrix).max():g}, beyond what {self._dtype} "
                           f"holds ({np.finfo(self._dtype).max:g}); pack with --dtype float32")
        return converted


def is_packed(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder is a packed set, finished or not, rather than a data directory."""
    return (Path(path) / _LENGTHS).exists()


def label_file(folder: str | os.PathLike[str], table: str) -> Path:
    """Return the path of a label table of a packed set or a data directory, which may not exist."""
    return Path(folder) / (f"{table}.npz" if is_packed(folder) else table)


def is_current(data: Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str], dtype: str) -> bool:
    """Return whether the packed set is up to date, so that `pack` with these arguments would change nothing."""
    summary = _summary(Path(folder))
    if summary is None or summary["made_from"] != _identity(data, dtype):
        return False
    try:
        pack = Pack(folder)
        for table in summary["tables"]:
            pack.labels(table)
    except SerError:
        return False
    return (Path(folder) / _UTTERANCES).exists()


def pack(data: Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str], dtype: str = "float16") -> None:
    """Make a packed set of the features of data directories, one after the other, in the order of their feats.scp.

    One utterance's frames are in memory at a time. Packed are those label tables that all of the directories have.

    Args:
        data: directories with feats.scp and utt2num_frames, made by one front end.
        folder: the packed set's; an earlier set in it is replaced.
        dtype: one of `DTYPES`. float16 keeps 11 significant bits: a relative rounding error of at most 2^-11, and an
            absolute one of at most 2^-25 below 2^-14 (IEEE 754). uint8 is for images, int16 for waveforms.

    Raises:
        SerError: as `CheckedFeatures`; or front ends differ, or the disk has too little room.
    """
    folder, sources = Path(folder), [Path(source) for source in data]
    for source in sources:
        if is_packed(source):
            raise SerError(f"{source}: is a packed set itself; name the data directories that it was made of")
        if source.resolve() == folder.resolve():
            raise SerError(f"{folder}: a packed set needs a folder of its own, other than the data's")
    made_from = _identity(data, dtype)
    options = {name: text for name in _OF_FEATURES if (text := _common_text(sources, name)) is not None}
    tables = [name for name in LABEL_TABLES if all((source / name).exists() for source in sources)]
    features = CheckedFeatures(sources, dtype, tables)
    needed = math.prod(features.shape) * np.dtype(dtype).itemsize
    _make_room(folder, needed)
    with atomic_path(folder / _LENGTHS) as temporary, open(temporary, "wb") as file:
        np.save(file, features.lengths)
    write_text(folder / _UTTERANCES, features.utterances)
    for table, (classes, indices) in features.labels.items():
        with atomic_path(folder / f"{table}.npz") as temporary, open(temporary, "wb") as file:
            np.savez(file, classes=classes, indices=indices)
    for name, text in options.items():
        write_text(folder / name, text)
    try:
        with atomic_path(folder / _FRAMES) as temporary, open(temporary, "wb") as file:
            for matrix in progress(features, len(features.lengths), "packed"):
                file.write(matrix)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise SerError(
            f"{folder}: {os.strerror(error.errno)}: {_FRAMES} takes {needed / 1e9:.2f} GB; make room, or pack elsewhere"
        ) from error
    summary = {
        "format": _FORMAT, "dtype": dtype, "utterances": len(features.lengths), "frames": features.shape[0],
        "dim": features.shape[1], "tables": {table: len(classes) for table, (classes, _) in features.labels.items()},
        "digest": features.digest(), "made_from": made_from,
    }
    write_text(folder / _SUMMARY, json.dumps(summary, indent=1) + "\n")


def _summary(folder: Path) -> dict | None:
    """Read packed.json; None where it is missing, damaged or of another format."""
    try:
        summary = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
        return summary if summary["format"] == _FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _identity(data: Sequence[str | os.PathLike[str]], dtype: str) -> str:
    """Return a hash of what a packed set is made of: of arks path, size and time, of tables and options the content."""
    parts: list[object] = [_FORMAT, dtype]
    for source in map(Path, data):
        scp = source / "feats.scp"
        parts += sorted(ark_identities(scp, read_table(scp, sorted_keys=False)).values())
        parts += [source / name for name in ("feats.scp", "utt2num_frames", *LABEL_TABLES, *_OF_FEATURES)]
    return fingerprint(*parts)


def _common_text(sources: Sequence[Path], name: str) -> str | None:
    """Return a file's text if it is the same in all directories, None if none has it. Raises SerError otherwise."""
    texts = {path.read_text(encoding="utf-8") if path.is_file() else None for path in (s / name for s in sources)}
    if len(texts) > 1:
        raise SerError(f"{name} is not the same in {', '.join(map(str, sources))}: their features were made with "
                       "different options; make them alike (run.sh stages 1 and 2)")
    return texts.pop()


def _index(
    sources: Sequence[Path], tables: Sequence[str]
) -> tuple[str, np.ndarray, dict[str, tuple[list[str], np.ndarray]]]:
    """Read ids, lengths and labels of all utterances, as `CheckedFeatures` has them, one directory at a time."""
    lengths, names, hashes = [], [], []
    codes: dict[str, list[np.ndarray]] = {table: [] for table in tables}
    seen: dict[str, dict[str, int]] = {table: {} for table in tables}
    for source in sources:
        frames = read_table(source / "utt2num_frames")
        lengths.append(_frame_counts(source / "utt2num_frames", frames))
        names.append("".join(f"{utterance}\n" for utterance in frames))
        hashes.append(np.fromiter(map(hash, frames), np.int64, len(frames)))
        for table in tables:
            labels = read_table(source / table)
            if missing := [utterance for utterance in frames if utterance not in labels]:
                raise SerError(f"{source / table}: no label for {missing[0]} ({len(missing)} utterances)")
            numbers = seen[table]  # of classes, as they are met
            codes[table].append(np.fromiter(
                (numbers.setdefault(labels[utterance], len(numbers)) for utterance in frames), np.int32, len(frames)
            ))
    joined = "".join(names)
    _check_unique(joined, np.concatenate(hashes))
    labelled = {}
    for table in tables:
        classes = sorted(seen[table])
        rank = np.empty(len(classes), np.int32)
        rank[[seen[table][name] for name in classes]] = np.arange(len(classes))
        labelled[table] = (classes, rank[np.concatenate(codes[table])])
    return joined, np.concatenate(lengths), labelled


def _frame_counts(path: Path, frames: dict[str, str]) -> np.ndarray:
    for utterance, count in frames.items():
        if not count.isdecimal() or not 0 < int(count) < 2**31:
            raise SerError(f"{path}: {utterance}: {count!r} is not a number of frames; run steps/prepare_feats.sh")
    return np.fromiter(map(int, frames.values()), np.int32, len(frames))


def _check_unique(names: str, hashes: np.ndarray) -> None:
    """Raise SerError if an id occurs twice. Compares hashes first, in a tenth of the memory that a set of ids takes."""
    in_order = np.sort(hashes)
    suspects = set(in_order[1:][in_order[1:] == in_order[:-1]].tolist())
    if suspects:
        counts = Counter(name for name in names.split("\n") if hash(name) in suspects)
        name, count = counts.most_common(1)[0]
        if count > 1:
            raise SerError(f"{name} is in two of the data directories; copies need ids of their own "
                           "(steps/augment_data_dir.sh --suffix)")


def _make_room(folder: Path, needed: int) -> None:
    """Remove an earlier packed set. Raises SerError, and removes nothing, if even then the new one has no room."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    frames = folder / _FRAMES
    free = shutil.disk_usage(folder).free + (frames.stat().st_size if frames.exists() else 0)
    if needed > free:
        raise SerError(f"{folder}: {_FRAMES} takes {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; "
                       "make room, or pack elsewhere")
    for name in (_SUMMARY, _FRAMES, *(f"{table}.npz" for table in LABEL_TABLES), *_OF_FEATURES):
        (folder / name).unlink(missing_ok=True)
