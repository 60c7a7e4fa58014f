"""Kaldi archives (ark) and their indices (scp): written whole or not at all, checked for truncation when read."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import kaldiio
import numpy as np

from ser.base.errors import SerError
from ser.base.files import atomic_path, file_identity
from ser.base.kaldi_tables import read_table

_INDEXED = re.compile(r"(?P<ark>.+):(?P<offset>\d+)(?P<range>\[[\d:,]*\])?")
_WIDTHS = {b"FV ": 4, b"DV ": 8, b"FM ": 4, b"DM ": 8}  # bytes per value of vectors and matrices
_COMPRESSED = (b"CM ", b"CM2", b"CM3")
# Kaldi's kOneByteUnsignedInteger and kTwoByteSignedInteger: token, least value, span, type of what is stored
_WHOLE_NUMBERS = {np.dtype(np.uint8): (b"CM3", 0, 255, "<u1"), np.dtype(np.int16): (b"CM2", -32768, 65535, "<u2")}
ONE_BYTE, TWO_BYTES = 1, 3  # Kaldi's kAutomaticMethod and kTwoByteAuto


def as_compressed(matrix: np.ndarray, method: int = ONE_BYTE) -> np.ndarray:
    """Return a float32 matrix (frames, dimensions) as it comes out of an ark that was written with ONE_BYTE or so."""
    with io.BytesIO() as file:
        kaldiio.save_ark(file, {"matrix": matrix}, compression_method=method)
        file.seek(0)
        return next(array for _, array in kaldiio.load_ark(file))


class ArkWriter:
    """Writes `<ark>` and its index `<scp>` together; neither appears before both are complete.

    A context manager; an exception inside it leaves both paths as they were. The index names the ark by its absolute
    path, so that a data directory can be used from any working directory. Equal input gives equal bytes.

    Args:
        compress: how to compress matrices; 0 or False: not. ONE_BYTE or True: as Kaldi's feature scripts do, each value
            takes one byte between quantiles of its column (two bytes in matrices of up to 8 frames), about a quarter
            of the space. TWO_BYTES: one of 65536 levels between the extremes of the matrix, half of the space.
    """

    def __init__(self, ark: str | os.PathLike[str], scp: str | os.PathLike[str], compress: int = 0) -> None:
        self.ark, self.scp, self.compress = Path(os.path.abspath(ark)), Path(scp), compress
        self._stack = contextlib.ExitStack()
        self._ark_file: BinaryIO
        self._scp_temporary: Path
        self._lines: list[str] = []

    def __enter__(self) -> ArkWriter:
        with self._stack as stack:  # the index is entered first, so that it is renamed last
            self._scp_temporary = stack.enter_context(atomic_path(self.scp))
            self._ark_file = stack.enter_context(open(stack.enter_context(atomic_path(self.ark)), "wb"))
            self._stack = stack.pop_all()
        return self

    def write(self, utterance: str, array: np.ndarray) -> None:
        """Append a float32 or float64 matrix (frames, dimensions) or vector (frames,), or a uint8 or int16 matrix.

        Whole numbers become Kaldi's compressed matrices of one byte (CM3) or of two (CM2), which lose nothing.
        """
        self._lines.append(f"{utterance} {self.ark}:{self._ark_file.tell() + len(utterance.encode()) + 1}\n")
        try:
            if array.dtype in _WHOLE_NUMBERS:
                token, least, span, stored = _WHOLE_NUMBERS[array.dtype]
                header = struct.pack("<ffii", least, span, *array.shape)
                values = (array.astype(np.int32) - least).astype(stored).tobytes()
                self._ark_file.write(b"%b \0B%b %b%b" % (utterance.encode(), token, header, values))
                return
            method = int(self.compress) if self.compress and array.ndim == 2 else None
            kaldiio.save_ark(self._ark_file, {utterance: array}, compression_method=method)
        except OSError as error:  # a full disk: say which
            raise OSError(error.errno, error.strerror, str(self.ark)) from None

    def __exit__(self, *exception: object) -> bool | None:
        if exception[0] is None:
            try:
                self._scp_temporary.write_text("".join(self._lines), encoding="utf-8")
            except BaseException as error:
                self._stack.__exit__(type(error), error, error.__traceback__)
                raise
        return self._stack.__exit__(*exception)


def read_arks(scp: str | os.PathLike[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (utterance, array) for every line of an scp file, in its order; each ark is opened once when sequential.

    Reads what Kaldi and `ArkWriter` write: float and double vectors and matrices, compressed matrices, text archives,
    sub-ranges `ark:offset[first:last]`. Arrays may be read-only views of the bytes read.

    Raises:
        SerError: the scp file is malformed, an ark is missing, shorter than its index says, or not Kaldi's format.
    """
    ark, opened = "", contextlib.ExitStack()
    with opened:
        for utterance, location in read_table(scp, sorted_keys=False).items():
            match = _INDEXED.fullmatch(location)
            if match is None:
                raise SerError(f"{scp}: {utterance}: expected ARK:OFFSET, found {location!r}; make the features again")
            if match["ark"] != ark:
                opened.close()
                ark = match["ark"]
                try:
                    file = opened.enter_context(open(ark, "rb"))  # noqa: SIM115 (closed by `opened`)
                except FileNotFoundError:
                    raise SerError(
                        f"{ark}: no such ark, but {scp} points to it for {utterance}; make the features again"
                    ) from None
            yield utterance, _read(file, location, int(match["offset"]), ark, utterance)


