"""The system encoder through the driver, from audio to tables, on a small corpus and a tiny random encoder."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_project import SMALL
from tiny_encoder import save_encoder

from ser.apps.recogniser import Recogniser
from ser.base.kaldi_tables import read_table
from ser.data.arks import read_arks
from ser.scoring.predictions import read_score
from ser.training.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("encoder")
    return [str(ROOT / "run.sh"), "--system", "encoder", "--encoder", str(save_encoder(folder / "tiny")), "--work-dir",
            str(folder / "work"), *SMALL, "--nj", "2", "--train-threads", "1", "--scheme", "none n+se-cp"]


def run(command: list[str], ok: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_from_audio_to_tables_normalised_by_speaker(command: list[str]) -> None:
    options = ["--train-data", "clean+pitch+noise", "--noise-kinds", "noise", "--snr", "10", "--test-snr", "0",
               "--cmn", "speaker", "--cmn-vars", "true", "--epochs", "2"]
    said = run([*command, *options])
    work = Path(command[command.index("--work-dir") + 1])
    [data], name = work.glob("data*"), "tiny-layer2-speaker-vars"
    for kind in ("noisy-noise-10", "pitch"):
        train = data / f"train_{kind}_{name}"
        speakers, matrices = read_table(train / "utt2spk"), dict(read_arks(train / "feats.scp"))
        for speaker in set(speakers.values()):
            frames = np.concatenate([matrices[utt] for utt in matrices if speakers[utt] == speaker]).astype(np.float64)
            assert np.abs(frames.mean(0)).max() < 1e-3 > np.abs(frames.std(0) - 1).max(), "the copies' own statistics"
    [exp] = work.glob("exp*")
    for scheme in ("none", "n+se-cp"):
        [folder] = exp.glob(f"encoder-{name}-linear_clean+noise-noise-10+pitch_{scheme}_random_*/seed0")
        assert len((folder / "history.jsonl").read_text().splitlines()) == 2
        for test in ("test", "test_diluted", "test_snr0"):
            assert read_score(folder / f"score_{test}").record["normalised_over"]
        assert set(read_score(folder / "score_test_snr0").predictions.utterances) == set(
            read_table(data / f"test_snr0_{name}" / "utt2spk"))
    assert f"encoder-{name}-linear: features are normalised over the test speakers' own recordings" in said
    assert "No runs with hidden states as they are, which need none, stand beside it (--cmn none)." in said
    with open(exp / "results" / "runs.csv", encoding="utf-8", newline="") as file:
        assert {row["model"] for row in csv.DictReader(file)} == {f"encoder-{name}-linear"}
    again = run([*command, *options])
    assert "hidden states up to date" in again and "statistics up to date" in again and "epoch 1/2" not in again


def test_fine_tuned_from_audio_to_tables_though_killed(command: list[str]) -> None:
    options = ["--encoder-mode", "finetune", "--scheme", "n+se-cp", "--train-data", "clean+noise", "--noise-kinds",
               "noise", "--snr", "10", "--test-snr", "0", "--epochs", "6", "--crop", "0.5"]
    work = Path(command[command.index("--work-dir") + 1])
    process = subprocess.Popen([*command, *options], start_new_session=True, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = "exp*/log/train_encoder-linear_*.log"
    while not any("epoch 1/6" in path.read_text() for path in work.glob(log)):
        assert process.poll() is None, "it ended before its first epoch did"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    said = run([*command, *options])
    assert "waveforms up to date" in said
    assert any("resuming after epoch" in path.read_text() for path in work.glob(log))
    name = "encoder-tiny-finetune-linear_clean+noise-noise-10_n+se-cp_pretrained"
    [folder] = work.glob(f"exp*/{name}_crop-0.5_epochs-6/seed0")
    for test in ("test", "test_diluted", "test_snr0"):
        assert len(read_score(folder / f"score_{test}").predictions.utterances) > 5
    with open(folder.parents[1] / "results" / "runs.csv", encoding="utf-8", newline="") as file:
        assert "encoder-tiny-finetune-linear" in {row["model"] for row in csv.DictReader(file)}
    run([*command, *options, "--stage", "3", "--stop-stage", "3", "--tag", "whole"])
    whole, killed = (load_checkpoint(path / "last.pt")["model"]
                     for path in (folder.parents[1] / f"{name}_whole" / "seed0", folder))
    assert all(torch.equal(killed[part], whole[part]) for part in whole)

    plan = ["--config", str(folder / "config.yaml"), "--plan", str(work / "plan.jsonl")]
    run([str(ROOT / "run.sh"), "--recipe", "mini", *plan])
    [planned] = map(json.loads, (work / "plan.jsonl").read_text().splitlines())
    assert work / planned["out"] == folder, "the run's own config.yaml gives it back"
    elsewhere = [word if word != str(work) else str(work.with_name("elsewhere")) for word in command]
    run([*elsewhere[:1], *elsewhere[5:], "--score-run", str(folder), *plan[2:]])
    [planned] = map(json.loads, (work / "plan.jsonl").read_text().splitlines())
    assert planned["source"] == str(folder) and planned["tests"]["test"].endswith("/test_waveforms60s")


def test_other_normalisations_are_beside_each_other(command: list[str], tmp_path: Path) -> None:
    names = {}
    for cmn in ("none", "sliding", "utterance", "speaker"):
        run([*command, "--cmn", cmn, "--plan", str(tmp_path / "plan.jsonl")])
        planned = [json.loads(line) for line in (tmp_path / "plan.jsonl").read_text().splitlines()]
        names[cmn] = planned[0]["out"].split("/")[1].split("_")[0]
    assert names.pop("none") == "encoder-tiny-layer2-linear"
    assert names == {cmn: f"encoder-tiny-layer2-{cmn}-linear" for cmn in names}


def test_all_layers_with_learnt_weights_and_a_recording_of_ones_own(command: list[str]) -> None:
    run([*command, "--encoder-layer", "all", "--scheme", "none", "--test-snr", "none", "--epochs", "2"])
    work = Path(command[command.index("--work-dir") + 1])
    [folder] = work.glob("exp*/encoder-tiny-layerall-linear_clean_none_random_*/seed0")
    weights = torch.load(folder / "best.pt", weights_only=True)["model"]["layer_weights"]
    assert weights.shape == (2,) and weights.abs().min() > 0
    expected = read_score(folder / "score_test").predictions
    wav = next(path for key, path in read_table(next(work.glob("data*")) / "test/wav.scp").items()
               if key == expected.utterances[0])
    [answer] = Recogniser(folder, "cpu").predict([work / wav])
    assert list(answer.probabilities.values()) == pytest.approx(expected.posteriors[0].tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--encoder-mode", "finetune", "--encoder-layer", "all"], "--encoder-layer all is of --encoder-mode frozen"),
        (["--encoder-layer", "most"], "--layer: invalid layer_number value: 'most'"),
        (["--cmn-vars", "true"], "--cmn-vars true is for --cmn speaker, not for none"),
        (["--encoder", "nowhere/at/all"], "--encoder nowhere/at/all: no such folder"),
        (["--encoder-layer", "3"], "has layers 1 to 2"),
        (["--network", "resnet"], "--network of encoder is one of linear tdnn"),
        (["--encoder-mode", "finetune", "--cmn", "speaker"], "--cmn is of --encoder-mode frozen"),
        (["--encoder-mode", "finetune", "--network", "tdnn"], "the system encoder-finetune has linear, not 'tdnn'"),
        (["--encoder-mode", "finetune", "--init", "random"], "what has an encoder starts from that"),
        (["--encoder-mode", "finetune", "--crop", "long"], "crop"),
    ],
)
def test_wrong_options_are_named_before_anything_is_made(command: list[str], options: list[str], message: str) -> None:
    assert message in run([*command, *options], ok=False)
