"""A folder with a pretrained speech encoder in transformers' format: what it says of itself, without its weights."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser.base.errors import SerError
from ser.base.files import fingerprint

KINDS = {"hubert": "HuBERT", "wavlm": "WavLM", "wav2vec2": "wav2vec 2.0", "data2vec-audio": "data2vec-audio",
         "whisper": "Whisper"}  # by the model_type of config.json
RATE = 16000  # Hz, of the audio that all of these models read
SHORTEST = 400  # samples of a frame of every published one
LONGEST = 60  # s, of those that state no limit: attention takes memory by the square of the length
ALL = "all"  # in place of a layer's number
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class EncoderConfig:
    """What an encoder is, but for its weights: the content of its config.json and preprocessor_config.json."""

    config: dict[str, Any]
    preprocessor: dict[str, Any]

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return self.config["model_type"]

    @property
    def layers(self) -> int:
        """How many transformer layers the encoder has."""
        return self.config["encoder_layers" if self.kind == "whisper" else "num_hidden_layers"]

    @property
    def dim(self) -> int:
        """Numbers of a hidden state."""
        return self.config["d_model" if self.kind == "whisper" else "hidden_size"]

    @property
    def normalise(self) -> bool:
        """Whether each waveform is brought to mean 0 and variance 1."""
        return bool(self.preprocessor.get("do_normalize", self.kind != "whisper"))

    @property
    def longest(self) -> float:
        """Seconds of the longest waveform that it takes."""
        if self.kind != "whisper":
            return LONGEST
        return 2 * self.config.get("max_source_positions", 1500) * self.preprocessor.get("hop_length", 160) / RATE


@dataclass(frozen=True)
class EncoderFolder(EncoderConfig):
    """An encoder whose files are in the folder `path`, which is absolute."""

    path: Path

    @property
    def files(self) -> list[Path]:
        """The files that hidden states depend on."""
        weights = [path for pattern in WEIGHTS for path in sorted(self.path.glob(pattern))]
        return [self.path / CONFIG, self.path / PREPROCESSOR, *weights]

    def digest(self) -> str:
        """Return a hash of those files' content, which is the same wherever the folder is."""
        return fingerprint(*self.files)[:16]

    def layer(self, number: int | str | None) -> int | str:
        """Return the number of a layer, from 1, or `ALL`; None is the last one. Raises SerError where there is none."""
        if number is None:
            return self.layers
        if number == ALL:
            return number
        if not 1 <= number <= self.layers:
            raise SerError(f"{self.path}: has layers 1 to {self.layers}, so none numbered {number}")
        return number


def layer_number(text: str) -> int | str:
    """Return what a command line says of a layer, its number or `ALL`, for argparse."""
    return text if text == ALL else int(text)


def is_encoder_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder has an encoder's configuration; of a run's folder it has not."""
    return (Path(path) / CONFIG).is_file()


def find_encoder(name: str | os.PathLike[str]) -> EncoderFolder:
    """Read what an encoder says of itself that is a folder, or a model of the Hugging Face hub, which is fetched once.

    Raises:
        SerError: as `read_encoder_folder`; or the hub does not give a model of that name.
    """
    there = os.path.exists(name) or os.fspath(name).startswith(("/", "."))
    return read_encoder_folder(name if there else _fetched(os.fspath(name)))


def read_encoder_folder(path: str | os.PathLike[str]) -> EncoderFolder:
    """Read what an encoder's folder says of itself.

    Raises:
        SerError: it is no such folder, lacks a file or weights, or holds a model of another architecture or rate.
    """
    folder = Path(os.path.abspath(path))
    if not folder.is_dir():
        raise SerError(f"{folder}: no such folder of an encoder")
    config = _read_json(folder / CONFIG, "a folder of an encoder has what transformers' save_pretrained writes")
    kind = config.get("model_type")
    if kind not in KINDS:
        raise SerError(f"{folder / CONFIG}: model_type is {kind!r}; encoders are {', '.join(KINDS)}")
    extractor = _read_json(folder / PREPROCESSOR, "it says how the model's input is normalised: save its feature "
                           "extractor there too, or copy the file from where the model comes from")
    if extractor.get("sampling_rate", RATE) != RATE:
        raise SerError(f"{folder / PREPROCESSOR}: sampling_rate is {extractor['sampling_rate']}; encoders are those of "
                       f"{RATE} Hz")
    layers = config.get("encoder_layers" if kind == "whisper" else "num_hidden_layers")
    dim = config.get("d_model" if kind == "whisper" else "hidden_size")
    if not all(isinstance(number, int) and number > 0 for number in (layers, dim)):
        raise SerError(f"{folder / CONFIG}: does not say how many layers of what size the encoder has; copy the file "
                       "again")
    found = EncoderFolder(config, extractor, folder)
    if len(found.files) == 2:
        raise SerError(f"{folder}: has no weights ({' or '.join(WEIGHTS)}); copy them there")
    return found


def _read_json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SerError(f"{path}: no such file; {remedy}") from None
    except ValueError as error:
        raise SerError(f"{path}: not JSON ({error}); copy it again") from None
    if not isinstance(values, dict):
        raise SerError(f"{path}: not a JSON object; copy it again")
    return values


def _fetched(name: str) -> Path:
    """Return the folder of a model of the hub. Raises SerError where it cannot be had."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        for pattern in WEIGHTS:  # safetensors where there are any
            folder = Path(snapshot_download(name, allow_patterns=[CONFIG, PREPROCESSOR, pattern]))
            if any(folder.glob(pattern)):
                break
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise SerError(f"--encoder {name}: no such folder, and the hub does not give a model of that name "
                       f"({' '.join(str(error).split())[:200]}); name a folder") from None
    return folder
