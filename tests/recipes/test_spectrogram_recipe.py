"""The system spectrogram through the driver, from audio to tables, on a small synthetic corpus."""

from __future__ import annotations

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

from ser.base.kaldi_tables import read_table
from ser.nets.image_classifier import SqueezeNet
from ser.scoring.predictions import read_score
from ser.training.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
RUN = "spectrogram-squeezenet_clean+noise-noise-15+speed_none_imagenet_*/fold2/seed0"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A file with weights of a network of photographs; random ones, since ImageNet's are not in the project."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.npz"
    np.savez(path, **{name: value.numpy() for name, value in SqueezeNet(1000).state_dict().items()})
    return path


@pytest.fixture(scope="module")
def command(weights: Path, tmp_path_factory) -> list[str]:
    return [str(ROOT / "run.sh"), "--system", "spectrogram", "--network", "squeezenet", "--weights", str(weights),
            "--work-dir", str(tmp_path_factory.mktemp("mini")), *SMALL, "--nj", "2", "--train-threads", "1",
            "--train-data", "clean+noise+speed", "--noise-kinds", "noise", "--snr", "15", "--test-snr", "15",
            "--epochs", "2", "--split", "segment", "--cv-folds", "2", "--folds", "2"]


def run(command: list[str], ok: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_from_audio_to_tables(command: list[str], weights: Path) -> None:
    said = run(command)
    assert "of --scheme none n+se-cp, none alone" in said
    assert said.count("of test blocks share an utterance with training, 100% a speaker") == 2, "lists and tables"
    work = Path(command[command.index("--work-dir") + 1])
    [data] = work.glob("data_*_1s-segment2")
    [folder] = work.glob(f"exp_*_1s-segment2/{RUN}")
    blocks = {name: set(read_table(data / "fold2" / f"{name}_spec" / "utt2spk"))
              for name in ("train", "train_noisy-noise-15", "train_speed", "dev", "test", "test_snr15")}
    assert blocks["test"] == blocks["test_snr15"] and not blocks["test"] & blocks["train"]
    assert blocks["train_noisy-noise-15"] == {f"{block}-noise-snr15" for block in blocks["train"]}
    assert blocks["train_speed"] == {f"{block}-sp{factor}" for block in blocks["train"] for factor in ("0.9", "1.1")}
    for test in ("test", "test_snr15"):
        score = read_score(folder / f"score_{test}")
        assert set(score.predictions.utterances) == blocks["test"]
        whole = read_score(folder / f"score_{test}_utterances").predictions
        for utterance, posterior in zip(whole.utterances, whole.posteriors, strict=True):
            own = [name.startswith(f"{utterance}-0") for name in score.predictions.utterances]
            assert np.abs(score.predictions.posteriors[own].mean(0) - posterior).max() < 2e-6
        assert set(whole.utterances) == {block[: -len("-00000000-00000100")] for block in blocks["test"]}
    best = load_checkpoint(folder / "best.pt")["model"]
    donor = np.load(weights)
    frozen = [name for name in donor.files if not name.startswith(("features.12", "classifier"))]
    assert all(np.array_equal(best[name], donor[name]) for name in frozen)
    assert not np.array_equal(best["features.12.squeeze.weight"], donor["features.12.squeeze.weight"])
    again = run(command)
    assert "spectrogram images up to date" in again and "epoch 1/2" not in again

    copy = ["--config", str(folder / "config.yaml"), "--plan", str(work / "plan.jsonl")]
    run([str(ROOT / "run.sh"), "--recipe", "mini", *copy])
    [planned] = map(json.loads, (work / "plan.jsonl").read_text().splitlines())
    assert work / planned["out"] == folder, "the run's own config.yaml gives it back"


@pytest.mark.long
def test_killed_in_every_stage_it_ends_the_same(command: list[str], tmp_path: Path) -> None:
    """kill -9 while images are made, as a training begins, after its first epoch, in scoring; then the same command."""
    run(command)
    whole = Path(command[command.index("--work-dir") + 1])
    again = [str(tmp_path) if word == str(whole) else word for word in command]
    train, score = (f"exp_*/log/{stage}_*.log" for stage in ("train", "score"))
    for pattern, words in (("data_*/**/*_spec*/**/*.log", ""), (train, ""), (train, "epoch 1/2"), (score, "")):
        process = subprocess.Popen(again, start_new_session=True, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not any(words in path.read_text() for path in tmp_path.glob(pattern)):
            assert process.poll() is None, f"it ended before {pattern} said {words}"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        unfinished = "results/*" if pattern == score else "*/fold2/seed0/score_*"
        assert not list(tmp_path.glob(f"exp_*/{unfinished}"))
    run(again)
    images = sorted(path.relative_to(whole) for path in whole.rglob("*_spec/**/*.ark"))
    assert images and all((whole / path).read_bytes() == (tmp_path / path).read_bytes() for path in images)
    [folder] = whole.glob(f"exp_*/{RUN}")
    ours = tmp_path / folder.relative_to(whole)
    for name in ("best.pt", "last.pt"):
        expected, model = (load_checkpoint(path / name)["model"] for path in (folder, ours))
        assert expected.keys() == model.keys() and all(torch.equal(model[key], expected[key]) for key in expected)
    for test in ("test", "test_snr15"):
        expected, score = (read_score(path / f"score_{test}").predictions for path in (folder, ours))
        assert score.utterances == expected.utterances
        assert np.array_equal(score.posteriors, expected.posteriors)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scheme", "n-cp"], "scheme: n-cp concatenates"),
        (["--weights", "nowhere.npz"], "nowhere.npz: no such file"),
        (["--init", "random"], "squeezenet.npz: is of --init imagenet"),
        (["--block", "0"], "--split segment is of blocks"),
        (["--folds", "3"], "--folds: mini has 1 2, not '3'"),
        (["--spectrogram-config", "none.conf"], "--spectrogram-config none.conf: no such file"),
    ],
)
def test_wrong_options_are_named_before_anything_is_made(command: list[str], options: list[str], message: str) -> None:
    assert message in run([*command, *options], ok=False)


def test_from_random_weights_everything_is_trained(command: list[str], tmp_path: Path) -> None:
    place = command.index("--weights")
    run([*command[:place], *command[place + 2 :], "--init", "random", "--plan", str(tmp_path / "plan.jsonl")])
    [planned] = map(json.loads, (tmp_path / "plan.jsonl").read_text().splitlines())
    assert "_random_" in planned["out"] and not planned["options"].get("freeze")
