"""The driver on a speaker recipe: a replica of VoxCeleb, from its tree to the error rate of unseen speakers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import kaldiio
import pytest

from ser.training.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def finished(shared: Path, tmp_path_factory) -> tuple[Path, list[str], str]:
    """The folder of a run, its command, and what it printed."""
    folder = tmp_path_factory.mktemp("voxceleb")
    replica = [sys.executable, str(shared / "tools" / "make_replica.py"), "voxceleb", str(folder / "corpus")]
    subprocess.run([*replica, "--fraction", "0.1"], check=True, capture_output=True)
    (folder / "train.yaml").write_text("epochs: 1\nbatch_size: 16\ncrop: 60\nprecise_bn: 1\nwindow: 32\n")
    command = [
        str(ROOT / "run.sh"), "--recipe", "voxceleb", "--corpus-dir", str(folder / "corpus"), "--musan-dir",
        str(shared / "data" / "musan"), "--work-dir", str(folder / "work"), "--config", str(folder / "train.yaml"),
        "--tag", "tiny", "--nj", "1", "--train-threads", "1",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "work", command, done.stdout


def column(path: Path, number: int) -> set[str]:
    return {line.split()[number] for line in path.read_text().splitlines()}


def test_trains_on_other_speakers_than_it_is_tested_on(finished) -> None:
    work, _, printed = finished
    run = work / "exp" / "mfcc-resnet_clean+noise_none_random_tiny" / "seed0"
    classes = set(load_checkpoint(run / "best.pt")["classes"])
    assert classes and not classes & column(work / "data/test/utt2spk", 1)
    assert classes >= column(work / "data/dev_voiced_kept/utt2spk", 1)
    assert "no speaker of test is in train or dev" in printed
    packed = json.loads((work / "data" / "packed_clean+noise_voiced" / "packed.json").read_text())
    assert packed["utterances"] == 2 * len(column(work / "data/train_voiced_kept/utt2spk", 0))
    assert column(work / "data/train_noisy1/utt2noise", 1) == {"10", "5", "0"}


def test_scores_every_trial(finished) -> None:
    work, _, printed = finished
    run = work / "exp" / "mfcc-resnet_clean+noise_none_random_tiny" / "seed0"
    vectors = kaldiio.load_scp(str(run / "xvectors_test" / "xvector.scp"))
    assert set(vectors) == column(work / "data/test/utt2spk", 0)
    assert all(vector.shape == (400,) for vector in vectors.values())
    trials = (work / "data" / "test" / "trials").read_text().splitlines()
    record = json.loads((run / "score_test" / "trials.json").read_text())
    assert record["targets"] + record["nontargets"] == len(trials)
    assert f"{100 * record['eer']:.2f}" in printed


def test_another_training_leaves_the_finished_one_alone(finished, tmp_path: Path) -> None:
    work, command, _ = finished
    run = work / "exp" / "mfcc-resnet_clean+noise_none_random_tiny" / "seed0"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    (tmp_path / "none.yaml").write_text("epochs: 0\nbatch_size: 16\nprecise_bn: 0\nwindow: 32\n")
    command = [*command, "--stage", "3", "--stop-stage", "3", "--config", str(tmp_path / "none.yaml")]
    refused = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert refused.returncode != 0 and "--tag" in refused.stderr
    done = subprocess.run([*command, "--tag", "none"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    other = work / "exp" / "mfcc-resnet_clean+noise_none_random_none" / "seed0"
    assert load_checkpoint(other / "best.pt")["epoch"] == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    assert load_checkpoint(run / "best.pt")["epoch"] == 1


def test_what_cannot_be_decoded_is_said_before_anything_is_dropped(finished, tmp_path: Path) -> None:
    work, command, _ = finished
    shutil.copytree(work / "data", tmp_path / "work" / "data")
    scp = tmp_path / "work/data/train/wav.scp"
    scp.write_text(scp.read_text().replace(" ", " ffmpeg -i ", 1))
    nothing = tmp_path / "bin"
    nothing.mkdir()
    for program in Path("/usr/bin").iterdir():
        if program.name != "ffmpeg":
            (nothing / program.name).symlink_to(program)
    path = f"{Path(sys.executable).parent}:{nothing}:/bin-without"
    done = subprocess.run(
        [*command, "--work-dir", str(tmp_path / "work"), "--stage", "1", "--stop-stage", "1"], capture_output=True,
        text=True, env={**os.environ, "PATH": path},
    )
    assert done.returncode != 0 and "ffmpeg is not on PATH" in done.stderr
