"""Whisper as a transcriber: greedy decoding against transformers' forward without a cache, and damaged folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from ser.base.errors import SerError
from ser.nets.transcriber import Transcriber

SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
WORDS = [f"word{number}" for number in range(15)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(2)
    config = WhisperConfig(
        vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=8, max_target_positions=64,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=1, init_std=0.5,
        tie_word_embeddings=False,
    )  # fmt: skip
    WhisperForConditionalGeneration(config).save_pretrained(tmp_path)
    WhisperFeatureExtractor(feature_size=8).save_pretrained(tmp_path)
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(SPECIAL + WORDS)}))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_the_likeliest_token_follows_each_as_in_transformers(folder: Path) -> None:
    samples = (3000 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    features = extractor(samples / 32768, sampling_rate=16000, return_tensors="pt")
    tokens = [1, 2, 3, 4]
    while len(tokens) < 4 + 18:  # 8 for the second, and 10
        with torch.inference_mode():
            logits = model(features["input_features"], decoder_input_ids=torch.tensor([tokens])).logits
        if (token := int(logits[0, -1].argmax())) == 0:
            break
        tokens.append(token)
    expected = [(SPECIAL + WORDS)[token] for token in tokens[4:] if token >= len(SPECIAL)]
    assert len(set(expected)) > 1
    assert Transcriber(folder, torch.device("cpu"))(samples).split() == expected


def test_folders_that_write_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(SerError, match="cannot be loaded as Whisper"):
        Transcriber(folder, torch.device("cpu"))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(SerError, match=r"tokenizer\.json: no such file"):
        Transcriber(folder, torch.device("cpu"))
