"""The lock on a folder: held by one process, void once that process, or its machine, is gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ser.base import lock
from ser.base.errors import SerError
from ser.base.lock import FolderLock, is_held, read_holder

ROOT = Path(__file__).resolve().parents[2]
HOLD = "import sys, time; from ser.base.lock import FolderLock\nwith FolderLock(sys.argv[1], 'is in use'):\n" \
       "    print('held', flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path: Path):
    """Start a process that holds the folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "pyscripts")}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True,
                          env=environment) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_held_folder_is_refused_by_name(tmp_path: Path, holder, monkeypatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0.3)
    expected = rf"is in use by process {holder.pid} on {socket.gethostname()} since \d{{4}}-"
    with pytest.raises(SerError, match=expected), FolderLock(tmp_path, "is in use"):
        pass
    assert is_held(tmp_path, read_holder(tmp_path))


def test_a_killed_process_leaves_no_obstacle(tmp_path: Path, holder) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    started = time.monotonic()
    with FolderLock(tmp_path, "is in use"):
        assert read_holder(tmp_path).process == os.getpid()
    assert time.monotonic() - started < 5
    assert os.listdir(tmp_path) == []


def test_a_process_that_is_ending_is_waited_for(tmp_path: Path, holder) -> None:
    subprocess.Popen(["bash", "-c", f"sleep 1; kill {holder.pid}"])
    with FolderLock(tmp_path, "is in use"):
        assert read_holder(tmp_path).process == os.getpid()


def test_another_process_with_a_reused_number_is_not_the_holder(tmp_path: Path) -> None:
    with FolderLock(tmp_path, "is in use"):
        record = json.loads((tmp_path / ".lock").read_text())
    (tmp_path / ".lock").write_text(json.dumps({**record, "started": "1"}))
    with FolderLock(tmp_path, "is in use"):
        pass


def test_the_lock_of_a_process_that_the_machine_hides_is_a_lease(tmp_path: Path, holder, monkeypatch) -> None:
    monkeypatch.setattr(lock, "started_at", lambda process: "unknown")
    assert is_held(tmp_path, read_holder(tmp_path))
    assert not is_held(tmp_path, read_holder(tmp_path), time.time() + lock.LEASE_SECONDS + lock.RENEW_SECONDS)


def test_another_machines_lock_is_a_lease(tmp_path: Path, monkeypatch) -> None:
    """Void after three minutes without renewal; alive as soon as it is seen to be renewed."""
    (tmp_path / ".lock").write_text(json.dumps({"host": "elsewhere", "process": 1, "started": "5", "since": 0.0}))
    os.utime(tmp_path / ".lock", (time.time() - 181,) * 2)
    with FolderLock(tmp_path, "is in use"):
        pass
    (tmp_path / ".lock").write_text(json.dumps({"host": "elsewhere", "process": 1, "started": "5", "since": 0.0}))
    subprocess.Popen(["bash", "-c", f"sleep 1; touch {tmp_path}/.lock"])
    with pytest.raises(SerError, match="process 1 on elsewhere"), FolderLock(tmp_path, "is in use"):
        pass


def test_the_holder_renews(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(lock, "RENEW_SECONDS", 0.1)
    with FolderLock(tmp_path, "is in use"):
        os.utime(tmp_path / ".lock", (0, 0))
        time.sleep(0.5)
        assert time.time() - (tmp_path / ".lock").stat().st_mtime < 5


def test_nested_work_is_refused_and_damage_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("{")
    with FolderLock(tmp_path, "is in use"):
        pass


def test_a_folder_is_held_for_a_script_until_it_ends(tmp_path: Path, shell) -> None:
    """By a process of its own, which a pipe behind the script does not wait for."""
    hold = f"{ROOT}/pyscripts/hold_folder.py {tmp_path}/data 'data are being made here'"
    started = time.monotonic()
    shell(f"( {hold} > /dev/null; test -f {tmp_path}/data/.lock; echo done ) | cat")
    assert time.monotonic() - started < 15
    with subprocess.Popen(["bash", "-c", f". {ROOT}/path.sh; {hold}; sleep 60"], stdout=subprocess.PIPE,
                          text=True) as script:
        script.stdout.readline()
        done = shell(f"{hold}", ok=False)
        assert f"data are being made here by process {script.pid} on" in done.stderr
        script.kill()
    shell(f"{hold} && sleep 0.1")
