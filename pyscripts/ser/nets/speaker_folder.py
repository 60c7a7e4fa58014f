"""A folder with a pretrained speaker encoder: which one it is, without its weights."""

from __future__ import annotations

import os
from pathlib import Path

from ser.base.errors import SerError
from ser.base.files import fingerprint
from ser.nets.speechbrain_folder import HYPERPARAMS

RATE = 16000  # Hz, of the audio that these encoders read
ECAPA, GE2E = "embedding_model.ckpt", "model.safetensors"


def speaker_files(path: str | os.PathLike[str]) -> tuple[str, list[Path]]:
    """Return which encoder a folder holds, ecapa or ge2e, and its files. Raises SerError where it holds neither."""
    folder = Path(path)
    if (folder / ECAPA).is_file():
        return "ecapa", [folder / HYPERPARAMS, folder / ECAPA]
    if (folder / GE2E).is_file() and not (folder / "config.json").is_file():
        return "ge2e", [folder / GE2E]
    raise SerError(f"{folder}: no folder of a speaker encoder; it has {HYPERPARAMS} and {ECAPA} (ECAPA-TDNN in "
                   f"SpeechBrain's format), or {GE2E} (GE2E)")


def is_speaker_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a speaker encoder."""
    try:
        return bool(speaker_files(path))
    except SerError:
        return False


def describe(path: str | os.PathLike[str]) -> str:
    """Return the encoder's kind and a hash of its files, as conf/styles.conf has them."""
    kind, files = speaker_files(path)
    return f"--speaker-encoder={kind}-{fingerprint(*files)[:16]}\n"
