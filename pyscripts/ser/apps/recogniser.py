"""A trained run as a recogniser of recordings, which answers what stage 4 would score."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from ser.apps.model_folder import front_end_of, read_model
from ser.base.errors import SerError
from ser.base.pcm import INT16_SCALE
from ser.base.progress import progress
from ser.data.audio import DecodedAudio, cut, decode_any
from ser.features.store import FeatureStore, WaveformStore
from ser.features.waveforms import Waveforms
from ser.training.checkpoint import build_model
from ser.training.device import set_up_device
from ser.training.evaluation import posteriors
from ser.training.options import TrainOptions

Source = str | os.PathLike[str] | tuple[np.ndarray, int]


@dataclass(frozen=True)
class Moment:
    """What is heard from `start` to `end`, in seconds of the recording; `emotion` is '' where nobody speaks."""

    start: float
    end: float
    emotion: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Answer:
    """What was recognised in one recording.

    Attributes:
        name: the file, or its number in the list.
        piece: start and end, in seconds of the recording, of the piece that was asked for; None: all of it.
        emotion: the likeliest one; '' where there is an error.
        probabilities: of each class; they sum to 1.
        seconds: length of the recording, or of the piece.
        along: what is heard piece by piece, if that was asked for.
        error: why there is no answer, in words for the user; '' if there is one.
        alone: whether the network was trained on features normalised by all recordings of a speaker, and this one is
            normalised by itself: tell which recordings have the same speaker, and the answer is better.
    """

    name: str
    piece: tuple[float, float] | None = None
    emotion: str = ""
    probabilities: dict[str, float] | None = None
    seconds: float = 0.0
    along: tuple[Moment, ...] = ()
    error: str = ""
    alone: bool = False


class Recogniser:
    """A trained network with the front end that it was trained on.

    Args:
        model: the folder of a finished run, a checkpoint (`best.pt`) in one, or a folder that export_model.py wrote.
        device: auto, cpu or cuda.
        encoder: where the pretrained encoder lies whose hidden states the network reads; '': where the run says.

    Attributes:
        classes: names of the emotions.

    Raises:
        SerError: there is no such model, its training has not finished, or its features cannot be made of a file.
    """

    def __init__(self, model: str | os.PathLike[str], device: str = "auto", encoder: str = "") -> None:
        read = read_model(Path(model), encoder)
        self.classes: tuple[str, ...] = tuple(read["classes"])
        options = TrainOptions(**read["options"])
        self._crop = options.rows(options.crop)
        self._device = set_up_device(device)
        self._front_end = front_end_of(read, self._device, model)
        self._model = build_model(read, self._device)

    def predict(
        self, sources: Sequence[Source], every: float = 0.0, speakers: Sequence[Hashable] | None = None,
        pieces: Sequence[tuple[float, float | None]] | None = None,
    ) -> list[Answer]:
        """Recognise the emotion of each recording, or of a piece of each.

        Args:
            sources: files that libsndfile or ffmpeg reads, or pairs of samples, (n,) or (n, channels), integers of 16
                bits or floats from -1 to 1, and their rate in Hz.
            every: also say what is heard in each piece of so many seconds; each is judged by the stretch around it
                that is as long as the network was trained on.
            speakers: who speaks in each recording; None: someone else in each. It matters for a network that was
                trained with statistics by speaker (--cmn speaker).
            pieces: where in each recording to listen, from and to, in seconds; (0, None) is all of it, and so is None.

        Returns:
            An answer for each; where a recording cannot be used it says why, and the others are not affected.
        """
        if every < 0:
            raise ValueError("every must not be negative")
        answers: list[Answer] = []
        speakers = range(len(sources)) if speakers is None else speakers
        pieces = [(0.0, None)] * len(sources) if pieces is None else pieces
        found = self._front_end.features(self._read(sources, speakers, pieces, answers))
        read = [number for number, answer in enumerate(answers) if not answer.error]
        voiced = {number: features for number, features in zip(read, found, strict=True) if len(features[0])}
        of_files = self._posteriors([matrix for matrix, _ in voiced.values()])
        for number in read:
            if number not in voiced:
                why = "is too short, or nobody speaks in it, or far too quietly; leave it out"
                answers[number] = replace(answers[number], error=f"{answers[number].name}: {why}")
        recordings = Counter(speakers[number] for number in voiced)
        for (number, features), values in zip(voiced.items(), of_files, strict=True):
            along = self._along(*features, answers[number], every) if every else ()
            answers[number] = replace(answers[number], emotion=self.classes[values.argmax()],
                                      probabilities=self._named(values), along=along,
                                      alone=self._front_end.by_speaker and recordings[speakers[number]] == 1)
        return answers

    def _read(
        self, sources: Sequence[Source], speakers: Sequence[Hashable], pieces: Sequence[tuple[float, float | None]],
        answers: list[Answer],
    ) -> Iterator[tuple[Hashable, np.ndarray]]:
        """Yield speaker and waveform of each recording that can be read; append to `answers` what is known of all."""
        decode = lru_cache(maxsize=1)(self._decode)  # a table has the pieces of a file one after another
        for number, source in enumerate(progress(sources, len(sources), "read", unit="file")):
            name = str(number) if isinstance(source, tuple) else os.fspath(source)
            start, end = pieces[number]
            try:
                audio, piece = self._decode(source) if isinstance(source, tuple) else decode(source), None
                if (start, end) != (0.0, None):
                    audio = replace(audio, samples=cut(audio, start, end, name, "correct the times"))
                    piece = start, start + len(audio.samples) / audio.rate
                waveform = self._front_end.waveform(audio, name)
            except SerError as error:
                answers.append(Answer(name, error=str(error)))
                continue
            answers.append(Answer(name, piece, seconds=len(audio.samples) / audio.rate))
            yield speakers[number], waveform

    def _decode(self, source: Source) -> DecodedAudio:
        channel = self._front_end.channel
        if not isinstance(source, tuple):
            return decode_any(source, channel)
        samples, rate = source
        if samples.size == 0 or samples.ndim not in (1, 2) or not np.isfinite(samples).all():
            raise SerError(f"samples of shape {samples.shape} must be (n,) or (n, channels), finite, and at least one")
        scale = 1 if np.issubdtype(samples.dtype, np.integer) else INT16_SCALE
        wide = samples.astype(np.float32) * scale
        if wide.ndim == 2:
            wide = wide.mean(1) if channel < 0 else np.ascontiguousarray(wide[:, channel])
        return DecodedAudio(wide, rate, samples.shape[1] if samples.ndim == 2 else 1)

    def _posteriors(self, matrices: Sequence[np.ndarray]) -> np.ndarray:
        """Return the posteriors (N, classes) of matrices (frames, D)."""
        if not matrices:
            return np.zeros((0, len(self.classes)))
        lengths = np.array([len(matrix) for matrix in matrices])
        frames = torch.from_numpy(np.concatenate(matrices))
        kind = WaveformStore if isinstance(self._front_end, Waveforms) else FeatureStore
        store = kind([str(number) for number in range(len(matrices))], lengths, frames, self._device)
        values = posteriors(self._model, store)
        if not np.isfinite(values).all():
            raise SerError("the network's answers are not finite; train it again with --precision fp32")
        return values

    def _along(self, matrix: np.ndarray, numbers: np.ndarray, answer: Answer, every: float) -> tuple[Moment, ...]:
        """Return what is heard in each piece of `every` seconds, of frames (n, D) and their numbers (n,)."""
        seconds, first = answer.seconds, answer.piece[0] if answer.piece else 0.0
        shift = self._front_end.frame_shift
        times = (numbers + 0.5) * shift
        reach = max(every, self._crop * shift) / 2
        starts = np.arange(0, seconds, every)
        ends = np.minimum(starts + every, seconds)
        pieces = {}
        for piece, (start, end) in enumerate(zip(starts, ends, strict=True)):
            centre = (start + end) / 2
            if ((times >= start) & (times < end)).any():
                pieces[piece] = matrix[(times >= centre - reach) & (times < centre + reach)]
        values = dict(zip(pieces, self._posteriors(list(pieces.values())), strict=True))
        return tuple(
            Moment(first + float(start), first + float(end), self.classes[values[piece].argmax()],
                   self._named(values[piece]))
            if piece in values else Moment(first + float(start), first + float(end), "", {})
            for piece, (start, end) in enumerate(zip(starts, ends, strict=True))
        )

    def _named(self, values: np.ndarray) -> dict[str, float]:
        return dict(zip(self.classes, values.tolist(), strict=True))
