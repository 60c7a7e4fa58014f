"""What is said in a recording, according to a Whisper: greedy decoding of English, for word error rates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ser.base.errors import SerError
from ser.base.pcm import INT16_SCALE
from ser.nets.encoder_folder import RATE, read_encoder_folder

TOKENIZER = "tokenizer.json"
_PROMPT = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")
_END = "<|endoftext|>"
_TOKENS_PER_SECOND, _MORE_TOKENS = 8, 10  # no speech has more; where Whisper loops it is cut off


class Transcriber:
    """A Whisper that writes down English speech.

    Args:
        path: a folder in transformers' format, with the model's tokenizer.json.

    Raises:
        SerError: the folder holds no Whisper, lacks the tokenizer, or is damaged.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        from tokenizers import Tokenizer
        from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration
        from transformers.utils import logging

        folder = read_encoder_folder(path)
        if folder.kind != "whisper":
            raise SerError(f"{path}: holds {folder.kind}, which does not write; name the folder of a Whisper")
        if not (folder.path / TOKENIZER).is_file():
            raise SerError(f"{folder.path / TOKENIZER}: no such file; copy it from where the model comes from")
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            self._tokenizer = Tokenizer.from_file(str(folder.path / TOKENIZER))
            model = WhisperForConditionalGeneration.from_pretrained(
                folder.path, local_files_only=True, weights_only=True, dtype=torch.float32
            )
            self._extractor = WhisperFeatureExtractor.from_pretrained(folder.path, local_files_only=True)
        except Exception as error:  # tokenizers raises nothing narrower
            said = " ".join(str(error).split())[:300]
            raise SerError(f"{folder.path}: cannot be loaded as Whisper ({said}); copy it again") from error
        self._model, self._device = model.eval().to(device), device
        self._prompt = [self._tokenizer.token_to_id(token) for token in _PROMPT]
        self._end = self._tokenizer.token_to_id(_END)

    @torch.inference_mode()
    def __call__(self, samples: np.ndarray) -> str:
        """Return what is said in a waveform, (n,) at int16 scale and 16 kHz, of 30 s at most; '' for nothing."""
        found = self._extractor(samples / INT16_SCALE, sampling_rate=RATE, return_tensors="pt")
        encoded = self._model.model.encoder(found["input_features"].to(self._device))
        tokens, said, past = list(self._prompt), [], None
        for _ in range(int(_TOKENS_PER_SECOND * len(samples) / RATE) + _MORE_TOKENS):
            given = torch.tensor([tokens], device=self._device)
            out = self._model(encoder_outputs=encoded, decoder_input_ids=given, past_key_values=past, use_cache=True)
            token = int(out.logits[0, -1].argmax())
            if token == self._end:
                break
            tokens, past = [token], out.past_key_values
            said.append(token)
        return self._tokenizer.decode(said).strip()
