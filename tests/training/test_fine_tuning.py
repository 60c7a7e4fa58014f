"""Fine-tuning an encoder, trained by the loop of every system: rates, resuming, processes, starting from a run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import same, stop_at_steps
from tiny_encoder import save_encoder
from transformers import HubertModel

from ser.base.errors import SerError
from ser.base.files import write_text
from ser.base.kaldi_tables import write_table
from ser.data.arks import ArkWriter
from ser.features.store import WaveformStore
from ser.features.waveforms import FRONT_END, as_int16
from ser.training.checkpoint import load_checkpoint, load_model
from ser.training.evaluation import posteriors
from ser.training.history import read_history
from ser.training.options import TrainOptions
from ser.training.runs import Run
from ser.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
CONFIGS = [ROOT / "conf" / "train.yaml", ROOT / "conf" / "encoder-finetune-linear.yaml"]
OF_RUN = {"system": "encoder-finetune", "network": "linear", "scheme": "n+se-cp"}
SHORT = {"epochs": 3, "batch_size": 8, "crop": 0.2, "precision": "fp32"}


def make_waveforms(folder: Path, count: int, seed: int) -> str:
    """Tones in noise, a quarter to half a second; their emotion is how high they are."""
    folder.mkdir()
    random, names = np.random.default_rng(seed), sorted(f"s{n % 4}-u{n:03d}" for n in range(count))
    tables = {name: {} for name in ("utt2num_frames", "utt2spk", "utt2emo")}
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for number, name in enumerate(names):
            time = np.arange(random.integers(4000, 8000)) / 16000
            tone = np.sin(2 * np.pi * 200 * 3 ** (number % 3) * time)
            writer.write(name, as_int16(4000 * tone + 500 * random.standard_normal(len(time))))
            tables["utt2num_frames"][name], tables["utt2spk"][name] = len(time), name[:2]
            tables["utt2emo"][name] = ("angry", "neutral", "sad")[number % 3]
    for name, table in tables.items():
        write_table(folder / name, table)
    write_text(folder / "conf" / "waveforms.conf", FRONT_END)
    return str(folder)


@pytest.fixture(scope="module")
def run_of(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("waveforms")
    train, dev = make_waveforms(folder / "train", 24, 1), make_waveforms(folder / "dev", 9, 2)
    options = TrainOptions.read(CONFIGS, {**OF_RUN, "init": str(save_encoder(folder / "tiny")), **SHORT})
    return Run(str(folder), "whole", (train,), dev, options=options)


@pytest.fixture(scope="module")
def whole(run_of: Run) -> Run:
    Trainer(run_of, CPU).train()
    return run_of


def changed(run: Run, out: object, **options: object) -> Run:
    return replace(run, out=str(out), options=replace(run.options, **options))


def test_each_part_has_its_rate_and_the_convolutions_stay(whole: Run) -> None:
    best, last = (load_checkpoint(whole.folder / name) for name in ("best.pt", "last.pt"))
    assert {group["base_rate"]: len(group["params"]) for group in last["optimiser"]["param_groups"]}[1e-4] == 2
    assert {group["base_rate"] for group in last["optimiser"]["param_groups"]} == {1e-5, 1e-4}
    donor = HubertModel.from_pretrained(whole.options.init).state_dict()
    front_end = {name: value for name, value in donor.items() if name.startswith("feature_extractor.")}
    for name, value in front_end.items():
        assert torch.equal(last["model"][name.replace("feature_extractor", "encoder.front_end")], value)
    projection = "feature_projection.projection.weight"
    moved = (last["model"][projection.replace("feature_projection", "encoder.projection")] - donor[projection]).abs()
    assert 0 < moved.max() < 20 * 1e-5, "nine updates at 1e-5"
    assert best["dev_uar"] == max(record["dev_uar"] for record in read_history(whole.folder))
    assert best["front_end"] == FRONT_END.strip() and best["built_from"]["config"]["model_type"] == "hubert"


def test_stopped_within_an_epoch_is_never_interrupted(whole: Run, tmp_path: Path, monkeypatch) -> None:
    run = changed(whole, tmp_path / "stopped")
    stop_at_steps(monkeypatch, 2, 5)
    for _ in range(2):
        with pytest.raises(SystemExit):
            Trainer(run, CPU).train()
    Trainer(run, CPU).train()
    for name in ("best.pt", "last.pt"):
        one, other = (load_checkpoint(folder / name) for folder in (whole.folder, run.folder))
        assert same(one["model"], other["model"]) and one["epoch"] == other["epoch"]


def test_two_processes_learn_what_one_does_and_parts_of_batches_what_whole_ones_do(
    run_of: Run, tmp_path: Path, shell
) -> None:
    """Without dropout, which each process draws for its own examples, and each part of a batch for its own."""
    encoder = tmp_path / "dry"
    shutil.copytree(run_of.options.init, encoder)
    config = (encoder / "config.json").read_text()
    for name in ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"):
        config = config.replace(f'"{name}": 0.1', f'"{name}": 0.0')
    (encoder / "config.json").write_text(config)
    alone = changed(run_of, tmp_path / "alone", init=str(encoder))
    Trainer(alone, CPU).train()
    (tmp_path / "runs").write_text(changed(alone, tmp_path / "two", pass_seconds=0.8).line() + "\n")
    shell(f"utils/launch.sh --processes 2 pyscripts/train.py --device cpu --runs {tmp_path}/runs --job 1")
    one, two = (np.array([(epoch["loss"], epoch["dev_loss"]) for epoch in read_history(tmp_path / name)])
                for name in ("alone", "two"))
    assert two == pytest.approx(one, rel=1e-3)


def test_scores_need_no_folder_and_depend_on_no_batch(whole: Run, tmp_path: Path, monkeypatch) -> None:
    shutil.copy(whole.folder / "best.pt", tmp_path)
    Path(whole.options.init).rename(tmp_path / "elsewhere")
    try:
        model, _ = load_model(tmp_path / "best.pt", CPU)
    finally:
        (tmp_path / "elsewhere").rename(whole.options.init)
    store = WaveformStore.load([whole.dev], CPU, "int16")
    together = posteriors(model, store)
    monkeypatch.setattr(WaveformStore, "BATCH_ROWS", {"cpu": 1})
    assert np.abs(together - posteriors(model, store)).max() < 1e-5


def test_a_training_starts_from_a_fine_tuned_run(whole: Run, tmp_path: Path) -> None:
    run = changed(whole, tmp_path / "tuned", init=str(whole.folder), epochs=0)
    Trainer(run, CPU).train()
    donor, tuned = (load_checkpoint(folder / "best.pt")["model"] for folder in (whole.folder, run.folder))
    assert {name for name in donor if not torch.equal(donor[name], tuned[name])} == {"classifier.weight",
                                                                                    "classifier.bias"}
    del (frozen := load_checkpoint(whole.folder / "best.pt"))["built_from"]
    torch.save(frozen, tmp_path / "frozen.pt")
    with pytest.raises(SerError, match="neither a pretrained encoder nor a run that trained one on"):
        Trainer(changed(whole, tmp_path / "none", init=str(tmp_path / "frozen.pt")), CPU).train()


def test_another_encoder_in_the_folder_trains_anew(run_of: Run, tmp_path: Path, capsys) -> None:
    run = changed(run_of, tmp_path / "run", init=str(save_encoder(tmp_path / "own")), epochs=1)
    Trainer(run, CPU).train()
    Trainer(run, CPU).train()
    assert "is up to date" in capsys.readouterr().out
    save_encoder(tmp_path / "own", 1)
    Trainer(run, CPU).train()
    assert "its data have changed; the training that was here is now" in capsys.readouterr().out
