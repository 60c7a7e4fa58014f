"""A data directory of features that a network learns in a few epochs, and options for that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from ser.data.arks import ArkWriter

ROOT = Path(__file__).resolve().parent.parent
DEFAULTS = yaml.safe_load((ROOT / "conf" / "train.yaml").read_text())
# What learns them in 24 updates; the options against overfitting have their own tests.
SMALL = {**DEFAULTS, "epochs": 6, "min_updates": 0, "patience": 0, "batch_size": 16, "crop": 30, "precise_bn": 2,
         "warmup_epochs": 0, "average": 0, "dropout": 0, "label_smoothing": 0, "time_masks": 0, "frequency_masks": 0,
         "precision": "fp32"}
EMOTIONS = ("angry", "happy", "neutral", "sad")


def make_data(folder: Path, count: int, seed: int, emotions: tuple[str, ...] = EMOTIONS) -> Path:
    """Utterances whose emotion is which band of features is loud: easy, so that a few epochs learn it."""
    folder.mkdir(parents=True)
    (folder / "conf").mkdir()
    (folder / "conf" / "mfcc.conf").write_text("--sample-frequency=8000\n--num-ceps=23\n")
    random = np.random.default_rng(seed)
    utterances = sorted(f"s{seed}{i % 4}-{i:03d}" for i in range(count))
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        frames, emotion = {}, {}
        for index, utterance in enumerate(utterances):
            matrix = random.standard_normal((int(random.integers(16, 45)), 23)).astype(np.float32)
            kind = index % len(emotions)
            matrix[:, 5 * kind : 5 * kind + 5] *= 4
            writer.write(utterance, matrix)
            frames[utterance], emotion[utterance] = len(matrix), emotions[kind]
    for name, table in {"utt2num_frames": frames, "utt2emo": emotion,
                        "utt2spk": {u: u.split("-")[0] for u in utterances}}.items():
        (folder / name).write_text("".join(f"{u} {v}\n" for u, v in table.items()))
    return folder
