"""steps/make_encoder_feats.sh as a user runs it: the encoder's numbers, noise, bad input, reruns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn.preprocessing import StandardScaler
from tiny_encoder import save_encoder
from tiny_recordings import write_recordings
from transformers import HubertModel, Wav2Vec2FeatureExtractor

from ser.base.kaldi_tables import read_table
from ser.data.arks import read_arks
from ser.features.directories import front_end


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six utterances of three speakers, one of them at 8 kHz."""
    random = np.random.default_rng(0)
    return write_recordings(
        tmp_path, [(3000 * random.standard_normal(8000 + 800 * number)).astype(np.int16) for number in range(6)]
    )


def test_hidden_states_are_transformers_own(encoder: Path, data: Path, shell) -> None:
    done = shell(f"steps/make_encoder_feats.sh --nj 2 --encoder {encoder} --layer 1 {data}")
    assert "1 recordings resampled to 16000 Hz" in done.stdout
    model, extractor = HubertModel.from_pretrained(encoder).eval(), Wav2Vec2FeatureExtractor.from_pretrained(encoder)
    files = read_table(data / "wav.scp")
    for utterance, matrix in read_arks(data / "feats.scp"):
        samples, rate = soundfile.read(files[utterance], dtype="float32")
        assert read_table(data / "utt2num_frames")[utterance] == str(len(matrix))
        if rate == 16000:
            inputs = extractor(samples, sampling_rate=16000, return_tensors="pt")
            with torch.inference_mode():
                expected = model(inputs["input_values"], output_hidden_states=True).hidden_states[1][0].numpy()
            assert np.abs(matrix - expected).max() < (expected.max() - expected.min()) / 65536 + 1e-4
    ark = read_table(data / "feats.scp")["s0-u0"].split(":")[0]
    assert b"\0BCM2 " in Path(ark).read_bytes()[:20], "Kaldi's two-byte compressed matrices"
    assert (data / "frame_shift").read_text() == "0.02\n"
    assert "--layer=1" in front_end([str(data)]) and "--encoder=hubert-" in front_end([str(data)])
    shell(f"utils/validate_data_dir.sh {data}")
    again = shell(f"steps/make_encoder_feats.sh --nj 1 --encoder {encoder} --layer 1 {data}")
    assert again.stdout == f"make_encoder_feats: {data}: hidden states up to date\n"


def test_another_layer_or_encoder_makes_other_features(encoder: Path, data: Path, shell, tmp_path: Path) -> None:
    made, other = {}, save_encoder(tmp_path / "other", 1)
    for name, folder, layer in (("one", encoder, 1), ("two", encoder, 2), ("other", other, 2)):
        shell(f"steps/make_encoder_feats.sh --nj 1 --encoder {folder} --layer {layer} {data}")
        made[name] = dict(read_arks(data / "feats.scp"))["s0-u0"]
    assert np.abs(made["one"] - made["two"]).max() > 0.01 < np.abs(made["two"] - made["other"]).max()


def test_a_noisy_copy_is_encoded_with_its_noise(encoder: Path, data: Path, shell, tmp_path: Path) -> None:
    noise = (2000 * np.random.default_rng(1).standard_normal(40000)).astype(np.int16)
    soundfile.write(tmp_path / "noise.wav", noise, 16000)
    (tmp_path / "noise_train.scp").write_text(f"n1 {tmp_path}/noise.wav\n")
    shell(f"steps/augment_data_dir.sh --each true --snr 0 {data} {tmp_path}/noise_train.scp {tmp_path}/noisy")
    shell(f"steps/make_encoder_feats.sh --nj 1 --encoder {encoder} --also {tmp_path}/noisy {data}")
    clean, noisy = dict(read_arks(data / "feats.scp")), dict(read_arks(tmp_path / "noisy/feats.scp"))
    assert noisy["s0-u0-noise-snr0"].shape == clean["s0-u0"].shape
    assert np.abs(noisy["s0-u0-noise-snr0"] - clean["s0-u0"]).max() > 0.1


def test_normalised_by_speaker_over_all_frames(encoder: Path, data: Path, shell, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shell(f"steps/make_encoder_feats.sh --nj 1 --encoder {encoder} {data}")
    said = shell(f"steps/compute_cmvn_stats.sh {data}", ok=False).stderr
    assert "vad.scp: no such file" in said, "no VAD has to be said"
    options = "--vad false --cmn speaker --cmn-vars true --compress two-byte"
    shell(f"steps/compute_cmvn_stats.sh --vad false {data} && steps/prepare_feats.sh --nj 2 {options} {data} {out}")
    states, made = dict(read_arks(data / "feats.scp")), dict(read_arks(out / "feats.scp"))
    for number, speaker in enumerate(("s0", "s1", "s2")):
        those = [f"{speaker}-u{2 * number}", f"{speaker}-u{2 * number + 1}"]
        expected = StandardScaler().fit_transform(np.concatenate([states[utt] for utt in those]).astype(np.float64))
        assert np.abs(np.concatenate([made[utt] for utt in those]) - expected).max() < 2e-4, "all but two-byte rounding"
    assert set(read_table(out / "utt2num_cmvn").values()) == {"2"}
    assert b"\0BCM2 " in Path(read_table(out / "feats.scp")["s0-u0"].split(":")[0]).read_bytes()[:20]
    of_states = front_end([str(data)]).splitlines()
    assert sorted(front_end([str(out)]).splitlines()) == sorted([*of_states, "--cmn=speaker", "--cmn-vars=true"])
    assert (out / "frame_shift").read_text() == "0.02\n"
    shell(f"utils/validate_data_dir.sh --no-wav {out}")
    again = shell(f"steps/prepare_feats.sh --nj 2 {options} {data} {out}").stdout
    assert "features up to date" in again
    again = shell(f"steps/prepare_feats.sh --nj 2 {options.replace('two-byte', 'true')} {data} {out}").stdout
    assert "6 utterances" in again, "other compression, other features"


def test_too_short_and_too_long_are_dropped_with_a_remedy(encoder: Path, data: Path, shell) -> None:
    files = read_table(data / "wav.scp")
    soundfile.write(files["s0-u0"], np.zeros(399, np.int16), 16000)
    soundfile.write(files["s1-u2"], np.zeros(61 * 16000, np.int16), 16000)
    done = shell(f"steps/make_encoder_feats.sh --nj 1 --encoder {encoder} {data}", ok=False)
    assert "2 of 6 utterances dropped" in done.stderr
    assert "s0-u0: 0.025 s long, too short" in done.stderr and "s1-u2: 61.0 s long, over the 60 s" in done.stderr
    assert len(read_table(data / "utt2spk")) == 6
    shell(f"steps/make_encoder_feats.sh --nj 1 --max-drop 0.5 --encoder {encoder} {data}")
    assert len(read_table(data / "utt2spk")) == len(read_table(data / "feats.scp")) == 4


def test_a_folder_that_is_no_encoder_is_named(data: Path, shell, tmp_path: Path) -> None:
    done = shell(f"steps/make_encoder_feats.sh --encoder {tmp_path} {data}", ok=False)
    assert f"{tmp_path}/config.json: no such file" in done.stderr and "Traceback" not in done.stderr
