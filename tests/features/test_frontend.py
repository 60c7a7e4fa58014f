"""The front end against Kaldi's own output, torchaudio on single utterances, and the formulas written out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio

from ser.base.errors import SerError
from ser.data.arks import ArkWriter, read_arks
from ser.data.audio import read_audio
from ser.features.frontend import MfccOptions, VadOptions, mfcc, read_conf, sliding_cmn, utterance_cmn, vad

CONF = Path(__file__).resolve().parents[2] / "conf"
CEPSTRA = {"8k": 23, "16k": 30}


@pytest.fixture
def kaldi(shared, monkeypatch) -> Path:
    monkeypatch.chdir(shared / "kaldi_reference")  # its scp files have relative paths
    return shared / "kaldi_reference"


def tone(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    return (3000 * np.sin(2 * np.pi * 440 * time) + 300 * rng.standard_normal(len(time))).astype(np.float32)


@pytest.mark.parametrize("band", ["8k", "16k"])
def test_equals_kaldi(kaldi, band):
    options = read_conf(CONF / f"mfcc_{band}.conf", MfccOptions)
    vad_options = read_conf(CONF / "vad.conf", VadOptions)
    table = dict(line.split() for line in Path(f"wav{band}.scp").read_text().splitlines())
    reference = {name: dict(read_arks(f"{name}_{band}.scp")) for name in ("mfcc", "vad", "feats")}
    assert len(table) == 16
    ours = dict(zip(table, mfcc([read_audio(path, options.rate) for path in table.values()], options), strict=True))
    errors = []
    for utterance, features in ours.items():
        expected = reference["mfcc"][utterance]
        assert features.shape == expected.shape and features.shape[1] == CEPSTRA[band]
        errors.append(np.abs(features - expected))
        voiced = vad(features[:, 0], vad_options)
        assert np.array_equal(voiced, reference["vad"][utterance]), utterance
        assert np.abs(sliding_cmn(features)[voiced > 0] - reference["feats"][utterance]).max() < 0.01
    assert max(error.max() for error in errors) < 0.01
    assert np.concatenate(errors).mean() < 1e-4


@pytest.mark.parametrize("band", ["8k", "16k"])
def test_conf_files_are_the_ones_kaldi_was_run_with(shared, band):
    theirs = shared / "kaldi_reference" / "conf"
    assert read_conf(CONF / f"mfcc_{band}.conf", MfccOptions) == read_conf(theirs / f"mfcc_{band}.conf", MfccOptions)
    assert read_conf(CONF / "vad.conf", VadOptions) == read_conf(theirs / "vad.conf", VadOptions)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"snip_edges": False},
        {"snip_edges": False, "sample_frequency": 11025.0, "frame_shift": 7.0, "window_type": "hamming"},
        {"snip_edges": False, "frame_shift": 40.0},  # the window does not reach its neighbour
        {"use_energy": False, "cepstral_lifter": 0.0, "subtract_mean": True, "vtln_warp": 1.1, "energy_floor": 1.0},
        {"htk_compat": True, "raw_energy": False, "remove_dc_offset": False, "window_type": "blackman"},
    ],
)
def test_a_batch_equals_torchaudio_on_each(changes):
    options = MfccOptions(**changes)
    lengths = [401, 16000, 560, 4321, 40000, 799, 800, 801]
    waveforms = [tone(1 + n / options.rate, options.rate, n)[:n] for n in lengths]
    keywords = {name: value for name, value in vars(options).items() if name != "channel"}
    for waveform, ours in zip(waveforms, mfcc(waveforms, options), strict=True):
        theirs = torchaudio.compliance.kaldi.mfcc(torch.from_numpy(waveform)[None], **keywords).numpy()
        assert ours.shape == theirs.shape == (options.num_frames(len(waveform)), options.num_ceps)
        assert np.abs(ours - theirs).max() < 2e-3


def test_shorter_than_a_frame_gives_no_frame_and_disturbs_nobody():
    options = MfccOptions(snip_edges=False)
    long = tone(1, 16000)
    first, short, last = mfcc([long, long[:399], long], options)
    assert short.shape == (0, 13) and np.array_equal(first, last) and len(first) == 100
    assert mfcc([], options) == []
    (silence,) = mfcc([np.zeros(16000, np.float32)], options)
    assert np.isfinite(silence).all()
    (cut,) = mfcc([long], MfccOptions(min_duration=1.5))
    assert len(cut) == 0


def test_dither_depends_on_the_key_alone():
    options = MfccOptions(dither=1.0)
    waveforms = [tone(1, 16000, seed) for seed in range(3)]
    together = mfcc(waveforms, options, ["a", "b", "c"])
    (alone,) = mfcc(waveforms[1:2], options, ["b"])
    (other,) = mfcc(waveforms[1:2], options, ["d"])
    assert np.allclose(together[1], alone, atol=1e-4)
    assert np.abs(other - alone).max() > 0.01
    with pytest.raises(ValueError, match="dither"):
        mfcc(waveforms, options)
    # Dither of 1 on digital silence: energy of a frame is about its number of samples.
    (silence,) = mfcc([np.zeros(160000, np.float32)], options, ["s"])
    assert abs(np.exp(silence[:, 0]).mean() / 400 - 1) < 0.05


@pytest.mark.parametrize("frames", [1, 2, 150, 299, 300, 301, 449, 1000])
@pytest.mark.parametrize("window", [300, 7])
def test_sliding_mean(frames, window):
    features = np.random.default_rng(frames).normal(5, 3, (frames, 4)).astype(np.float32)
    ours = sliding_cmn(features, window)
    assert ours.dtype == np.float32
    for t in range(frames):  # apply-cmvn-sliding --center=true, step by step
        begin, end = t - window // 2, t - window // 2 + window
        if begin < 0:
            begin, end = 0, end - begin
        if end > frames:
            begin, end = max(0, begin - (end - frames)), frames
        assert np.allclose(ours[t], features[t] - features[begin:end].mean(axis=0, dtype=np.float64), atol=1e-5)


def test_utterance_mean():
    features = np.random.default_rng(0).normal(5, 3, (500, 4)).astype(np.float32)
    assert np.abs(utterance_cmn(features).mean(axis=0)).max() < 1e-5
    assert np.allclose(np.diff(utterance_cmn(features), axis=0), np.diff(features, axis=0), atol=1e-5)


@pytest.mark.parametrize(("context", "proportion"), [(0, 0.6), (2, 0.12), (2, 0.6), (5, 0.5)])
def test_vad(context, proportion):
    energy = np.random.default_rng(1).normal(9, 4, 200).astype(np.float32)
    options = VadOptions(5.5, 0.5, proportion, context)
    threshold = 5.5 + 0.5 * energy.mean()
    for t, voiced in enumerate(vad(energy, options)):
        around = energy[max(0, t - context) : t + context + 1] > threshold
        assert voiced == (around.sum() >= len(around) * np.float32(proportion))
    assert not vad(np.full(50, -15.9, np.float32), options).any()
    assert len(vad(np.zeros(0, np.float32), options)) == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--number-of-ceps=3", r"x\.conf:2: .*--num-ceps"),
        ("num-ceps=3", r"x\.conf:2: "),
        ("--num-ceps=many", r"x\.conf:2: --num-ceps takes a int, not 'many'"),
        ("--snip-edges=perhaps", r"x\.conf:2: --snip-edges takes a bool"),
        ("--num-ceps=40", r"x\.conf: --num-ceps must be from 1 to --num-mel-bins"),
        ("--high-freq=9000", r"x\.conf: --low-freq and --high-freq"),
        ("--window-type=round", r"x\.conf: --window-type must be one of"),
    ],
)
def test_bad_option_files(tmp_path, line, said):
    conf = tmp_path / "x.conf"
    conf.write_text(f"--num-mel-bins=30  # a comment\n{line}\n")
    with pytest.raises(SerError, match=said):
        read_conf(conf, MfccOptions)


def test_option_files(tmp_path):
    conf = tmp_path / "x.conf"
    conf.write_text("# all defaults but\n\n--snip-edges=false # at the edges\n--num-ceps=20\n--htk-compat\n")
    assert read_conf(conf, MfccOptions) == MfccOptions(snip_edges=False, num_ceps=20, htk_compat=True)
    with pytest.raises(SerError, match="no such file"):
        read_conf(tmp_path / "y.conf", MfccOptions)


def test_arks_are_whole_or_named(tmp_path):
    ark, scp = tmp_path / "a.ark", tmp_path / "a.scp"
    arrays = {"m": np.arange(6, dtype=np.float32).reshape(2, 3), "v": np.arange(5, dtype=np.float32)}
    with ArkWriter(ark, scp) as writer:
        for utterance, array in arrays.items():
            writer.write(utterance, array)
    read = dict(read_arks(scp))
    assert all(np.array_equal(read[utterance], array) for utterance, array in arrays.items())
    assert scp.read_text() == f"m {ark}:2\nv {ark}:{os.path.getsize(ark) - 30}\n"
    with pytest.raises(RuntimeError), ArkWriter(ark, scp) as writer:
        writer.write("m", arrays["v"])
        raise RuntimeError
    assert dict(read_arks(scp)).keys() == arrays.keys() and len(os.listdir(tmp_path)) == 2
    content = ark.read_bytes()
    for length in range(len(content)):
        ark.write_bytes(content[:length])
        with pytest.raises(SerError, match=r"a\.ark: .*(again|made it)"):
            list(read_arks(scp))
    ark.write_bytes(b"m PKL" + content)
    with pytest.raises(SerError, match="no Kaldi matrix"):
        list(read_arks(scp))
    ark.unlink()
    with pytest.raises(SerError, match=r"a\.ark: no such ark"):
        list(read_arks(scp))
