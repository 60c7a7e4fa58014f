"""Unpacking of archives that come from elsewhere."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from ser.base.errors import SerError
from ser.base.progress import progress


def unpack(archive: str | os.PathLike[str], folder: str | os.PathLike[str], total: int) -> None:
    """Unpack a gzipped tar archive into `folder`, which is made if it does not exist.

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
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
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
