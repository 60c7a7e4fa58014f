"""Archives are unpacked whole, and hostile members do nothing."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from ser.base.archive import unpack
from ser.base.errors import SerError


def make(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def test_files_and_folders_are_unpacked_with_the_users_own_permissions(tmp_path: Path) -> None:
    archive = make(
        tmp_path / "a.tar.gz",
        (member("corpus", tarfile.DIRTYPE, mode=0o000), b""),
        (member("corpus/one.wav", mode=0o4777), b"RIFF"),
        (member("./corpus/deep/er/two.wav", mode=0o000), b"x" * 100_000),
    )
    unpack(archive, tmp_path / "tree", 3)
    tree = tmp_path / "tree" / "corpus"
    assert (tree / "one.wav").read_bytes() == b"RIFF"
    assert (tree / "deep/er/two.wav").read_bytes() == b"x" * 100_000
    plain = tmp_path / "plain"
    plain.write_text("")
    for path in ("one.wav", "deep/er/two.wav"):
        assert stat.S_IMODE((tree / path).stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("old_python", [False, True])
@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (member("../outside"), "leads out of the folder"),
        (member("tree/../../outside"), "leads out of the folder"),
        (member("{tmp}/outside"), "leads out of the folder"),
        (member("link", tarfile.SYMTYPE, "../outside"), "link or a device"),
        (member("link", tarfile.SYMTYPE, "{tmp}"), "link or a device"),
        (member("link", tarfile.LNKTYPE, "../outside"), "link or a device"),
        (member("null", tarfile.CHRTYPE), "link or a device"),
        (member("disk", tarfile.BLKTYPE), "link or a device"),
        (member("pipe", tarfile.FIFOTYPE), "link or a device"),
    ],
    ids=lambda value: f"{value.name} {value.linkname}" if isinstance(value, tarfile.TarInfo) else "",
)
def test_hostile_members_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: tarfile.TarInfo, problem: str, old_python: bool
) -> None:
    """With the filters of tarfile and, as in Python 3.11.2, without: TarFile then refuses nothing by itself."""
    if old_python:
        for attribute in [attribute for attribute in dir(tarfile) if attribute.endswith("_filter")]:
            monkeypatch.delattr(tarfile, attribute)
    inside = tmp_path / "inside"
    name, target = (text.replace("{tmp}", str(tmp_path)) for text in (bad.name, bad.linkname))
    archive = make(tmp_path / "a.tar.gz", (member(name, bad.type, target), b""), (member("link"), b"through it"))
    inside.mkdir()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(SerError, match=problem) as error:
        unpack(archive, inside / "tree", 2)
    assert str(archive) in str(error.value) and name in str(error.value)
    assert sorted(os.listdir(tmp_path)) == before
    assert os.listdir(inside / "tree") == []


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    whole = make(tmp_path / "a.tar.gz", (member("one"), os.urandom(100_000))).read_bytes()
    for content in (whole[:50_000], b"not an archive", whole[:100] + b"\0" * 100 + whole[200:]):
        (tmp_path / "a.tar.gz").write_bytes(content)
        with pytest.raises(SerError, match=r"a\.tar\.gz: not a usable archive"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "tree", 1)
