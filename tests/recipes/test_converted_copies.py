"""Training on copies in other styles: a converter is trained, fine-tuned, applied, and the copies are trained on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import torch
from small_project import SMALL
from tiny_encoder import save_encoder
from tiny_synthesis import save_ge2e

from ser.base.kaldi_tables import read_table

ROOT = Path(__file__).resolve().parents[2]


def run(work: Path, *options: str, ok: bool = True) -> str:
    command = [str(ROOT / "run.sh"), "--work-dir", str(work), *SMALL, "--nj", "1", "--train-threads", "1", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_from_audio_to_tables_with_copies_in_other_styles(tmp_path: Path) -> None:
    work, tiny = tmp_path / "work", save_encoder(tmp_path / "tiny")
    config = tmp_path / "tune.yaml"
    config.write_text("epochs: 1\nmin_updates: 0\nadversarial: 0.1\nlearning_rate: 0.00001\n")
    run(work, "--task", "synthesis", "--encoder", str(tiny), "--speaker-encoder", str(save_ge2e(tmp_path / "ge2e")),
        "--num-units", "8", "--width", "16", "--batch-size", "16", "--longest", "0", "--epochs", "1",
        "--stop-stage", "3")  # fmt: skip
    (converter,) = work.glob("exp*/synthesis-*/seed0")
    # A network that has learnt nothing may stop at once; this one goes on to the limit.
    checkpoint = torch.load(converter / "best.pt", weights_only=True)
    checkpoint["model"]["decoder.stop.bias"].fill_(-9)
    torch.save(checkpoint, converter / "best.pt")
    options = ("--system", "encoder", "--encoder", str(tiny), "--scheme", "none", "--epochs", "1", "--test-snr", "none",
               "--train-data", "clean+emoaug1", "--converter-config", str(config), "--reject-copies", "false")
    assert "name EmoAug's network, --converter RUN" in run(work, *options, ok=False)
    said = run(work, *options, "--converter", str(converter))
    (data,) = work.glob("data*")
    copies, train = data / "train_emoaug1", read_table(data / "train/utt2spk")
    ref, emotions = read_table(copies / "utt2ref"), read_table(data / "train/utt2emo")
    assert len(ref) == len(train) == 48 and set(ref.values()) <= set(train), "no style of a dev or test speaker"
    for copy, style in ref.items():
        source = read_table(copies / "utt2uniq")[copy]
        assert source != style and train[source] == train[style] and emotions[source] == emotions[style]
    assert (data / "train_emoaug1_tiny-layer2/feats.scp").exists() and "Clean+EmoAug1" in said
    (tuned,) = data.glob("converter-*")
    assert "learning_rate: 1.0e-05" in (tuned / "config.yaml").read_text()
    judge = [str(ROOT / "pyscripts/score_copies.py"), "--speaker-encoder", str(tmp_path / "ge2e"), "--recogniser",
             str(next(work.glob("exp*/encoder-*/seed0"))), "--number", "12", str(next(data.glob("train_synthesis-*"))),
             str(copies)]  # fmt: skip
    done = subprocess.run(judge, capture_output=True, text=True, cwd=work, timeout=300)
    assert done.returncode == 0, done.stderr
    judged = json.loads((copies / "copies.json").read_text())
    assert judged["copies"] == 12 and 0 <= judged["own_speaker_in_percent"] <= 100 >= judged["emotion_heard_in_percent"]
    assert 0 <= judged["emotion_heard_in_vocoded_recordings"] <= 100
    assert -1 <= judged["cosine_to_others"] <= 1
    again = run(work, *options, "--converter", str(converter), "--stop-stage", "3")
    assert "converted copies of" in again and "up to date" in again and "epoch 1/1" not in again
