"""Files that are either whole or absent, and markers that say what made them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ser.base.processes import is_running


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on an exception it is removed.

    The temporary name is unique to the process, so two processes writing the same file never mix their bytes, and
    the data reach the disk before the rename does, so a machine that loses power never leaves a short file.
    `remove_leftovers` removes the temporary files of killed processes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = f"{socket.gethostname()}-{os.getpid()}-"
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.{owner}", suffix=".tmp", dir=path.parent)
    umask = os.umask(0)
    os.umask(umask)
    os.fchmod(handle, 0o666 & ~umask)  # mkstemp makes private files; shared experiments need the user's umask
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove temporary files of `atomic_path` from a folder if their process was on this host and has ended."""
    form = re.compile(rf"\..+\.{re.escape(socket.gethostname())}-(\d+)-\w+\.tmp")
    for path in Path(folder).glob(".*.tmp"):
        match = form.fullmatch(path.name)
        if match and not is_running(int(match[1])):
            path.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically, and remove what killed processes left in its folder."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    remove_leftovers(Path(path).parent)


def fingerprint(*parts: object) -> str:
    """Return a hash of inputs and options, for `Marker`.

    A `Path` is hashed by the content of its file, or as absent without one; anything else by its `repr`. For large
    inputs (audio) pass `file_identity(path)`, which does not read them.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            digest.update(part.read_bytes() if part.is_file() else b"absent")
        else:
            digest.update(repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def file_identity(path: str | os.PathLike[str]) -> tuple[str, int, int]:
    """Return path, size in bytes and modification time in ns, which change when a file is replaced."""
    status = os.stat(path)
    return os.fspath(path), status.st_size, status.st_mtime_ns


def is_lfs_pointer(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is the small text that Git leaves in place of a file kept in Git LFS."""
    with open(path, "rb") as file:
        return file.read(64).startswith(b"version https://git-lfs")


class Marker:
    """A `.done` file, written last, that says which inputs and options made which outputs.

    A rerun asks `is_current` first. It is true only if the marker has the same fingerprint and every output still has
    its recorded size, so a truncated or deleted output is made again.
    """

    def __init__(self, path: str | os.PathLike[str], digest: str) -> None:
        self.path, self.digest = Path(path), digest

    def is_current(self) -> bool:
        try:
            record = json.loads(self.path.read_text())
            return record["digest"] == self.digest and all(
                os.path.getsize(output) == size for output, size in record["outputs"].items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def clear(self) -> None:
        """Remove the file; call this before changing any output."""
        self.path.unlink(missing_ok=True)

    def write(self, outputs: Iterable[str | os.PathLike[str]]) -> None:
        sizes = {os.path.abspath(output): os.path.getsize(output) for output in outputs}
        write_text(self.path, json.dumps({"digest": self.digest, "outputs": sizes}, indent=1) + "\n")
