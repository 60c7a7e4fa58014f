"""The baseline's training: its epochs are machines, dev chooses, and what it leaves is a run like any other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import SMALL, make_data

from ser.base.errors import SerError
from ser.data.labels import Labels
from ser.features.store import FeatureStore
from ser.training.checkpoint import load_checkpoint, load_model
from ser.training.evaluation import embeddings, log_posteriors
from ser.training.history import read_history
from ser.training.options import TrainOptions
from ser.training.run_folder import FINISHED
from ser.training.runs import Run
from ser.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    return make_data(folder / "train", 64, 1), make_data(folder / "dev", 24, 2)


def train(data, out: Path, **changes: object) -> Path:
    options = TrainOptions(system="functionals", network="svm", **changes)
    Trainer(Run(str(out.parent), out.name, (str(data[0]),), str(data[1]), options=options), CPU).train()
    return out


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    return train(data, tmp_path_factory.mktemp("exp") / "whole")


def test_every_machine_is_an_epoch_and_dev_chooses(data, trained: Path) -> None:
    history = read_history(trained)
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5, 6] and history[0]["epochs"] == 6
    scores = [record["dev_weighted_f1"] for record in history]
    model, checkpoint = load_model(trained / "best.pt", CPU)
    assert checkpoint["epoch"] == 1 + int(np.argmax(scores)) and checkpoint["dev_weighted_f1"] == max(scores)
    assert max(scores) > 0.9  # a band's deviation tells the emotion
    dev = FeatureStore.load([data[1]], CPU)
    labels = Labels.read([data[1]], dev.utterances, checkpoint["classes"])
    assert (log_posteriors(model, dev).argmax(1) == labels.indices).mean() > 0.9
    assert embeddings(model, dev).shape == (24, 9 * 23)


def test_interrupted_between_machines_is_never_interrupted(data, trained: Path, tmp_path: Path, monkeypatch) -> None:
    out, evaluate = tmp_path / "killed", Trainer._finish_epoch

    def killed(self, epoch, *rest):
        if epoch == 3:
            raise KeyboardInterrupt
        return evaluate(self, epoch, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_finish_epoch", killed)
        train(data, out)
    assert len(read_history(out)) == 2 and not (out / FINISHED).exists()
    train(data, out)
    for name in ("best.pt", "last.pt"):
        one, other = (load_checkpoint(folder / name)["model"] for folder in (out, trained))
        assert all(torch.equal(one[key], other[key]) for key in other) and one.keys() == other.keys()


def test_its_options_matter(data, tmp_path: Path) -> None:
    out = train(data, tmp_path / "run", functionals="mean slope", machines="rbf=2", class_weights="balanced")
    model, _ = load_model(out / "best.pt", CPU)
    assert model.mean.shape == (2 * 23,) and model.gamma > 0
    assert max(record["dev_weighted_f1"] for record in read_history(out)) < 0.7  # means tell nothing here


@pytest.mark.parametrize(("changes", "message"), [
    ({"scheme": "n-cp"}, "scheme: functionals-svm has 'none' alone, not 'n-cp'; its options are"),
    ({"seed": 1}, "seed: functionals-svm has 0 alone"),
    ({"epochs": 7}, "epochs: functionals-svm has 50 alone"),
    ({"labels": "utt2spk"}, "labels: "),
    ({"machines": "poly=1"}, "machines: 'poly=1' is not <kernel>=<C>"),
    ({"machines": "rbf=0"}, "machines: 'rbf=0'"),
    ({"machines": "rbf"}, "machines: 'rbf'"),
    ({"machines": ""}, "machines: ''"),
    ({"functionals": "mean kurtosis"}, "functionals: 'kurtosis' is none of mean, "),
])
def test_what_it_has_not_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SerError) as error:
        TrainOptions(system="functionals", network="svm", **changes)
    assert str(error.value).startswith(message)


def test_the_program_trains_and_scores_it(data, tmp_path: Path) -> None:
    """conf/train.yaml, which has options of all networks, is no hindrance; a user's file with such options is."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "pyscripts"), "OMP_NUM_THREADS": "1"}
    config = tmp_path / "svm.yaml"
    words = [sys.executable, str(ROOT / "pyscripts/train.py"), "--train", str(data[0]), "--dev", str(data[1]), "--out",
             str(tmp_path / "run"), "--config", str(config), "--device", "cpu"]
    config.write_text(f"system: functionals\nnetwork: svm\nbatch_size: {SMALL['batch_size']}\n")
    refused = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert refused.returncode == 1 and "batch_size: functionals-svm has 128 alone, not 16" in refused.stderr
    config.write_text("system: functionals\nnetwork: svm\nmachines: rbf=1\n")
    subprocess.run(words, env=environment, check=True)
    score = [sys.executable, str(ROOT / "pyscripts/score.py"), "--run", str(tmp_path / "run"), "--tests"]
    subprocess.run([*score, f"test={data[1]}"], env=environment, check=True)
    record = json.loads((tmp_path / "run/score_test/score.json").read_text())
    assert record["weighted_f1"] == pytest.approx(read_history(tmp_path / "run")[0]["dev_weighted_f1"])
    assert record["checkpoint"]["options"]["machines"] == "rbf=1"
    words += ["--dump-plan", str(tmp_path / "plan")]
    dump = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert "functionals-svm is not trained on the batches of a plan" in dump.stderr
