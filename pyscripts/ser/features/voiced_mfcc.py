"""What a trained network reads, of waveforms in memory: MFCC of voiced frames, normalised, as the steps make them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ser.base.errors import SerError
from ser.data.arks import as_compressed
from ser.data.audio import DecodedAudio, resample
from ser.features.cmvn import BY_SPEAKER, apply_cmvn, cmvn_stats
from ser.features.frontend import CMN, MfccOptions, VadOptions, mfcc, parse_conf, vad

_BATCH_SECONDS = 120.0  # audio in one call of `mfcc`, as in pyscripts/make_mfcc.py


@dataclass(frozen=True)
class VoicedMfcc:
    """A front end: what steps/{make_mfcc,compute_vad,prepare_feats}.sh were told.

    Attributes:
        mfcc, vad: options of the MFCC and of the VAD.
        cmn: name of the normalisation, one of `CMN`, or `speaker`.
        divide: whether statistics by speaker divide by deviations, too.
        compress: whether the steps compressed matrices.
    """

    mfcc: MfccOptions
    vad: VadOptions
    cmn: str
    divide: bool = False
    compress: bool = False

    @classmethod
    def parse(cls, front_end: str, vad_options: VadOptions, compress: bool, where: object) -> VoicedMfcc:
        """Return the front end that a checkpoint describes (`ser.features.directories.front_end`).

        Raises:
            SerError: it describes none, or one that is not made here; the message begins with `where`.
        """
        lines = front_end.splitlines()
        of_mfcc = [line for line in lines if not line.startswith("--cmn")]
        of_cmn = dict(line.split("=", 1) for line in lines if line.startswith("--cmn"))
        cmn, divide = of_cmn.get("--cmn", ""), of_cmn.get("--cmn-vars", "false") == "true"
        of_encoder = any(line.startswith("--encoder=") for line in lines)
        if not of_mfcc or of_encoder or (cmn not in CMN and BY_SPEAKER not in lines):
            raise SerError(f"{where}: reads other features than voiced MFCC and hidden states as an encoder gives them "
                           f"({front_end!r}), which are not made of single files; score it on data directories "
                           "(pyscripts/score.py)")
        return cls(parse_conf("\n".join(of_mfcc), MfccOptions, str(where)), vad_options, cmn, divide, compress)

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
        return f"--cmn={self.cmn}" == BY_SPEAKER

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
        speakers, found, stats = [], [], {}
        for speaker, matrix in self._mfcc(waveforms):
            numbers = np.flatnonzero(vad(matrix[:, 0], self.vad)) if len(matrix) else np.zeros(0, np.int64)
            if self.by_speaker:
                matrix = matrix[numbers]
                if len(matrix):
                    stats[speaker] = stats.get(speaker, 0) + cmvn_stats(matrix)
            elif len(matrix):
                matrix = CMN[self.cmn](matrix)[numbers]
            speakers.append(speaker)
            found.append((matrix, numbers))
        return [(self._stored(apply_cmvn(matrix, stats[speaker], self.divide) if self.by_speaker else matrix), numbers)
                if len(matrix) else (matrix, numbers)
                for speaker, (matrix, numbers) in zip(speakers, found, strict=True)]

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
