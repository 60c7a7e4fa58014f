"""A packed set: the features of any number of utterances in one file that is memory-mapped, not read.

    frames.bin      (T, D) float16 or float32, row-major, little-endian: all utterances end to end
    lengths.npy     (N,) int32 frames of each utterance
    utterances      their ids, one a line
    <table>.npz     of each label table: classes (K,) sorted, and indices (N,) int32 into them
    conf/…          the front end's options, as in a data directory
    packed.json     what the others have to be; written last, so that a set without it is none
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import mmap
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ser.base.errors import SerError
from ser.base.files import atomic_path, file_identity, fingerprint, remove_leftovers, write_text
from ser.base.kaldi_tables import read_table
from ser.base.progress import progress
from ser.data.arks import ark_of, read_arks

DTYPES = ("float16", "float32")
LABEL_TABLES = ("utt2spk", "utt2emo")
_FRONT_END = ("conf/mfcc.conf", "conf/cmn.conf", "frame_shift")
_SUMMARY, _FRAMES, _LENGTHS, _UTTERANCES = "packed.json", "frames.bin", "lengths.npy", "utterances"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORMAT = 1


class Pack:
    """A packed set, opened: its index is read, its frames are mapped.

    Attributes:
        lengths: (N,) int32 frames of each utterance.
        frames: (T, D) float16 or float32, read-only, memory-mapped.
        mapping: the map behind `frames`.
        utterances: N ids, read when first looked at.
        digest: hash of ids, lengths and frames, of content alone.

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
        """The classes of a label table, sorted, and the class index (N,) int32 of each utterance.

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
    """Ids that are read when first looked at: training never does, and millions of strings take long and much."""

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


class ContentDigest:
    """A hash of features by content, fed one utterance after the other; equal for equal features however stored."""

    def __init__(self) -> None:
        self._names, self._frames = hashlib.blake2b(), hashlib.blake2b()

    def add(self, utterance: str, frames: np.ndarray) -> None:
        """The next utterance's (n, D) frames, row-major."""
        self._names.update(f"{utterance} {len(frames)}\n".encode())
        self._frames.update(frames.data)

    def hexdigest(self) -> str:
        return fingerprint(self._names.hexdigest(), self._frames.hexdigest())


