"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slurm_cluster

ROOT = Path(__file__).resolve().parent.parent

# A shell without job control starts what it puts into the background with SIGINT ignored, and programs under test would
# inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


# The files that take longest, so that all workers end at about the same time.
_FIRST = ("recipe", "grid", "slurm", "distributed", "steps_frontend", "training", "mini", "speaker_recipe")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {f"test_{name}": number for number, name in enumerate(_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real reference data, named by SER_SHARED; a missing one skips the test, or fails it in CI."""
    folder = Path(os.environ.get("SER_SHARED", ROOT.parent / "shared")).resolve()
    if not (folder / "kaldi_reference").is_dir():
        reason = f"no reference data at {folder} (set SER_SHARED)"
        if os.environ.get("SER_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def slurm() -> Iterator[slurm_cluster.Cluster]:
    """A Slurm cluster of two nodes; where none can be started the test skips, or fails in CI."""
    if reason := slurm_cluster.unavailable():
        if os.environ.get("SER_REQUIRE_SLURM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with slurm_cluster.Cluster() as cluster:
        yield cluster


Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def shell() -> Shell:
    """Run a command line in bash from the project root with `path.sh` sourced.

    `shell(line)` returns the finished process with its text output; with `ok=True` (the default) a non-zero exit
    fails the test, with `ok=False` a zero one does.
    """

    def run(line: str, ok: bool = True, cwd: Path = ROOT, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash", "-c", f". {ROOT}/path.sh && {line}"],
            cwd=cwd, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
        )
        assert (done.returncode == 0) is ok, f"{line}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run
