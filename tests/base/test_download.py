"""Fetching files over HTTP, against a server on this machine."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ser.base.download
from ser.base.download import download
from ser.base.errors import SerError

if TYPE_CHECKING:
    from http_server import Server

pytest_plugins = "http_server"

CONTENT = bytes(range(256)) * 12000  # 3 MB
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def content(server: Server) -> None:
    server.files["/file"] = CONTENT


def test_fetches_and_verifies(server: Server, tmp_path: Path):
    path = download(server.url("/file"), tmp_path / "new" / "file", size=len(CONTENT), md5=MD5)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    download(server.url("/file"), path, size=len(CONTENT), md5=MD5)  # there already: not fetched again
    assert len(server.asked) == 1


def test_continues_a_part_and_survives_broken_connections(server: Server, tmp_path: Path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    server.cut = 2
    assert download(server.url("/file"), tmp_path / "file", md5=MD5).read_bytes() == CONTENT
    assert server.asked[0] == "bytes=1000-"
    assert len(server.asked) == 3


def test_starts_again_where_the_server_cannot_continue(server: Server, tmp_path: Path):
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    server.ranges = False
    assert download(server.url("/file"), tmp_path / "file", md5=MD5).read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [b"", b"x"])
def test_a_part_that_is_all_there_or_too_long(server: Server, tmp_path: Path, extra: bytes):
    (tmp_path / "file.part").write_bytes(CONTENT + extra)
    assert download(server.url("/file"), tmp_path / "file", md5=MD5).read_bytes() == CONTENT


def test_a_server_that_gives_out_loses_nothing(server: Server, tmp_path: Path):
    server.cut = server.busy_after = 1
    with pytest.raises(SerError, match=r"503.*run again to continue"):
        download(server.url("/file"), tmp_path / "file", md5=MD5)
    assert (tmp_path / "file.part").read_bytes() == CONTENT[: len(CONTENT) // 2]
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(("expected", "message"), [
    ({"md5": "0" * 32}, "md5 is"), ({"sha256": "0" * 64}, "sha256 is"), ({"size": 7}, "7 were expected"),
])
def test_wrong_content_never_takes_the_place(server: Server, tmp_path: Path, expected: dict, message: str):
    with pytest.raises(SerError, match=message):
        download(server.url("/file"), tmp_path / "file", **expected)
    assert not (tmp_path / "file").exists()
    assert not any(p.stat().st_size for p in tmp_path.iterdir())
    (tmp_path / "file").write_bytes(b"put by hand")
    with pytest.raises(SerError, match="remove it"):
        download(server.url("/file"), tmp_path / "file", **({"size": 11} | expected))
    assert (tmp_path / "file").read_bytes() == b"put by hand"


def test_no_such_file_and_no_network_say_what_to_do(server: Server, tmp_path: Path):
    with pytest.raises(SerError, match=r"404.*put it at .*/file"):
        download(server.url("/nothing"), tmp_path / "file")
    url = server.url("/file")
    server.server_close()
    with pytest.raises(SerError, match=r"cannot be reached .*put it at .*/other"):
        download(url, tmp_path / "other")


def test_two_processes_do_not_mix_their_bytes(server: Server, tmp_path: Path):
    with open(tmp_path / "file.part", "ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SerError, match="another process"):
            download(server.url("/file"), tmp_path / "file")


def test_disk_too_small(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ser.base.download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(SerError, match="MiB free"):
        download(server.url("/file"), tmp_path / "file")