def is_packed(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is a packed set, though perhaps an unfinished one, rather than a data directory."""
    return (Path(path) / _LENGTHS).exists()


def label_file(folder: str | os.PathLike[str], table: str) -> Path:
    """Where a packed set or a data directory has a label table, if at all."""
    return Path(folder) / (f"{table}.npz" if is_packed(folder) else table)


def is_current(data: Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str], dtype: str) -> bool:
    """Whether `pack` with these arguments has nothing to do."""
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

    Frames pass through one utterance at a time. Packed are those label tables that all of the directories have.

    Args:
        data: directories with feats.scp and utt2num_frames, made by one front end.
        folder: where; what an earlier set left there goes.
        dtype: one of `DTYPES`. float16 keeps 11 significant bits: a relative rounding error of at most 2^-11, and an
            absolute one of at most 2^-25 below 2^-14 (IEEE 754).

    Raises:
        SerError: an utterance is in two directories, lacks a label, has features that are not finite, not in the
            range of `dtype`, or not of the size stated; front ends differ; the disk has too little room.
    """
    folder, sources = Path(folder), [Path(source) for source in data]
    for source in sources:
        if is_packed(source):
            raise SerError(f"{source}: is a packed set itself; name the data directories that it was made of")
        if source.resolve() == folder.resolve():
            raise SerError(f"{folder}: a packed set needs a folder of its own, other than the data's")
    made_from = _identity(data, dtype)
    options = {name: text for name in _FRONT_END if (text := _common_text(sources, name)) is not None}
    tables = [name for name in LABEL_TABLES if all((source / name).exists() for source in sources)]
    lengths, names, labels = _index(sources, tables)
    total = int(lengths.sum(dtype=np.int64))
    features = _features(sources)
    first = next(features)
    dim = first[2].shape[-1]
    needed = total * dim * np.dtype(dtype).itemsize
    _make_room(folder, needed)
    with atomic_path(folder / _LENGTHS) as temporary, open(temporary, "wb") as file:
        np.save(file, lengths)
    write_text(folder / _UTTERANCES, names)
    for table, (classes, indices) in labels.items():
        with atomic_path(folder / f"{table}.npz") as temporary, open(temporary, "wb") as file:
            np.savez(file, classes=classes, indices=indices)
    for name, text in options.items():
        write_text(folder / name, text)
    digest = ContentDigest()
    try:
        with (
            open(folder / _UTTERANCES, encoding="utf-8", newline="\n") as lines,
            atomic_path(folder / _FRAMES) as temporary,
            open(temporary, "wb") as file,
        ):
            stated = zip((line[:-1] for line in lines), lengths.tolist(), strict=True)
            stream = itertools.zip_longest(stated, itertools.chain([first], features))
            for expected, found in progress(stream, len(lengths), "packed"):
                utterance, converted = _checked(expected, found, dim, dtype)
                file.write(converted)
                digest.add(utterance, converted)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise SerError(
            f"{folder}: {os.strerror(error.errno)}: {_FRAMES} takes {needed / 1e9:.2f} GB; make room, or pack elsewhere"
        ) from error
    summary = {
        "format": _FORMAT, "dtype": dtype, "utterances": len(lengths), "frames": total, "dim": dim,
        "tables": {table: len(classes) for table, (classes, _) in labels.items()},
        "digest": digest.hexdigest(), "made_from": made_from,
    }
    write_text(folder / _SUMMARY, json.dumps(summary, indent=1) + "\n")


def _summary(folder: Path) -> dict | None:
    """What packed.json says; None where there is none that could be used."""
    try:
        summary = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
        return summary if summary["format"] == _FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _identity(data: Sequence[str | os.PathLike[str]], dtype: str) -> str:
    """Of all that a packed set is made of; arks by path, size and time, tables and options by content."""
    parts: list[object] = [_FORMAT, dtype]
    for source in map(Path, data):
        index = read_table(source / "feats.scp", sorted_keys=False)
        try:
            parts += sorted(map(file_identity, {ark_of(location) for location in index.values()}))
        except FileNotFoundError as error:
            raise SerError(f"{error.filename}: no such ark, but {source}/feats.scp points to it; "
                           "make the features again") from None
        parts += [source / name for name in ("feats.scp", "utt2num_frames", *LABEL_TABLES, *_FRONT_END)]
    return fingerprint(*parts)


def _common_text(sources: Sequence[Path], name: str) -> str | None:
    """A file's text if it is the same in all directories, None if it is in none."""
    texts = {path.read_text(encoding="utf-8") if path.is_file() else None for path in (s / name for s in sources)}
    if len(texts) > 1:
        raise SerError(f"{name} is not the same in {', '.join(map(str, sources))}: their features were made with "
                       "different options; make them alike (run.sh stages 1 and 2)")
    return texts.pop()


def _index(
    sources: Sequence[Path], tables: Sequence[str]
) -> tuple[np.ndarray, str, dict[str, tuple[list[str], np.ndarray]]]:
    """Lengths, ids (one a line) and labels (classes and indices by table) of all utterances, in their order."""
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
    return np.concatenate(lengths), joined, labelled


def _frame_counts(path: Path, frames: dict[str, str]) -> np.ndarray:
    for utterance, count in frames.items():
        if not count.isdecimal() or not 0 < int(count) < 2**31:
            raise SerError(f"{path}: {utterance}: {count!r} is not a number of frames; run steps/prepare_feats.sh")
    return np.fromiter(map(int, frames.values()), np.int32, len(frames))


def _check_unique(names: str, hashes: np.ndarray) -> None:
    """That no id occurs twice; hashes first, which take a tenth of the memory that a set of millions of ids does."""
    in_order = np.sort(hashes)
    suspects = set(in_order[1:][in_order[1:] == in_order[:-1]].tolist())
    if suspects:
        counts = Counter(name for name in names.split("\n") if hash(name) in suspects)
        name, count = counts.most_common(1)[0]
        if count > 1:
            raise SerError(f"{name} is in two of the data directories; copies need ids of their own "
                           "(steps/augment_data_dir.sh --suffix)")


def _features(sources: Sequence[Path]) -> Iterator[tuple[Path, str, np.ndarray]]:
    for source in sources:
        for utterance, matrix in read_arks(source / "feats.scp"):
            yield source / "feats.scp", utterance, matrix


def _checked(
    expected: tuple[str, int] | None, found: tuple[Path, str, np.ndarray] | None, dim: int, dtype: str
) -> tuple[str, np.ndarray]:
    """An utterance and its features in `dtype`, if they are what the tables say."""
    if expected is None or found is None or expected[0] != found[1]:
        raise SerError(
            f"{found[0] if found else 'feats.scp'} has {found[1] if found else 'nothing'} where utt2num_frames has "
            f"{expected[0] if expected else 'nothing'}; run steps/prepare_feats.sh again"
        )
    scp, utterance, matrix = found
    if matrix.shape != (expected[1], dim):
        raise SerError(f"{scp}: {utterance} has features of shape {matrix.shape}, expected {(expected[1], dim)}; "
                       "run steps/prepare_feats.sh again")
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(matrix, np.dtype(dtype).newbyteorder("<"))
    if not np.isfinite(converted).all():
        if not np.isfinite(matrix).all():
            raise SerError(f"{scp}: {utterance} has features that are not finite; run steps/prepare_feats.sh again")
        raise SerError(f"{scp}: {utterance} has a feature of {np.abs(matrix).max():g}, beyond what {dtype} holds "
                       f"({np.finfo(dtype).max:g}); pack with --dtype float32")
    return utterance, converted


def _make_room(folder: Path, needed: int) -> None:
    """Remove what an earlier packing left, if there is room for the new one then."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    frames = folder / _FRAMES
    free = shutil.disk_usage(folder).free + (frames.stat().st_size if frames.exists() else 0)
    if needed > free:
        raise SerError(f"{folder}: {_FRAMES} takes {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; "
                       "make room, or pack elsewhere")
    for name in (_SUMMARY, _FRAMES, *(f"{table}.npz" for table in LABEL_TABLES), *_FRONT_END):
        (folder / name).unlink(missing_ok=True)
