"""Training from what the frozen layers made of the images: the same weights as from the images, and made once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ser.base.kaldi_tables import write_table
from ser.data.arks import ArkWriter
from ser.features.store import FeatureStore
from ser.nets.image_classifier import ImageClassifier, SqueezeNet
from ser.training.checkpoint import load_checkpoint
from ser.training.classification import Classification
from ser.training.frozen import FrozenStore
from ser.training.history import read_history
from ser.training.options import TrainOptions
from ser.training.runs import Run
from ser.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]


def make_images(folder: Path, count: int, seed: int, columns: int = 259) -> str:
    """Random images, half of them darker, which is their class."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    names = [f"s{n % 2}-u{n:03d}" for n in range(count)]
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for number, name in sorted(enumerate(names), key=lambda pair: pair[1]):
            writer.write(name, random.integers(0, 128 << number % 2, (columns, 257)).astype(np.uint8))
    for table, values in {"utt2num_frames": [columns] * count, "utt2spk": [name[:2] for name in names],
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


@pytest.fixture
def computed(monkeypatch) -> list[int]:
    """How many images each call of a trunk has had."""
    calls, trunk = [], ImageClassifier.trunk
    monkeypatch.setattr(
        ImageClassifier,
        "trunk",
        lambda network, rows, lengths: calls.append(len(lengths)) or trunk(network, rows, lengths),
    )
    return calls


def test_another_seed_finds_what_was_computed(run_of: Run, computed: list[int]) -> None:
    """Another seed, and another training set of the same images, compute nothing that was kept."""
    first, second = (replace(run_of, out=f"seed{seed}", options=replace(run_of.options, seed=seed, epochs=1))
                     for seed in (5, 6))
    Trainer(first, torch.device("cpu")).train()
    computed.clear()
    Trainer(second, torch.device("cpu")).train()
    Trainer(replace(first, out="again"), torch.device("cpu")).train()
    assert not computed
    weights = [load_checkpoint(Path(first.work, out, "last.pt"))["model"] for out in ("seed5", "again", "seed6")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def frozen_network() -> SqueezeNet:
    torch.manual_seed(1)
    network = SqueezeNet(2)
    network.features[:12].requires_grad_(False)
    return network


def outputs_of(data: list[str], network: SqueezeNet | None = None, batch: int = 4, precision: str = "fp32"):
    store = FeatureStore.load(data, torch.device("cpu"), "uint8")
    return FrozenStore(store, data[0], network or frozen_network(), precision, batch).whole(
        np.arange(len(store.lengths))
    )[0]


def test_only_what_is_missing_is_computed(tmp_path: Path, computed: list[int]) -> None:
    """Images are known by their content, whatever set they are in; other weights, batches or precision are others."""
    both = [make_images(tmp_path / "a", 5, 1), make_images(tmp_path / "b", 6, 2)]
    for name in ("feats.scp", "utt2num_frames", "utt2spk", "utt2emo"):  # ids are other than the first set's
        table = Path(both[1], name)
        table.write_text("".join(f"t{line}" for line in table.read_text().splitlines(True)))
    first = outputs_of(both[:1])
    assert computed == [4, 4], "a batch that is not full is filled up"
    computed.clear()
    everything = outputs_of(both)
    assert computed == [4, 4]
    assert torch.equal(everything[:5], first)
    computed.clear()
    assert torch.equal(outputs_of(both), everything) and not computed
    other = frozen_network()
    other.features[3].squeeze.bias.data.add_(1)
    for options in ({"network": other}, {"batch": 3}, {"precision": "bf16"}):
        outputs_of(both[:1], **options)
        assert computed, options
        computed.clear()


def test_damage_and_a_full_disk_cost_time_only(tmp_path: Path, computed: list[int], capsys, monkeypatch) -> None:
    data = [make_images(tmp_path / "a", 4, 1)]
    first = outputs_of(data)
    [kept] = tmp_path.rglob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-1])
    computed.clear()
    assert torch.equal(outputs_of(data), first) and computed == [4]
    assert f"{kept}: damaged" in capsys.readouterr().out
    assert torch.equal(outputs_of(data), first) and computed == [4], "and kept again"
    kept.unlink()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"total": 100 << 20, "free": 11 << 20}))
    assert torch.equal(outputs_of(data), first)
    assert "not kept, since less than 10% of the disk would stay free" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.safetensors"))


def test_images_of_any_length_are_planned_whole(tmp_path: Path) -> None:
    """Blocks of 3 s have 774 columns, more than the 400 frames that utterances are cut to."""
    plan = tmp_path / "plan.jsonl"
    command = [sys.executable, str(ROOT / "pyscripts/train.py"), "--train", make_images(tmp_path / "long", 6, 1, 774)]
    command += ["--system", "spectrogram", "--network", "squeezenet", "--dump-plan", str(plan)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT / "pyscripts")}, check=True)
    examples = [json.loads(line) for line in plan.read_text().splitlines()]
    parts = sorted(tuple(part) for example in examples for part in example["parts"])
    assert parts == sorted((f"s{number % 2}-u{number:03d}", 0, 774) for number in range(6))
