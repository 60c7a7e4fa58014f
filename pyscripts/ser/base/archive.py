"""Fetching and unpacking of archives that come from elsewhere."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import urllib.parse
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ser.base.download import download
from ser.base.errors import SerError
from ser.base.progress import progress


def fetch_archive(url: str, folder: Path, inside: str, total: int, *, md5: str, size: int | None = None,
                  option: str = "--corpus-dir") -> None:
    """Make `folder` from the folder `inside` of the archive at `url`; it appears when it is complete.

    The archive is fetched to `<folder>.partial`, where the download of a killed run goes on and one that was put there
    by hand is used, and is removed afterwards.

    Args:
        total, md5, size: see `unpack` and `download`.
        option: what names the unpacked folder where there is no network, for the message.

    Raises:
        SerError: the archive cannot be fetched, or is not what was expected.
    """
    partial = folder.with_name(folder.name + ".partial")
    try:
        archive = download(url, partial / Path(urllib.parse.urlsplit(url).path).name, size=size, md5=md5)
    except SerError as error:
        raise SerError(f"{error}; or give the unpacked corpus with {option}") from None
    tree = partial / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    unpack(archive, tree, total)
    (tree / inside).rename(folder)
    shutil.rmtree(partial)


def unpack(archive: str | os.PathLike[str], folder: str | os.PathLike[str], total: int) -> None:
    """Unpack a zip archive or a gzipped tar archive into `folder`, which is made if it does not exist.

    Only files and folders are made, with the user's own permissions and new times: owners and modes in the archive do
    not count. (`filter="data"` of tarfile is not in every Python 3.11.)

    Args:
        total: how many members the archive has, roughly, for the progress report.

    Raises:
        SerError: the archive is damaged, or a member's path leads out of the folder, or a member is a link or a device.
            What came before that member is in `folder`.
    """
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as members:
                for name in progress(members.namelist(), total, f"unpacking {archive.name}", unit="file"):
                    members.extract(name, folder)  # which keeps every member in the folder and makes no links
            return
        with tarfile.open(archive, "r|gz") as members:
            for member in progress(members, total, f"unpacking {archive.name}", unit="file"):
                _require_harmless(member, archive)
                path = folder / member.name
                if member.isdir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with members.extractfile(member) as content, open(path, "wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SerError(f"{archive}: not a usable archive ({error}); remove it and run again") from None


def _require_harmless(member: tarfile.TarInfo, archive: Path) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        problem = "leads out of the folder"
    elif not (member.isreg() or member.isdir()):
        problem = "is a link or a device"
    else:
        return
    raise SerError(f"{archive}: refused, its member {member.name} {problem}; fetch the archive from a place you trust")