def ark_of(location: str) -> str:
    """Return the ark that an scp file's `ark:offset` or `ark:offset[first:last]` points to."""
    match = _INDEXED.fullmatch(location)
    return match["ark"] if match else location


def ark_identities(scp: str | os.PathLike[str], locations: Mapping[str, str]) -> dict[str, tuple[str, int, int]]:
    """Return `file_identity` of every ark that an scp file points to; it changes when the ark is made again.

    Args:
        scp: the scp file, for the message.
        locations: its content, from utterance to `ark:offset`.

    Raises:
        SerError: an ark is missing.
    """
    identities = {}
    for ark in {ark_of(location) for location in locations.values()}:
        try:
            identities[ark] = file_identity(ark)
        except FileNotFoundError:
            raise SerError(f"{ark}: no such ark, but {scp} points to it; make the features again") from None
    return identities


def _read(file: BinaryIO, location: str, offset: int, ark: str, utterance: str) -> np.ndarray:
    size = os.fstat(file.fileno()).st_size
    file.seek(offset)
    head = file.read(15)
    end = offset + _length(head)
    if end > size:
        raise SerError(
            f"{ark}: truncated: {utterance} ends at byte {end} and the file has {size}; "
            "delete it and run the step that made it again"
        )
    binary = head[:2] == b"\0B" and (head[2:5] in _WIDTHS or head[2:5] in _COMPRESSED or head[2:3] == b"\4")
    if not binary and not head.lstrip(b" \n").startswith(b"["):  # kaldiio would unpickle what says it is a pickle
        raise SerError(f"{ark}: no Kaldi matrix or vector at byte {offset} ({utterance}); make the features again")
    try:
        return kaldiio.load_mat(location, fd_dict={ark: file})
    except (ValueError, AssertionError, struct.error, RuntimeError, IndexError) as error:
        raise SerError(
            f"{ark}: cannot read {utterance} at byte {offset}: truncated or damaged; "
            "delete it and run the step that made it again"
        ) from error


def _length(head: bytes) -> int:
    """Return how many bytes an uncompressed matrix or vector with this header takes; 1 for anything else.

    It is checked before reading, because kaldiio returns a vector that was cut off as a shorter one.
    """
    width = _WIDTHS.get(head[2:5]) if head[:2] == b"\0B" else None
    if width is None:
        return 1
    if head[3:4] == b"V":
        return 10 + width * struct.unpack("<i", head[6:10])[0] if len(head) >= 10 else 10
    return 15 + width * math.prod(struct.unpack("<ixi", head[6:15])) if len(head) == 15 else 15
