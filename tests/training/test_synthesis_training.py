"""Training EmoAug's network in the one loop: it learns, resumes bit for bit, fine-tunes against a critic, refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from stopped_training import train_until
from tiny_synthesis import save_ge2e

from ser.augment.length_batches import LengthBatches
from ser.base.errors import SerError
from ser.data.arks import ArkWriter, read_arks
from ser.features.speech_store import SpeechStore
from ser.training.checkpoint import build_model, load_checkpoint, load_model
from ser.training.history import read_history
from ser.training.options import TrainOptions
from ser.training.runs import Run
from ser.training.synthesis import SpeechSynthesis, styles_of
from ser.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
SMALL = {"system": "synthesis", "network": "tacotron", "labels": "utt2spk", "select": "loss", "width": 16, "epochs": 3,
         "batch_size": 4, "guided_attention": 1.0, "clip": 1.0, "optimiser": "adam", "learning_rate": 0.003,
         "own_frames": 0.5, "own_from": 2, "own_until": 8, "dropout": 0.1}


def make_speech(folder: Path, count: int, seed: int) -> Path:
    """Make utterances of 12 units, two to four frames of a spectrum of its own each, in four speakers' styles."""
    (folder / "conf").mkdir(parents=True)
    made = {"mel": "--num-mel-bins=10\n", "units": "--codebook=abc\n--num-units=12\n", "styles": "--of=tiny\n"}
    for name, text in made.items():
        (folder / "conf" / f"{name}.conf").write_text(text)
    random, spectra = np.random.default_rng(seed), np.random.default_rng(0).standard_normal((12, 10))
    tables: dict[str, dict[str, object]] = {name: {} for name in ("units.txt", "utt2num_frames", "utt2spk", "utt2emo")}
    with (ArkWriter(folder / "mel.ark", folder / "feats.scp") as mels,
          ArkWriter(folder / "styles.ark", folder / "styles.scp") as styles):
        for index in range(count):
            speaker = index % 4
            utterance = f"s{speaker}-{index:03d}"
            units = random.permutation(12)[: random.integers(4, 9)]
            mel = spectra[units].repeat(random.integers(2, 5, len(units)), 0) + speaker / 4
            mels.write(utterance, mel.astype(np.float32))
            frames = random.integers(20, 200)
            power = 10 * np.eye(41)[[speaker]] + 0.1 * random.random((frames, 41))
            styles.write(utterance, power.astype(np.float32))
            row = (" ".join(map(str, units)), len(mel), f"s{speaker}", ("sad", "angry")[index // 4 % 2])
            for name, value in zip(tables, row, strict=True):
                tables[name][utterance] = value
    for name, table in tables.items():
        (folder / name).write_text("".join(f"{utterance} {table[utterance]}\n" for utterance in sorted(table)))
    for name in ("feats.scp", "styles.scp"):
        (folder / name).write_text("".join(sorted((folder / name).read_text().splitlines(keepends=True))))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    save_ge2e(folder / "ge2e")
    return make_speech(folder / "train", 24, 1), make_speech(folder / "dev", 8, 2)


def run(data: tuple[Path, Path], out: Path, **changes: object) -> Run:
    options = TrainOptions(**{**SMALL, "init": str(data[0].parent / "ge2e"), **changes})
    return Run(str(out.parent), out.name, (str(data[0]),), str(data[1]), options=options)


def train(data: tuple[Path, Path], out: Path, **changes: object) -> Path:
    Trainer(run(data, out, **changes), CPU).train()
    return out


def same(one: Path, other: Path) -> bool:
    first, second = (load_checkpoint(path)["model"] for path in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    return train(data, tmp_path_factory.mktemp("exp") / "whole")


def test_the_loss_falls_and_the_best_epoch_is_a_network_that_speaks(data, trained: Path) -> None:
    history = read_history(trained)
    assert history[-1]["loss"] < history[0]["loss"]
    model, checkpoint = load_model(trained / "best.pt", CPU)
    assert checkpoint["dev_loss"] == min(record["dev_loss"] for record in history)
    assert "--codebook=abc" in checkpoint["front_end"] and checkpoint["dim"] == [10, 41]
    store, indices = SpeechStore.load([data[1]], CPU), np.array([0, 1])
    speech = store.whole(indices, styles_of(model, store, indices))
    made = model.generate(speech.units, speech.unit_lengths, speech.styles, 30, [1, 2])
    assert made.mels.shape[2] == 10 and (made.lengths >= 1).all()


@pytest.mark.parametrize("changes", [{}, {"adversarial": 0.1, "epochs": 2}])
def test_interrupted_within_an_epoch_is_never_interrupted(
    data, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, float]
) -> None:
    whole, cut = (trained if not changes else train(data, tmp_path / "whole", **changes)), tmp_path / "cut"
    train_until(8, run(data, cut, **changes), SpeechSynthesis, monkeypatch)
    train(data, cut, **changes)
    assert same(whole / "last.pt", cut / "last.pt") and same(whole / "best.pt", cut / "best.pt")
    if changes:
        one, other = (load_checkpoint(folder / "last.pt")["critic"] for folder in (whole, cut))
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_two_processes_learn_what_one_does(tmp_path: Path, shell) -> None:
    """But for the dropout, which is each process's own: nearly the same losses, of the critic's generator too."""
    make_speech(tmp_path / "train", 26, 1)
    make_speech(tmp_path / "dev", 8, 2)
    options = {**SMALL, "init": str(save_ge2e(tmp_path / "ge2e")), "epochs": 2, "adversarial": 0.1}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(options))
    command = f"{ROOT}/pyscripts/train.py --train train --dev dev --device cpu --config tiny.yaml --out"
    shell(f"{command} one", cwd=tmp_path)
    shell(f"{ROOT}/utils/launch.sh --processes 2 {command} two", cwd=tmp_path)
    one, two = (read_history(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == 2
    for a, b in zip(one, two, strict=True):
        assert (a["loss"], a["dev_loss"]) == pytest.approx((b["loss"], b["dev_loss"]), rel=0.05)
    means = [load_checkpoint(tmp_path / name / "last.pt")["model"]["style_means"] for name in ("one", "two")]
    assert torch.allclose(*means, atol=1e-5)


def test_fine_tuning_starts_from_the_network_and_trains_a_critic(data, trained: Path, tmp_path: Path) -> None:
    tuned = train(data, tmp_path / "tuned", init=str(trained), adversarial=0.1, learning_rate=1e-5, epochs=1,
                  fakes="teacher-forced")
    before, after = (load_checkpoint(folder / "best.pt")["model"] for folder in (trained, tuned))
    weight = "decoder.mel.weight"
    assert torch.equal(before["style_deviations"], after["style_deviations"]), "those of the pre-training"
    assert 0 < (before[weight] - after[weight]).abs().max() < 1e-3
    assert any(name.startswith("convolutions.0") for name in load_checkpoint(tuned / "last.pt")["critic"])


def test_the_encoder_of_styles_is_trained_too_unless_it_is_frozen(data, trained: Path, tmp_path: Path) -> None:
    given = load_file(data[0].parent / "ge2e" / "model.safetensors")
    frozen = train(data, tmp_path / "frozen", epochs=1, freeze="style_encoder")
    after = [load_checkpoint(folder / "last.pt")["model"] for folder in (trained, frozen)]
    learnt, kept = ([torch.equal(weights[f"style_encoder.{name}"], given[name]) for name in given] for weights in after)
    assert not any(learnt) and all(kept)
    (tmp_path / "gone").mkdir()
    checkpoint = torch.load(trained / "best.pt", weights_only=True)
    checkpoint["options"]["init"] = str(tmp_path / "gone")
    assert build_model(checkpoint, CPU).style_encoder.dim == 6, "without the folder"


def test_styles_without_a_level_are_refused(data, tmp_path: Path) -> None:
    folder = make_speech(tmp_path / "old", 8, 1)
    with ArkWriter(folder / "styles.ark", folder / "styles.scp") as styles:
        for utterance in sorted((folder / "utt2spk").read_text().split()[::2]):
            styles.write(utterance, np.ones((20, 40), np.float32))
    objective = Trainer(run((folder, data[1]), tmp_path / "run", init=str(data[0].parent / "ge2e")), CPU).objective
    with pytest.raises(SerError, match="40 columns"):
        objective.load()


def test_going_on_with_the_weights_of_another_versions_network_is_refused(data, trained: Path, tmp_path: Path) -> None:
    objective = Trainer(run(data, tmp_path / "run", init=str(data[0].parent / "ge2e")), CPU).objective
    objective.load()
    last = load_checkpoint(trained / "last.pt")
    last["model"]["decoder.prenet.0.weight"] = torch.zeros(8, 80)
    with pytest.raises(SerError, match=r"last\.pt.*decoder\.prenet\.0\.weight.*train it again"):
        objective.resume(last)


def test_pieces_are_as_long_as_the_shortest_and_begin_anywhere(data) -> None:
    store, indices = SpeechStore.load([data[0]], CPU), np.array([3, 7, 3])
    shortest = min(len(store.styles[index]) for index in indices)
    assert store.pieces(indices, 10_000, np.random.default_rng(0)).shape == (3, shortest, 41)
    pieces = store.pieces(indices, 10, np.random.default_rng(0))
    for index, piece in zip(indices, pieces, strict=True):
        windows = store.styles[index].unfold(0, 10, 1).transpose(1, 2)
        assert (windows == piece).all(2).all(1).any()
    assert not torch.equal(pieces[0], pieces[2])


def test_training_begins_from_the_mean_spectrum_and_the_mean_style(data, tmp_path: Path) -> None:
    objective = Trainer(run(data, tmp_path / "run"), CPU).objective
    objective.load()
    mean = np.concatenate([matrix for _, matrix in read_arks(data[0] / "feats.scp")]).mean(0)
    network = objective.network
    assert np.allclose(network.decoder.mel.bias.detach(), mean, atol=1e-5)
    heard = [torch.from_numpy(matrix.copy()) for _, matrix in read_arks(data[0] / "styles.scp")]
    styles = torch.stack([network.style_of(each) for each in heard])
    assert torch.allclose(network.style_means, styles.mean(0), atol=1e-5)


def test_styles_are_swapped_within_a_speakers_emotion_only(data, tmp_path: Path) -> None:
    objective = Trainer(run(data, tmp_path / "run", adversarial=0.1), CPU).objective
    objective.load()
    emotions = dict(line.split() for line in (data[0] / "utt2emo").read_text().splitlines())
    objective.random, names = np.random.default_rng(0), objective.train.utterances
    for index, name in enumerate(names):
        for _ in range(5):
            other = names[objective._other(index)]
            assert other != name and other[:2] == name[:2] and emotions[other] == emotions[name]


def test_batches_hold_every_utterance_once_and_like_lengths_together() -> None:
    lengths = np.random.default_rng(0).integers(10, 400, 500)
    plans = LengthBatches(lengths, 16, seed=1, longest=300)
    batches = list(plans.epoch(1))
    assert len(batches) == plans.batches_per_epoch
    used = np.concatenate([plan.utterances[:, 0] for plan in batches])
    assert sorted(used) == sorted(np.flatnonzero(lengths <= 300))
    padded = sum(len(plan) * int(plan.filled.max()) for plan in batches)
    assert padded < 1.15 * lengths[used].sum()

    def listed(plans) -> list[list[list[int]]]:
        return [plan.utterances.tolist() for plan in plans]

    assert listed(plans.epoch(1, 5)) == listed(batches[5:]) and listed(plans.epoch(2)) != listed(batches)


def test_rates_and_own_frames_are_the_papers() -> None:
    options = TrainOptions(**{**SMALL, "schedule": "step", "step_updates": 5000, "step_factor": 0.9, "own_from": 10_000,
                              "own_until": 100_000})
    assert [options.rate_factor(epoch, 20, 2500) for epoch in (0, 1.9, 2, 8)] == pytest.approx([1, 1, 0.9, 0.9**4])
    assert [options.own_frames_at(updates) for updates in (0, 10_000, 55_000, 1e6)] == pytest.approx([0, 0, 0.25, 0.5])


def cut_first_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


@pytest.mark.parametrize(("break_it", "message"), [
    (lambda folder: cut_first_line(folder / "styles.scp"), "s0-000 is not in styles.scp"),
    (lambda folder: (folder / "conf" / "units.conf").unlink(), "units.conf"),
    (lambda folder: (folder / "units.txt").write_text("s0-000 99\n"), "expected units from 0 to 11"),
])
def test_bad_data_are_refused_with_the_file_and_the_remedy(data, tmp_path: Path, break_it, message: str) -> None:
    folder = make_speech(tmp_path / "train", 4, 3)
    break_it(folder)
    with pytest.raises(SerError, match=message):
        SpeechStore.load([folder], CPU)


def test_options_that_it_has_not_are_refused() -> None:
    with pytest.raises(SerError, match="select"):
        TrainOptions(**{**SMALL, "select": "uar"})
    with pytest.raises(SerError, match="label_smoothing"):
        TrainOptions(**{**SMALL, "label_smoothing": 0.1})
