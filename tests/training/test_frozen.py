"""Training from what the frozen layers made of the images: the same weights as from the images, and faster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ser.base.kaldi_tables import write_table
from ser.data.arks import ArkWriter
from ser.nets.image_classifier import SqueezeNet
from ser.training.checkpoint import load_checkpoint
from ser.training.classification import Classification
from ser.training.history import read_history
from ser.training.options import TrainOptions
from ser.training.runs import Run
from ser.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]


def make_images(folder: Path, count: int, seed: int) -> str:
    """Random images, half of them darker, which is their class."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    names = [f"s{n % 2}-u{n:03d}" for n in range(count)]
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for number, name in sorted(enumerate(names), key=lambda pair: pair[1]):
            writer.write(name, random.integers(0, 128 << number % 2, (259, 257)).astype(np.uint8))
    for table, values in {"utt2num_frames": [259] * count, "utt2spk": [name[:2] for name in names],
                          "utt2emo": [("dark", "light")[n % 2] for n in range(count)]}.items():
        write_table(folder / table, dict(zip(names, values, strict=True)))
    return str(folder)


@pytest.fixture(scope="module")
def run_of(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("images")
    torch.manual_seed(3)
    np.savez(folder / "w.npz", **{name: value.numpy() for name, value in SqueezeNet(1000).state_dict().items()})
    options = TrainOptions.read(
        [ROOT / "conf" / "train.yaml", ROOT / "conf" / "spectrogram-squeezenet.yaml"],
        {"system": "spectrogram", "network": "squeezenet", "init": str(folder / "w.npz"), "epochs": 2, "batch_size": 8,
         "precision": "fp32"},
    )
    train, dev = make_images(folder / "train", 16, 1), make_images(folder / "dev", 8, 2)
    return Run(str(folder), "out", (train,), dev, options=options)


def test_the_weights_are_those_without_it(run_of: Run, monkeypatch) -> None:
    cpu = torch.device("cpu")
    Trainer(replace(run_of, out="cached"), cpu).train()
    monkeypatch.setattr(Classification, "_compute_frozen", lambda self: None)
    Trainer(replace(run_of, out="plain"), cpu).train()
    cached, plain = (load_checkpoint(Path(run_of.work, out, "last.pt"))["model"] for out in ("cached", "plain"))
    donor = np.load(run_of.options.init)
    for name, value in plain.items():
        assert torch.equal(cached[name], value), name
        frozen = not name.startswith(("features.12", "classifier"))
        if frozen:
            assert np.array_equal(value, donor[name])
        elif name.startswith("features.12"):
            assert not np.array_equal(value, donor[name]), name
    histories = [[{**epoch, "seconds": 0} for epoch in read_history(Path(run_of.work, out))]
                 for out in ("cached", "plain")]
    assert histories[0] == histories[1]
