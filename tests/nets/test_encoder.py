"""Encoders against transformers' own forward, an utterance at a time, on tiny random models saved as real ones are."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from safetensors.torch import save as dumps
from tiny_encoder import TINY
from transformers import (
    Data2VecAudioConfig,
    HubertConfig,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
)

from ser.base.errors import SerError
from ser.nets.encoder import load_encoder
from ser.nets.encoder_folder import ALL

ENCODER = {**TINY, "num_hidden_layers": 3}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
CONFIGS = {
    "hubert-base": HubertConfig(**ENCODER),
    "hubert-large": HubertConfig(**ENCODER, **LARGE),
    "wavlm-base": WavLMConfig(**ENCODER),
    "wavlm-large": WavLMConfig(**ENCODER, **LARGE),
    "wav2vec2-base": Wav2Vec2Config(**ENCODER),
    "data2vec": Data2VecAudioConfig(**{**ENCODER, "num_conv_pos_embeddings": 3}, conv_pos_kernel_size=5),
    "whisper": WhisperConfig(
        d_model=16, encoder_layers=3, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=20, num_mel_bins=10, max_source_positions=75,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    ),
}
LENGTHS = (16000, 400, 9123, 4000, 16000)


def save(folder: Path, name: str, normalise: bool = True, **options: object) -> Path:
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(CONFIGS[name])
    with torch.no_grad():  # norms as they are initialised hide what they do
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder, **options)
    extractor = WhisperFeatureExtractor(feature_size=10, chunk_length=2) if name == "whisper" else (
        Wav2Vec2FeatureExtractor(do_normalize=normalise))
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request, tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("models") / request.param, request.param)


def waveforms() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [(3000 * random.standard_normal(length)).astype(np.float32) for length in LENGTHS]


def batch(waves: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(np.concatenate(waves)), torch.tensor([len(wave) for wave in waves])


def theirs(folder: Path, wave: np.ndarray, layer: int | str) -> torch.Tensor:
    """What transformers makes of a waveform alone: a layer's states (the last one's after its norm), or all."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        inputs = extractor(wave / 32768, sampling_rate=16000, return_tensors="pt", padding="longest")
        if model.config.model_type == "whisper":  # whose forward wants 30 s: one of fewer positions wants fewer
            encoder, features = model.encoder, inputs["input_features"]
            features = torch.nn.functional.pad(features, (0, features.shape[2] % 2))
            encoder.config.max_source_positions = positions = features.shape[2] // 2
            encoder.embed_positions = torch.nn.Embedding.from_pretrained(encoder.embed_positions.weight[:positions])
            found = encoder(features, output_hidden_states=True)
        else:
            found = model(inputs["input_values"], output_hidden_states=True)
    states = [*found.hidden_states[1:3], found.last_hidden_state]
    return torch.cat(states, 2)[0] if layer == ALL else states[layer - 1][0]


@pytest.mark.parametrize("layer", [1, 3, ALL])
def test_hidden_states_are_transformers_own_in_any_batch(folder: Path, layer: int) -> None:
    encoder, waves = load_encoder(folder, layer), waveforms()
    with torch.inference_mode():
        frames, counts = encoder(*batch(waves))
    assert frames.shape == (counts.sum(), encoder.dim)
    for wave, ours in zip(waves, frames.split(counts.tolist()), strict=True):
        if folder.name == "whisper" and len(wave) // 160 % 2:  # their padding to an even number is a frame of sound
            continue
        expected = theirs(folder, wave, layer)
        assert ours.shape == expected.shape
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_alone_as_in_a_batch(folder: Path) -> None:
    encoder, waves = load_encoder(folder), waveforms()
    with torch.inference_mode():
        frames, counts = encoder(*batch(waves))
        for wave, together in zip(waves, frames.split(counts.tolist()), strict=True):
            torch.testing.assert_close(encoder(*batch([wave]))[0], together, atol=1e-4, rtol=1e-4)
    assert encoder.num_frames(399) <= 0 < encoder.num_frames(400) == 1


def test_normalisation_is_the_folders(tmp_path: Path) -> None:
    wave = waveforms()[2]
    loud = {}
    for normalise in (True, False):
        encoder = load_encoder(save(tmp_path / str(normalise), "hubert-large", normalise))
        with torch.inference_mode():
            loud[normalise] = (encoder(*batch([wave]))[0] - encoder(*batch([4 * wave]))[0]).abs().max()
    assert loud[True] < 1e-3 < 1e-2 < loud[False]


def test_bad_folders_are_named(tmp_path: Path) -> None:
    good = save(tmp_path / "good", "hubert-base")

    def message(layer: int | None = None, **files: bytes | None) -> str:
        bad = tmp_path / "bad"
        bad.mkdir(exist_ok=True)
        for path in bad.iterdir():
            path.unlink()
        for path in good.iterdir():
            (bad / path.name).write_bytes(path.read_bytes())
        for name, content in files.items():
            name = {"config": "config.json", "extractor": "preprocessor_config.json", "weights": "model.safetensors",
                    "pickle": "pytorch_model.bin"}[name]
            (bad / name).unlink(missing_ok=True)
            if content is not None:
                (bad / name).write_bytes(content)
        with pytest.raises(SerError) as caught:
            load_encoder(bad, layer)
        assert str(bad) in str(caught.value)
        return str(caught.value)

    with pytest.raises(SerError, match="no such folder of an encoder"):
        load_encoder(tmp_path / "nothing")
    assert "config.json: no such file" in message(config=None)
    assert "model_type is 'bert'" in message(config=b'{"model_type": "bert"}')
    assert "not JSON" in message(config=b"{")
    assert "preprocessor_config.json: no such file" in message(extractor=None)
    assert "sampling_rate is 8000" in message(extractor=json.dumps({"sampling_rate": 8000}).encode())
    assert "has no weights" in message(weights=None)
    assert "cannot be loaded" in message(weights=b"not a tensor")
    assert "none numbered 4" in message(layer=4)
    config = json.loads((good / "config.json").read_text())
    assert "lack" in message(config=json.dumps({**config, "num_hidden_layers": 4}).encode())
    assert "cannot be loaded" in message(config=json.dumps({**config, "num_attention_heads": "two"}).encode())
    assert "cannot be loaded" in message(weights=None, pickle=b"")
    state = load_file(good / "model.safetensors")
    name = next(iter(state))
    assert f"{name} has numbers that are none" in message(weights=dumps(state | {name: state[name] * torch.nan}))
    trap = tmp_path / "trap"

    class Code:
        def __reduce__(self):
            return Path.touch, (trap,)

    assert "cannot be loaded" in message(weights=None, pickle=pickle.dumps(Code()))
    assert not trap.exists()
