"""Files are whole or absent, and a marker says what made them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ser.base.files import Marker, atomic_path, fingerprint, write_text

ROOT = Path(__file__).resolve().parents[2]


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "table"
    write_text(path, "old\n")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old\n"
    assert os.listdir(tmp_path) == ["table"]


def test_a_killed_writer_leaves_nothing_that_looks_finished_and_the_next_one_clears_up(tmp_path: Path) -> None:
    script = (
        "import os, sys; from ser.base.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path:\n"
        "    path.write_text('half'); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "pyscripts")}
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "table")], env=environment)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "table").exists() and len(os.listdir(tmp_path)) == 1
    with atomic_path(tmp_path / "other") as mine:  # somebody who still writes is left alone
        mine.write_text("mine")
        write_text(tmp_path / "table", "whole\n")
    assert sorted(os.listdir(tmp_path)) == ["other", "table"]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_zombie_is_no_writer(tmp_path: Path) -> None:
    """A killed process whose parent never asks after it keeps its number for ever."""
    ended = subprocess.Popen(["true"])
    while Path(f"/proc/{ended.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    (tmp_path / f".ark.{socket.gethostname()}-{ended.pid}-x.tmp").write_text("half")
    write_text(tmp_path / "table", "whole\n")
    assert os.listdir(tmp_path) == ["table"]
    ended.wait()


def test_files_have_the_users_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "table", "x\n")
    finally:
        os.umask(before)
    assert (tmp_path / "table").stat().st_mode & 0o777 == 0o640


def test_marker(tmp_path: Path) -> None:
    output = tmp_path / "ark"
    output.write_bytes(b"1234")
    marker = Marker(tmp_path / ".done", fingerprint("options", 1))
    assert not marker.is_current()
    marker.write([output])
    assert marker.is_current()
    assert not Marker(tmp_path / ".done", fingerprint("options", 2)).is_current()
    output.write_bytes(b"123")  # truncated
    assert not marker.is_current()
    output.unlink()
    assert not marker.is_current()
    (tmp_path / ".done").write_text('{"digest": ')  # damaged
    assert not marker.is_current()


def test_fingerprint_follows_content(tmp_path: Path) -> None:
    path = tmp_path / "conf"
    seen = {fingerprint(path)}
    for text in ("a", "b"):
        path.write_text(text)
        seen.add(fingerprint(path))
    assert len(seen) == 3
