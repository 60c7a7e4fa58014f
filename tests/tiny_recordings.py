"""A data directory of six short recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from ser.base.kaldi_tables import write_table


def write_recordings(place: Path, samples: Sequence[np.ndarray], emotions: tuple[str, ...] = ("neutral",)) -> Path:
    """Write recordings, two of each speaker, and their data directory `data`; return it.

    Args:
        samples: int16 of each, (samples,) or (samples, channels), at 16 kHz; the second one's are at 8 kHz.
        emotions: of the recordings, by turns.
    """
    folder = place / "data"
    folder.mkdir()
    tables: dict[str, dict[str, str]] = {"wav.scp": {}, "utt2spk": {}, "utt2emo": {}, "spk2utt": {}}
    for number, of_one in enumerate(samples):
        speaker, utterance = f"s{number // 2}", f"s{number // 2}-u{number}"
        soundfile.write(place / f"{utterance}.wav", of_one, 8000 if number == 1 else 16000)
        tables["wav.scp"][utterance] = str(place / f"{utterance}.wav")
        tables["utt2spk"][utterance], tables["utt2emo"][utterance] = speaker, emotions[number % len(emotions)]
        tables["spk2utt"][speaker] = f"{tables['spk2utt'].get(speaker, '')} {utterance}".strip()
    for name, table in tables.items():
        write_table(folder / name, table)
    return folder
