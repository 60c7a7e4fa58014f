"""What the loop promises holds for a system and a network that are nothing like MFCC and ResNet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ser.data.arks import ArkWriter
from ser.training.checkpoint import load_checkpoint
from ser.training.history import read_history

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "average": 0, "warmup_epochs": 0, "time_masks": 0, "frequency_masks": 0, "label_smoothing": 0,
    "system": "samples", "network": "powers", "epochs": 8, "batch_size": 8, "crop": 300, "precision": "fp32",
    "optimiser": "sgd", "momentum": 0.9, "weight_decay": 1e-4, "clip": 1.0, "learning_rate": 0.05,
    "rates": "head=0.2", "freeze": "stem", "select": "uar",
}  # fmt: skip


def make_samples(folder: Path, count: int, seed: int) -> Path:
    """Utterances of single samples as rows, whose emotion is how loud they are."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    emotions = ("angry", "happy", "neutral", "sad")
    names = [f"s{index % 4}-{index:03d}" for index in range(count)]
    tables: dict[str, dict[str, object]] = {"utt2num_frames": {}, "utt2emo": {}, "utt2spk": {}}
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for index, name in sorted(enumerate(names), key=lambda pair: pair[1]):
            rows = random.standard_normal((int(random.integers(150, 500)), 1)).astype(np.float32) * (1 + index % 4)
            writer.write(name, rows)
            tables["utt2num_frames"][name] = len(rows)
            tables["utt2emo"][name] = emotions[index % 4]
            tables["utt2spk"][name] = name.split("-")[0]
    for table, lines in tables.items():
        (folder / table).write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    return folder


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Return the command that trains into a folder, with changes to `SETTINGS`."""
    folder = tmp_path_factory.mktemp("samples")
    train, dev = make_samples(folder / "train", 64, 1), make_samples(folder / "dev", 16, 2)

    def command(out: Path, scheme: str = "n+se-cp", **changes: object) -> list[str]:
        config = folder / f"{out.name}.yaml"
        config.write_text(yaml.safe_dump({**SETTINGS, **changes}))
        return [sys.executable, str(ROOT / "tests" / "tiny_system.py"), "--train", str(train), "--dev", str(dev),
                "--scheme", scheme, "--config", str(config), "--device", "cpu", "--out", str(out)]

    return command


def run(command: Sequence[str], ok: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "pyscripts"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exp") / "whole"
    run(train(out))
    return out


def test_it_learns_by_its_options(whole: Path) -> None:
    history = read_history(whole)
    assert [record["epoch"] for record in history] == list(range(1, 9))
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    best, last = load_checkpoint(whole / "best.pt"), load_checkpoint(whole / "last.pt")
    assert best["dev_uar"] == max(record["dev_uar"] for record in history)
    assert {group["base_rate"] for group in last["optimiser"]["param_groups"]} == {0.05, 0.2}
    assert all(group["momentum"] == 0.9 for group in last["optimiser"]["param_groups"])
    torch.manual_seed(0)  # what the network was initialised with: its frozen layer is that still
    stem = torch.nn.Linear(3, 16)
    assert torch.equal(last["model"]["stem.weight"], stem.weight)
    assert len(best["model"]) == 6, "weights and biases of stem, body and head"


def test_killed_and_resumed_is_never_interrupted(train, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "pyscripts"), "OMP_NUM_THREADS": "1"}
    for epoch, how in ((2, signal.SIGKILL), (5, signal.SIGTERM)):
        with subprocess.Popen(train(out), env=environment, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.startswith(f"epoch {epoch}/"):
                    break
            process.send_signal(how)
            time.sleep(0.01)
    run(train(out))
    for name in ("best.pt", "last.pt"):
        one, other = load_checkpoint(whole / name), load_checkpoint(out / name)
        assert one["epoch"] == other["epoch"]
        assert all(torch.equal(one["model"][part], other["model"][part]) for part in one["model"])
    kept = [{name: value for name, value in record.items() if name != "seconds"} for record in read_history(out)]
    assert kept == [{k: v for k, v in record.items() if k != "seconds"} for record in read_history(whole)]


def test_two_processes_learn_what_one_does(train, whole: Path, tmp_path: Path) -> None:
    run([str(ROOT / "utils" / "launch.sh"), "--processes", "2", *train(tmp_path / "two", clip=1.0)[1:]])
    alone, shared = (read_history(folder) for folder in (whole, tmp_path / "two"))
    assert len(shared) == len(alone)
    for one, other in zip(alone, shared, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-3)
        assert other["dev_loss"] == pytest.approx(one["dev_loss"], rel=1e-3)


def test_transfer_leaves_the_output_layer(train, whole: Path, tmp_path: Path) -> None:
    run(train(tmp_path / "tuned", scheme="none", init=str(whole), epochs=0))
    donor, tuned = (load_checkpoint(folder / "best.pt")["model"] for folder in (whole, tmp_path / "tuned"))
    assert {name for name in donor if torch.equal(donor[name], tuned[name])} == {
        "stem.weight", "stem.bias", "body.weight", "body.bias"
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "resnet"}, "the system samples has powers, not 'resnet'"),
        ({"system": "spectra"}, "system: 'spectra' is none of"),
        ({"select": "accuracy of luck"}, "select: 'accuracy of luck' is none of weighted_f1"),
        ({"freeze": "steam"}, "freeze: the network has no part 'steam'; its parts are stem, body, head"),
        ({"freeze": "stem body head"}, "leaves no parameter to train"),
        ({"rates": "head=fast"}, "rates: 'head=fast' is not"),
        ({"rates": "tail=0.1"}, "rates: the network has no part 'tail'"),
        ({"optimiser": "adam"}, "momentum: is for the optimiser sgd"),
    ],
)
def test_wrong_options_are_named(train, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    done = run(train(tmp_path / "wrong", **changes), ok=False)
    assert message in done.stderr and "Traceback" not in done.stderr
