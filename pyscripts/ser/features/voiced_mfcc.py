"""What a trained network reads, of waveforms in memory: MFCC of voiced frames, normalised, as the steps make them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ser.base.errors import SerError
from ser.data.arks import as_compressed
from ser.data.audio import DecodedAudio, resample
from ser.features.frontend import MfccOptions, VadOptions, mfcc, parse_conf, vad
from ser.features.normalisation import Normalisation

_BATCH_SECONDS = 120.0  # audio in one call of `mfcc`, as in pyscripts/make_mfcc.py


@dataclass(frozen=True)
class VoicedMfcc:
    """A front end: what steps/{make_mfcc,compute_vad,prepare_feats}.sh were told.

    Attributes:
        mfcc, vad: options of the MFCC and of the VAD.
        normalisation: of the MFCC of voiced frames.
        compress: whether the steps compressed matrices.
    """

    mfcc: MfccOptions
    vad: VadOptions
    normalisation: Normalisation
    compress: bool = False

    @classmethod
    def parse(cls, front_end: str, vad_options: VadOptions, compress: bool, where: object) -> VoicedMfcc:
        """Return the front end that a checkpoint describes (`ser.features.directories.front_end`).

        Raises:
            SerError: it describes none, or one that is not made here; the message begins with `where`.
        """
        options, normalisation = Normalisation.split(front_end)
        if not options or "--encoder" in options or normalisation is None:
            raise SerError(f"{where}: reads other features than voiced MFCC and an encoder's hidden states "
                           f"({front_end!r}), which are not made of single files; score it on data directories "
                           "(pyscripts/score.py)")
        of_mfcc = "\n".join(line for line in front_end.splitlines() if not line.startswith("--cmn"))
        return cls(parse_conf(of_mfcc, MfccOptions, str(where)), vad_options, normalisation, compress)

    @property
    def rate(self) -> int:
        """Sampling rate of the waveforms in Hz."""
        return self.mfcc.rate

    @property
    def channel(self) -> int:
        """Which channel of a recording is read, from 0; -1: all, averaged."""
        return self.mfcc.channel

    @property
    def frame_shift(self) -> float:
        """Seconds from frame to frame."""
        return self.mfcc.frame_shift / 1000

    @property
    def by_speaker(self) -> bool:
        """Whether a recording's features depend on the other recordings of its speaker."""
        return self.normalisation.by_speaker

    def waveform(self, audio: DecodedAudio, name: str) -> np.ndarray:
        """Return a recording at `rate`."""
        return resample(audio.samples, audio.rate, self.rate)

    def features(self, waveforms: Iterable[tuple[Hashable, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return for each waveform the features of its voiced frames and the numbers of these frames.

        Args:
            waveforms: speaker, and (samples,) float32 at int16 scale and `rate`.

        Returns:
            (voiced, D) float32 and (voiced,) int64; both of length 0 where there is no voiced frame.
        """
        found = ((speaker, matrix, self._voiced(matrix)) for speaker, matrix in self._mfcc(waveforms))
        return [(self._stored(matrix), numbers) for matrix, numbers in self.normalisation.apply(found)]

    def _voiced(self, matrix: np.ndarray) -> np.ndarray:
        return np.flatnonzero(vad(matrix[:, 0], self.vad)) if len(matrix) else np.zeros(0, np.int64)

    def _mfcc(self, waveforms: Iterable[tuple[Hashable, np.ndarray]]) -> Iterator[tuple[Hashable, np.ndarray]]:
        """Yield speaker and MFCC (frames, D) of each waveform, as the first step writes them."""
        speakers: list[Hashable] = []
        batch: list[np.ndarray] = []
        for speaker, waveform in waveforms:
            speakers.append(speaker)
            batch.append(waveform)
            if sum(map(len, batch)) >= _BATCH_SECONDS * self.rate:
                yield from self._of_batch(speakers, batch)
                speakers, batch = [], []
        yield from self._of_batch(speakers, batch)

    def _of_batch(self, speakers: list[Hashable], batch: list[np.ndarray]) -> Iterator[tuple[Hashable, np.ndarray]]:
        matrices = mfcc(batch, self.mfcc, [""] * len(batch))
        return zip(speakers, map(self._stored, matrices), strict=True)

    def _stored(self, matrix: np.ndarray) -> np.ndarray:
        return as_compressed(matrix) if self.compress and len(matrix) else matrix
