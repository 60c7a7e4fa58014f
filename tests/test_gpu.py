"""tests/gpu.sh on a CPU, which stands for the GPU, and what it says where something is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
NOT_NEEDED = ("torchaudio", "soundfile", "scipy", "sklearn")

# Read by every Python that starts: it hides packages, as if they were not installed.
HIDE = """
import importlib.metadata, sys
hidden = {hidden!r}
sys.modules.update(dict.fromkeys(hidden))
version = importlib.metadata.version
def visible(name):
    if name in hidden:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = visible
"""


def gpu(tmp_path: Path, *options: str, hidden: tuple[str, ...] = NOT_NEEDED) -> subprocess.CompletedProcess[str]:
    (tmp_path / "sitecustomize.py").write_text(HIDE.format(hidden=hidden))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [ROOT / "tests" / "gpu.sh", *options], capture_output=True, text=True, timeout=500, cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(tmp_path)},
    )


def table(text: str) -> dict[str, list[str]]:
    """Return the cells of the last table's lines by what they are of."""
    lines = text[text.rindex("| what ") :].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {line[0]: line[1:] for line in cells[2:]}


QUICK = ("--device", "cpu", "--quick", "true", "--parts")


def test_a_cpu_agrees_with_itself_and_resumes(tmp_path: Path) -> None:
    done = gpu(tmp_path, *QUICK, "against_cpu interruption norm step")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No GPU was used" in done.stdout
    rows = table(done.stdout)
    verdicts = {what: cells[-1] for what, cells in rows.items()}
    assert set(verdicts.values()) == {"yes", ""}
    for precision in ("float64", "float32"):
        for what in ("logits", "loss", "gradients", "statistics"):
            assert rows[f"mfcc/resnet, cross-entropy, {precision}: {what}"][2] == "0"
        for network in ("mfcc/tdnn", "encoder/linear", "encoder-finetune/linear", "spectrogram/alexnet",
                        "spectrogram/squeezenet"):
            assert rows[f"{network}, cross-entropy, {precision}: gradients"][2] == "0"
    for loss in ("cross-entropy", "aam"):
        for what in ("logits", "loss", "gradients", "gradients, worst tensor", "statistics"):
            assert verdicts[f"mfcc/resnet, {loss}, bf16: {what}, from the CPU's float32"] == "yes"
    assert rows["interrupted training: exit status"][1] == "143"
    assert verdicts["resumed against uninterrupted: weights; bit-equal"] == "yes"
    assert verdicts["norm, float32: fused against gathered, outputs and gradients, worst"] == "yes"
    assert sum(what.startswith("norm, float32, ") for what in rows) == 4


@pytest.mark.long
def test_speeds_are_those_of_the_benchmarks(tmp_path: Path) -> None:
    done = gpu(tmp_path, *QUICK, "speed")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(done.stdout)
    for beginning in ("training, plain loop, fp32", "training, ours, fp32", "training: planning and gathering",
                      "ceiling, fp32: a step", "evaluation, ours, one at a time"):
        assert any(what.startswith(beginning) and re.match(r"[0-9.]+", cells[2]) for what, cells in rows.items())


def test_a_part_that_dies_is_a_line_that_failed(tmp_path: Path) -> None:
    done = gpu(tmp_path, *QUICK, "step", hidden=("bench_training",))
    assert done.returncode == 1
    (what, cells), = table(done.stdout).items()
    assert what.startswith("step: exit status 1: ModuleNotFoundError") and cells[-1] == "NO"


def test_what_is_missing_is_named_and_not_installed(tmp_path: Path) -> None:
    done = gpu(tmp_path, *QUICK, "step", hidden=("kaldiio", "yaml"))
    assert done.returncode == 1
    assert "has no PyYAML, kaldiio: python3 -m pip install PyYAML kaldiio" in done.stderr
    done = gpu(tmp_path, hidden=("torch", "tqdm"))
    assert done.returncode == 1
    assert "has no torch; activate" in done.stderr and "pip install tqdm)" in done.stderr
    done = gpu(tmp_path, "--parts", "nothing")
    assert done.returncode == 1 and "--parts: no nothing" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_said_plainly(tmp_path: Path) -> None:
    done = gpu(tmp_path)
    assert done.returncode == 1
    assert "no GPU is there" in done.stderr and "Nothing was checked" in done.stderr


def test_limits(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "gpu"))
    import distances
    import rows

    assert rows.at_most("x", 0.1, 0.1).ok and rows.at_most("x", float("nan"), 1.0).failed
    assert rows.at_most("x", 0.11, 0.1).failed
    missed = rows.aim("x", 3.0, 20.0)
    assert not missed.ok and not missed.failed and missed.cells()[-1] == "missed"
    a = {"large": torch.ones(4), "other": torch.ones(4), "nothing": torch.full((4,), 1e-9)}
    assert distances.distances({**a, "large": -a["large"]}, a) == {"large": pytest.approx(2), "other": 0}
