"""Fetching a public file over HTTP: a download goes on where it stopped, and is verified before it gets its name."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import http.client
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from ser.base.errors import SerError
from ser.base.progress import progress

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 30
_PAUSES_SECONDS = (1, 3, 10, 30)  # before each further attempt that got no byte; then we give up


class _Interrupted(Exception):
    """The connection broke or the server was busy; asking again may help."""


def download(
    url: str,
    path: str | os.PathLike[str],
    size: int | None = None,
    md5: str | None = None,
    sha256: str | None = None,
    quiet: bool = False,
) -> Path:
    """Make sure that `path` holds what `url` serves, and return it.

    The bytes arrive in `<path>.part`, which a later call continues (HTTP Range), and the file appears at `path` only
    when `size` (bytes) and the checksums that are given agree. A file already at `path` is verified, not fetched, so
    one brought by other means counts. Broken connections are tried again; `quiet` leaves out the progress report.

    Raises:
        SerError: no network, the server refuses, the disk is too full, another process is fetching the same file,
            or what is there is not what was expected.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    while not path.exists():
        with open(part, "a+b") as file:
            _lock(file, part)
            if path.exists():  # another process finished between our look and our lock
                continue
            _fetch_all(url, path, file, size, quiet)
            file.flush()
            os.fsync(file.fileno())
            try:
                _verify(part, size, md5, sha256)
            except SerError as error:
                part.unlink()
                raise SerError(f"{url}: {error}; it was removed, run again or fetch it by hand to {path}") from None
            os.replace(part, path)
            return path
    try:
        _verify(path, size, md5, sha256)
    except SerError as error:
        raise SerError(f"{path}: {error}; remove it to have it fetched from {url}") from None
    return path


def _lock(file: BinaryIO, part: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SerError(f"{part}: another process is downloading this file; wait for it or stop it") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # some network file systems cannot lock
            raise


def _fetch_all(url: str, path: Path, file: BinaryIO, size: int | None, quiet: bool) -> None:
    pauses = list(_PAUSES_SECONDS)
    while True:
        before = file.seek(0, os.SEEK_END)
        try:
            return _fetch(url, path, file, size, quiet)
        except (_Interrupted, ConnectionError, TimeoutError, http.client.HTTPException) as error:
            if file.seek(0, os.SEEK_END) > before:
                pauses = list(_PAUSES_SECONDS)
            elif not pauses:
                raise SerError(
                    f"{url}: {error or type(error).__name__}; what has arrived is kept, run again to continue"
                ) from None
            pause = pauses.pop(0)
            if not quiet:
                print(f"warning: {url}: {error or type(error).__name__}; again in {pause} s", file=sys.stderr)
            time.sleep(pause)


def _fetch(url: str, path: Path, file: BinaryIO, size: int | None, quiet: bool) -> None:
    """Append to `file` what it still lacks."""
    have = file.seek(0, os.SEEK_END)
    if size is not None and have >= size:
        if have == size:
            return
        have = _restart(file)
    request = urllib.request.Request(url, headers={"User-Agent": "ser-download", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:  # the part is not a beginning of what the server has, unless it is all of it
                if error.headers.get("Content-Range", "") == f"bytes */{have}":
                    return
                _restart(file)
                raise _Interrupted("the file on the server has changed") from None
            if error.code == 429 or error.code >= 500:
                raise _Interrupted(f"the server answers {error.code} {error.reason}") from None
            raise SerError(
                f"{url}: the server answers {error.code} {error.reason}; "
                f"find the file by hand and put it at {path}, then run again"
            ) from None
    except urllib.error.URLError as error:
        raise SerError(
            f"{url}: cannot be reached ({error.reason}); without a network, fetch it on a machine that has one, "
            f"put it at {path} and run again"
        ) from None
    with response:
        total = _total(response, have)
        if have and response.status != 206:  # the server cannot continue
            have = _restart(file)
        if size is not None and total is not None and total != size:
            raise SerError(f"{url}: has {total} bytes where {size} were expected; the file on the server has changed")
        if total is not None and (free := shutil.disk_usage(path.parent).free) < total - have:
            raise SerError(f"{path.parent}: {(total - have) >> 20} MiB to download, but only {free >> 20} MiB free")
        chunks = iter(functools.partial(response.read, _CHUNK), b"")
        if total is not None and not quiet:
            print(f"downloading {url} ({total / 1e6:.1f} MB" + (f", {have / 1e6:.1f} here already)" if have else ")"))
            chunks = progress(chunks, -(-(total - have) // _CHUNK), f"downloading {path.name}", unit="MiB")
        for chunk in chunks:
            file.write(chunk)
        if total is not None and file.tell() < total:
            raise _Interrupted(f"the connection ended after {file.tell()} of {total} bytes")


def _restart(file: BinaryIO) -> int:
    file.truncate(0)
    return file.seek(0)


def _total(response: http.client.HTTPResponse, have: int) -> int | None:
    """Return the size in bytes of the whole file, None if the server does not tell."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            raise SerError(f"{response.url}: the server continues at the wrong byte; remove the .part file")
        return None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length")
    return None if length is None else int(length)


def _verify(path: Path, size: int | None, md5: str | None, sha256: str | None) -> None:
    found = path.stat().st_size
    if size is not None and found != size:
        raise SerError(f"has {found} bytes where {size} were expected")
    for name, expected in (("md5", md5), ("sha256", sha256)):
        if expected is not None:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, name).hexdigest()
            if digest != expected:
                raise SerError(f"{name} is {digest} where {expected} was expected")
