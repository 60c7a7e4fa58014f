"""Units of work: folders of audio, each made in one go and with a marker of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from mini import corpus, musan
from mini.voice import SAMPLE_RATE
from ser.base.files import Marker, atomic_path, fingerprint, remove_leftovers, write_text

# Whether a folder has to be made again depends on the text of the synthesiser and on nothing else.
_DIGEST = fingerprint(*sorted(Path(__file__).parent.glob("*.py")))

COLUMNS = [
    "utterance", "emotion", "sentence", "seconds", "speech-begins", "speech-ends", "emotion-begins", "emotion-ends",
]  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """A folder and the function that fills it and returns the files it wrote."""

    folder: Path
    fill: Callable[[Path], Iterable[Path]]

    @property
    def _marker(self) -> Marker:
        return Marker(self.folder / ".done", _DIGEST)

    def is_current(self) -> bool:
        return self._marker.is_current()

    def make(self) -> None:
        self._marker.clear()
        remove_leftovers(self.folder)
        self._marker.write(self.fill(self.folder))


def all_units(corpus_dir: Path, musan_dir: Path) -> list[Unit]:
    """Every folder of the corpus and of the noise and music that go with it."""
    return [
        Unit(musan_dir / "noise" / "free-sound", lambda folder: _fill_musan(folder, musan.NOISE)),
        Unit(musan_dir / "music" / "fma", lambda folder: _fill_musan(folder, musan.MUSIC)),
        *(Unit(corpus_dir / speaker, _fill_speaker) for speaker in corpus.speakers()),
    ]


def _fill_musan(folder: Path, kinds: Iterable[str]) -> list[Path]:
    names = [f"{kind}-{number}" for kind in kinds for number in range(1, musan.FILES_PER_KIND + 1)]
    return [_write_wav(folder / f"{name}.wav", musan.make_noise(name)) for name in names]


def _fill_speaker(folder: Path) -> list[Path]:
    """One WAV an utterance, and `recordings.tsv`: what each holds, times in seconds, empty where all is neutral."""
    files, rows = [], ["\t".join(COLUMNS)]
    for utterance, take in corpus.takes(folder.name).items():
        recording = corpus.make_recording(utterance)
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
