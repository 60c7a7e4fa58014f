"""Training emotional voice conversion in the one loop: it learns, resumes bit for bit, and says what it lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stopped_training import train_until

from ser.base.errors import SerError
from ser.base.kaldi_tables import write_table
from ser.data.arks import ArkWriter
from ser.nets.world_columns import COLUMNS, VOICED
from ser.training.checkpoint import load_checkpoint, load_model
from ser.training.conversion import CycleGanConversion, StarGanConversion
from ser.training.history import read_history
from ser.training.options import TrainOptions
from ser.training.runs import Run
from ser.training.trainer import Trainer

CPU = torch.device("cpu")
SMALL = {"system": "world", "network": "cyclegan", "select": "loss", "width": 4, "epochs": 3, "batch_size": 3,
         "optimiser": "adam", "learning_rate": 2e-4, "beta1": 0.5}
EMOTIONS = ("angry", "neutral", "sad")


def make_features(folder: Path, count: int, emotions: tuple[str, ...] = EMOTIONS) -> Path:
    """Make utterances of noise whose coefficients differ from emotion to emotion, of 100 to 200 frames."""
    (folder / "conf").mkdir(parents=True)
    (folder / "conf/world.conf").write_text("--tiny=true\n")
    random, tables = np.random.default_rng(count), {name: {} for name in ("utt2num_frames", "utt2spk", "utt2emo")}
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for index in range(count):
            emotion = index % len(emotions)
            rows = random.standard_normal((random.integers(100, 200), COLUMNS)).astype(np.float32) + emotion
            rows[:, VOICED] = 1
            utterance = f"s-{index:03d}"
            writer.write(utterance, rows)
            for table, value in zip(tables.values(), (len(rows), "s", emotions[emotion]), strict=True):
                table[utterance] = value
    for name, table in tables.items():
        write_table(folder / name, table)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    return make_features(folder / "train", 15), make_features(folder / "dev", 3)


def run(data: tuple[Path, Path], out: Path, **changes: object) -> Run:
    options = TrainOptions(**{**SMALL, **changes})
    return Run(str(out.parent), out.name, (str(data[0]),), str(data[1]), options=options)


def train(data: tuple[Path, Path], out: Path, **changes: object) -> Path:
    Trainer(run(data, out, **changes), CPU).train()
    return out


@pytest.mark.parametrize(("network", "objective"), [("cyclegan", CycleGanConversion), ("stargan", StarGanConversion)])
def test_it_learns_and_interrupted_within_an_epoch_is_never_interrupted(
    data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str, objective: type
) -> None:
    whole, cut = train(data, tmp_path / "whole", network=network), tmp_path / "cut"
    history = read_history(whole)
    assert len(history) == 3 and all(np.isfinite(list(record.values())[2:5]).all() for record in history)
    assert history[-1]["dev_shift"] > 0
    train_until(8, run(data, cut, network=network), objective, monkeypatch)
    train(data, cut, network=network)
    one, other = (load_checkpoint(folder / "last.pt") for folder in (whole, cut))
    assert all(torch.equal(one[part][name], other[part][name]) for part in ("model", "critics") for name in one[part])
    model, checkpoint = load_model(whole / "last.pt", CPU)
    assert checkpoint["classes"] == ["neutral", "angry", "sad"] and checkpoint["front_end"] == "--tiny=true"
    rows = torch.randn(50, COLUMNS)
    assert model.convert(rows, 2).shape == rows.shape


def test_cyclegan_learns_the_way_there_and_back(data, tmp_path: Path) -> None:
    history = read_history(train(data, tmp_path / "long", epochs=12, learning_rate=1e-3))
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]


def test_what_is_missing_is_named(data, tmp_path: Path) -> None:
    wrong = {("angry", "sad"): "conversion starts from neutral", ("neutral",): "needs another one"}
    for emotions, message in wrong.items():
        bad = make_features(tmp_path / emotions[0], 4, emotions)
        with pytest.raises(SerError, match=message):
            train((bad, data[1]), tmp_path / "exp")
    sad = make_features(tmp_path / "dev", 2, ("sad", "angry"))
    with pytest.raises(SerError, match="no neutral utterance to watch"):
        train((data[0], sad), tmp_path / "exp")
