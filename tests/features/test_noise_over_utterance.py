"""Noise under the blocks of an utterance: one gain, one run of noise, and its SNR over the whole utterance."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser.base.kaldi_tables import read_table, write_table
from ser.data.datadir import spk2utt
from ser.features.noise import NoiseReader, mix, read_utt2noise

RATE = 16000


@pytest.fixture
def corpus(tmp_path: Path, shell) -> Path:
    """Two utterances whose level changes from second to second, one of them with a second of digital silence."""
    random = np.random.default_rng(0)
    levels = {"s1-a": [0.3, 0.01, 0.1], "s2-b": [0.02, 0.0, 0.2, 0.1]}
    (tmp_path / "all").mkdir()
    for name, of_seconds in levels.items():
        samples = np.concatenate([level * random.uniform(-1, 1, RATE) for level in of_seconds])
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
    utt2spk = {name: name[:2] for name in levels}
    for table, values in {"wav.scp": {name: tmp_path / f"{name}.wav" for name in levels}, "utt2spk": utt2spk,
                          "spk2utt": spk2utt(utt2spk), "utt2emo": dict.fromkeys(levels, "sad")}.items():
        write_table(tmp_path / "all" / table, values)
    # Noise of two and a half seconds, so that it goes round, of which more than one is silent.
    noise = random.uniform(-0.1, 0.1, 40000)
    noise[4000:24000] = 0
    soundfile.write(tmp_path / "noise.wav", noise, RATE, subtype="FLOAT")
    (tmp_path / "noise.scp").write_text(f"n {tmp_path}/noise.wav\n")
    shell(f"utils/subsegment_data_dir.sh {tmp_path}/all {tmp_path}/blocks")
    return tmp_path


def test_blocks_share_one_gain_and_the_noise_runs_on(corpus: Path, shell) -> None:
    said = shell(f"steps/augment_data_dir.sh --each true --snr '15 5' --snr-over {corpus}/all {corpus}/blocks "
                 f"{corpus}/noise.scp {corpus}/noisy").stdout
    assert "14 utterances, 2 for each of" in said
    shell(f"steps/augment_data_dir.sh --each true --snr '15 5' {corpus}/all {corpus}/noise.scp {corpus}/whole_noisy")
    specs, whole = (read_utt2noise(corpus / name / "utt2noise") for name in ("noisy", "whole_noisy"))
    reader, audible = NoiseReader(RATE), 0
    for copy, spec in whole.items():
        utterance = read_table(corpus / "whole_noisy" / "utt2uniq")[copy]
        speech = soundfile.read(corpus / f"{utterance}.wav", dtype="float32")[0] * 32768
        noise = reader.read(spec, len(speech)).astype(float)
        gain = math.sqrt((speech.astype(float) @ speech) / (noise @ noise) * 10 ** (-spec.snr / 10))
        for second in range(len(speech) // RATE):
            block = f"{utterance}-{100 * second:08d}-{100 * second + 100:08d}{copy.removeprefix(utterance)}"
            part = slice(second * RATE, (second + 1) * RATE)
            mixed = mix(speech[part], reader.read(specs[block], RATE), specs[block].snr).astype(float)
            if not speech[part].any():
                assert not mixed.any(), "digital silence stays as it is"
                continue
            expected = speech[part] + gain * noise[part]
            expected *= math.sqrt((speech[part].astype(float) @ speech[part]) / (expected @ expected))
            assert np.abs(mixed - expected).max() < 2e-3 * np.abs(expected).max()
            audible += bool(noise[part].any())
    assert audible >= 6


def test_what_it_cannot_do_is_said(corpus: Path, shell) -> None:
    (corpus / "other").mkdir()
    for table in ("wav.scp", "utt2spk", "spk2utt", "utt2emo"):
        line = (corpus / "all" / table).read_text().splitlines()[0]
        (corpus / "other" / table).write_text(f"{line}\n")
    step = f"steps/augment_data_dir.sh --snr-over {corpus}/other {corpus}/blocks {corpus}/noise.scp {corpus}/noisy"
    said = shell(step, ok=False).stderr
    assert "has no s2-b, which" in said and "name the directories that these were cut from" in said
    assert not (corpus / "noisy").exists()
