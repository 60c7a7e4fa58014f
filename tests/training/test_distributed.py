"""Training in several processes: the same batches and the same loss as one process, and what becomes of a lost one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from slurm_cluster import Cluster
from tiny_data import SMALL, make_data

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = f"{ROOT}/utils/launch.sh --processes 2"


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """The command that trains on small data, but for its --out; 50 utterances do not share out evenly."""
    folder = tmp_path_factory.mktemp("shared")
    make_data(folder / "train", 50, 1)
    make_data(folder / "dev", 12, 2)

    def command(out: Path, **options: object) -> str:
        config = folder / f"{out.name}.yaml"
        config.write_text(yaml.safe_dump({**SMALL, "learning_rate": 3e-5, **options}))
        return (f"{ROOT}/pyscripts/train.py --train {folder}/train --dev {folder}/dev --scheme n+se-cp --device cpu "
                f"--config {config} --out {out}")

    return command


def curve(output: str) -> list[tuple[float, float]]:
    """Training and dev loss by epoch, as a training prints them."""
    found = re.findall(r"^epoch \d+/\d+: loss (\S+), dev loss (\S+),", output, re.MULTILINE)
    return [(float(loss), float(dev)) for loss, dev in found]


def agree(one: list[tuple[float, float]], two: list[tuple[float, float]], epochs: int) -> None:
    """The same but for rounding, which Adam's first steps, of one size whatever the gradient, make visible."""
    assert len(one) == len(two) == epochs
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=0.005), f"{one} against {two}"


@pytest.fixture(scope="module")
def alone(train, shell, tmp_path_factory) -> list[tuple[float, float]]:
    """The losses of one process."""
    return curve(shell(train(tmp_path_factory.mktemp("exp") / "alone", epochs=3)).stdout)


def test_a_shared_step_is_the_whole_step(shell) -> None:
    done = shell(f"{LAUNCH} {ROOT}/tests/two_processes.py")
    errors = json.loads(done.stdout.strip().splitlines()[-1])
    assert errors.pop("processes") == 2
    assert all(error < 1e-9 for error in errors.values()), errors


def test_two_processes_learn_what_one_does_though_one_is_killed(train, alone, shell, tmp_path: Path) -> None:
    out, lines = tmp_path / "two", []
    with subprocess.Popen(
        ["bash", "-c", f"{LAUNCH} {train(out, epochs=3)}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("epoch 1/"):
                os.kill(rank(1, out), signal.SIGKILL)
                killed = time.monotonic()
            if line.startswith("resuming after"):
                assert time.monotonic() - killed < 60
    text = "".join(lines)
    assert process.returncode == 0, text
    assert "resuming after epoch" in text
    again = re.findall(r"^epoch (\d+)/3", text, re.MULTILINE)
    assert set(again) == {"1", "2", "3"} and len(again) <= 4
    agree(alone, curve(text)[len(again) - 3 :], 3)
    assert text.count("50 utterances, 12 dev") == 2, "said once by each start"
    assert len(list((out / "tensorboard").iterdir())) == 2, "written once by each start"
    assert yaml.safe_load((out / "config.yaml").read_text())["run"]["processes"] == 2
    # How many they were is none of the weights' business: one process goes on with what two have begun.
    (out / ".train.done").unlink()
    assert "resuming after epoch 3" in shell(train(out, epochs=4)).stdout


def test_a_killed_launcher_leaves_nobody_behind(train, tmp_path: Path) -> None:
    out = tmp_path / "orphans"
    with subprocess.Popen(["bash", "-c", f"exec {LAUNCH} {train(out, epochs=500)}"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True) as process:
        assert any(line.startswith("epoch 1/") for line in process.stdout)
        process.kill()
    end = time.monotonic() + 20
    while time.monotonic() < end and processes(out):
        time.sleep(0.1)
    assert not processes(out)


def test_two_nodes_learn_what_one_process_does(train, alone, slurm: Cluster, shell, tmp_path: Path) -> None:
    out = tmp_path / "nodes"
    environment = " ".join(f"{name}={value}" for name, value in slurm.environment.items())
    shell(f"cd {tmp_path} && {environment} slurm.py --mem 2G --num-threads 1 --num-nodes 2 --time 10 train.log "
          f"{ROOT}/utils/launch.sh --nodes 2 {train(out, epochs=3)}")
    agree(alone, curve((tmp_path / "train.log").read_text()), 3)
    assert yaml.safe_load((out / "config.yaml").read_text())["run"]["processes"] == 2


def test_a_stopped_cluster_job_saves_goes_back_and_ends_well(train, slurm: Cluster, tmp_path: Path) -> None:
    """As a queue's time limit does it: SIGUSR1 to the batch script, in the middle of an epoch."""
    out = tmp_path / "stopped"
    environment = {**os.environ, **slurm.environment}
    line = (f". {ROOT}/path.sh && cd {tmp_path} && slurm.py --mem 2G --num-threads 1 --num-nodes 2 --time 10 JOB=1:1 "
            f"train.JOB.log {ROOT}/utils/launch.sh --nodes 2 {train(out, epochs=6)}")
    with subprocess.Popen(["bash", "-c", line], env=environment, stderr=subprocess.PIPE, text=True) as process:
        log, end = tmp_path / "train.1.log", time.monotonic() + 120
        while time.monotonic() < end and not (log.exists() and "epoch 1/" in log.read_text()):
            time.sleep(0.1)
        job = re.search(r"as Slurm job (\d+)_", log.read_text())[1]
        slurm.command("scancel", "--signal=USR1", "--batch", job)
        _, said = process.communicate(timeout=150)
    text = log.read_text()
    assert process.returncode == 0, said + text
    assert "goes back into the queue" in said
    assert re.search(r"^stopped by SIG\w+ in epoch", text, re.MULTILINE) and "resuming after epoch" in text
    assert "Traceback" not in text
    epochs = [int(epoch) for epoch in re.findall(r"^epoch (\d+)/6", text, re.MULTILINE)]
    assert epochs == list(range(1, 7)), "no epoch twice"


def test_what_only_the_user_can_mend_ends_at_once(train, shell, tmp_path: Path) -> None:
    started = time.monotonic()
    done = shell(f"{LAUNCH} {train(tmp_path / 'bad')} --train {tmp_path}", ok=False)
    assert "train.py: error: " in done.stderr and str(tmp_path) in done.stderr
    assert time.monotonic() - started < 60
    assert "Traceback" not in done.stderr.partition("train.py: error: ")[2]


def test_several_nodes_need_a_cluster(train, shell, tmp_path: Path) -> None:
    done = shell(f"{ROOT}/utils/launch.sh --nodes 2 {train(tmp_path)}", ok=False)
    assert "need a job of Slurm's" in done.stderr
    done = shell("run.py --num-nodes 2 /dev/null true", ok=False)
    assert "this machine is one node" in done.stderr


def processes(out: Path) -> dict[int, bytes]:
    """Environments of the training processes of a run, by process id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str(out).encode() in (folder / "cmdline").read_bytes():
                environment = (folder / "environ").read_bytes()
                if b"LOCAL_RANK=" in environment:
                    found[int(folder.name)] = environment
        except OSError:
            continue
    return found


def rank(number: int, out: Path) -> int:
    return next(pid for pid, environment in processes(out).items() if b"\0RANK=%d\0" % number in b"\0" + environment)
