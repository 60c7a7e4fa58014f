"""steps/make_waveforms.sh as a user runs it: the very samples, copies that are changed, bad input, reruns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_recordings import write_recordings

from ser.augment.copypaste import CopyPaste
from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table
from ser.data.arks import read_arks
from ser.data.audio import read_audio
from ser.features.directories import frame_counts, front_end
from ser.features.packed import Pack, pack
from ser.features.perturb import Perturbation
from ser.features.store import WaveformStore

CPU = torch.device("cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six utterances of three speakers: one at 8 kHz, one in stereo, the loudest there can be in another."""
    random = np.random.default_rng(0)
    samples = [(3000 * random.standard_normal((8000 + 800 * number, 1 + (number == 2)))).astype(np.int16)
               for number in range(6)]
    for of_one in samples:
        of_one[:3, 0] = (-32768, 32767, 0)
    return write_recordings(tmp_path, samples, ("neutral", "sad"))


def test_samples_are_those_of_the_files(data: Path, shell) -> None:
    done = shell(f"steps/make_waveforms.sh --nj 2 {data}")
    assert "1 recordings resampled to 16000 Hz" in done.stdout and "1 recordings mixed down to mono" in done.stdout
    files, matrices = read_table(data / "wav.scp"), dict(read_arks(data / "feats.scp"))
    store = WaveformStore.load([data], CPU, "int16")
    assert store.frames.dtype == torch.int16 and store.dim == 1 and store.utterances == list(files)
    for number, (utterance, file) in enumerate(files.items()):
        rows, _ = store.whole(np.array([number]))
        assert np.abs(rows[:, 0].numpy() - read_audio(file, 16000)).max() <= (0 if number not in (1, 2) else 0.51)
        assert np.abs(matrices[utterance] - rows.numpy()).max() < 0.01, "what Kaldi reads"
        assert read_table(data / "utt2num_frames")[utterance] == str(len(rows))
    assert frame_counts([data])[1].tolist() == store.lengths.tolist()
    assert front_end([data]) == "--waveforms=16000"
    shell(f"utils/validate_data_dir.sh {data}")
    again = shell(f"steps/make_waveforms.sh --nj 1 {data}")
    assert again.stdout == f"make_waveforms: {data}: waveforms up to date\n"


def test_copies_and_segments_are_read_as_for_other_features(data: Path, shell, tmp_path: Path) -> None:
    noise = (2000 * np.random.default_rng(1).standard_normal(40000)).astype(np.int16)
    soundfile.write(tmp_path / "noise.wav", noise, 16000)
    (tmp_path / "noise_train.scp").write_text(f"n1 {tmp_path}/noise.wav\n")
    shell(f"steps/augment_data_dir.sh --each true --snr 0 {data} {tmp_path}/noise_train.scp {tmp_path}/noisy")
    shell(f"steps/perturb_data_dir.sh --kind speed --factors 0.9 {data} {tmp_path}/slow")
    shell(f"utils/subsegment_data_dir.sh --length 0.25 {data} {tmp_path}/blocks")
    shell(f"steps/make_waveforms.sh --nj 1 --also '{tmp_path}/noisy {tmp_path}/slow {tmp_path}/blocks' {data}")
    clean, noisy, slow, blocks = (
        {utterance: rows[:, 0].round() for utterance, rows in read_arks(folder / "feats.scp")}
        for folder in (data, tmp_path / "noisy", tmp_path / "slow", tmp_path / "blocks")
    )
    mixed = noisy["s0-u0-noise-snr0"]
    assert len(mixed) == len(clean["s0-u0"]) and np.abs(mixed - clean["s0-u0"]).mean() > 500
    expected = Perturbation("speed", 0.9).apply(read_audio(read_table(data / "wav.scp")["s0-u0"], 16000), 16000)
    [of_first] = [rows for utterance, rows in slow.items() if utterance.startswith("s0-u0")]
    assert np.abs(of_first - expected.clip(-32768, 32767)).max() <= 0.51
    assert np.array_equal(blocks["s0-u0-00000025-00000050"], clean["s0-u0"][4000:8000])
    for folder in ("noisy", "slow", "blocks"):
        shell(f"utils/validate_data_dir.sh {tmp_path / folder}")


def test_copypaste_is_done_on_samples(data: Path, shell, tmp_path: Path) -> None:
    shell(f"steps/make_waveforms.sh --nj 1 {data}")
    pack([data], tmp_path / "packed", "int16")
    assert Pack(tmp_path / "packed").frames.dtype == np.int16
    for store in (WaveformStore.load([data], CPU, "int16"), WaveformStore.load([tmp_path / "packed"], CPU)):
        plans = CopyPaste([0, 1] * 3, store.lengths, "n-cp", 0, batch_size=6, crop=5000)
        plan = next(iter(plans.epoch(1)))
        rows, lengths = store.batch(plan)
        assert lengths.tolist() == [10000] * 6
        for example, utterances, first in zip(rows.split(10000), plan.utterances, plan.first, strict=True):
            parts = [store.whole(np.array([u]))[0][f : f + 5000] for u, f in zip(utterances, first, strict=True)]
            assert torch.equal(example, torch.cat(parts))


def test_bad_recordings_are_named_and_lose_nothing(data: Path, shell) -> None:
    files = read_table(data / "wav.scp")
    soundfile.write(files["s0-u0"], np.zeros(399, np.int16), 16000)
    soundfile.write(files["s1-u2"], np.zeros(61 * 16000, np.int16), 16000)
    done = shell(f"steps/make_waveforms.sh --nj 1 {data}", ok=False)
    assert "2 of 6 utterances dropped" in done.stderr
    assert "s0-u0: 0.025 s long, too short" in done.stderr and "s1-u2: 61.0 s long, over the 60 s" in done.stderr
    assert len(read_table(data / "utt2spk")) == 6
    shell(f"steps/make_waveforms.sh --nj 1 --max-drop 0.5 --longest 0.7 {data}", ok=False)
    shell(f"steps/make_waveforms.sh --nj 1 --max-drop 0.5 {data}")
    assert len(read_table(data / "utt2spk")) == len(read_table(data / "feats.scp")) == 4


def test_features_that_are_no_waveforms_are_refused(data: Path, shell) -> None:
    shell(f"steps/make_mfcc.sh --nj 1 {data}")
    with pytest.raises(SerError, match="not whole numbers of 16 bits"):
        WaveformStore.load([data], CPU, "int16")
