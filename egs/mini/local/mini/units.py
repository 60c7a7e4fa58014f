"""Units of work: folders of audio, each made by one job and with a marker of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from mini import corpus, musan
from mini.voice import SAMPLE_RATE
from ser.base.files import Marker, atomic_path, fingerprint, remove_leftovers, write_text

_SOURCES = sorted(Path(__file__).parent.glob("*.py"))

COLUMNS = [
    "utterance", "emotion", "sentence", "seconds", "speech-begins", "speech-ends", "emotion-begins", "emotion-ends",
]  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """A folder and the function that fills it with `size` takes or files of a kind, and returns the files it wrote."""

    folder: Path
    fill: Callable[[Path, int], Iterable[Path]]
    size: int

    @property
    def _marker(self) -> Marker:
        return Marker(self.folder / ".done", fingerprint(*_SOURCES, self.size))

    def is_current(self) -> bool:
        return self._marker.is_current()

    def make(self) -> None:
        self._marker.clear()
        remove_leftovers(self.folder)
        files = set(self.fill(self.folder, self.size))
        for left in set(self.folder.glob("*.wav")) - files:  # from a larger corpus
            left.unlink()
        self._marker.write(sorted(files))


def all_units(corpus_dir: Path, musan_dir: Path, speakers: Iterable[str], takes: int, noise_files: int) -> list[Unit]:
    """Return every folder of the corpus and of the noise and music that go with it."""
    return [
        Unit(musan_dir / "noise" / "free-sound", partial(_fill_musan, musan.NOISE), noise_files),
        Unit(musan_dir / "music" / "fma", partial(_fill_musan, musan.MUSIC), noise_files),
        *(Unit(corpus_dir / speaker, _fill_speaker, takes) for speaker in speakers),
    ]


def _fill_musan(kinds: Iterable[str], folder: Path, files: int) -> list[Path]:
    names = [f"{kind}-{number}" for kind in kinds for number in range(1, files + 1)]
    return [_write_wav(folder / f"{name}.wav", musan.make_noise(name)) for name in names]


def _fill_speaker(folder: Path, takes: int) -> list[Path]:
    """Write a WAV file for each utterance, and `recordings.tsv`: what each holds, and times in seconds.

    The emotion has no times if all of the recording is neutral.
    """
    files, rows = [], ["\t".join(COLUMNS)]
    for utterance, take in corpus.takes(folder.name, takes).items():
        recording = corpus.make_recording(utterance, take)
        files.append(_write_wav(folder / f"{utterance}.wav", recording.samples))
        times = [len(recording.samples) / SAMPLE_RATE, *recording.speech, *(recording.emotional or ())]
        fields = [utterance, take.emotion, take.sentence, *(f"{seconds:.4f}" for seconds in times)]
        rows.append("\t".join(fields + [""] * (len(COLUMNS) - len(fields))))
    write_text(folder / "recordings.tsv", "\n".join(rows) + "\n")
    return [*files, folder / "recordings.tsv"]


def _write_wav(path: Path, samples: np.ndarray) -> Path:
    """Write (N,) int16 as 16 kHz 16-bit PCM, atomically."""
    with atomic_path(path) as temporary:
        soundfile.write(temporary, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return path
