"""Clips to listen to of what is trained on: the copies of a recording, and what CopyPaste joins."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ser.augment.copypaste import KINDS, SCHEMES
from ser.base.errors import SerError
from ser.data.audio import is_pipe, read_audio, read_utterances
from ser.data.datadir import HOW_MADE, DataDir
from ser.data.labels import EMOTION_TABLE, NEUTRAL
from ser.features.noise import NoiseReader, mix, read_utt2noise
from ser.features.perturb import read_utt2perturb
from ser.scoring.results import Results
from ser.training.options import TrainOptions, read_config
from ser.training.run_folder import CONFIG

_DEFAULT_RATE = 16000  # of features whose front end names none


@dataclass(frozen=True)
class Clip:
    """What is to be heard, of which utterances, and (samples,) float32 at int16 scale and `rate` Hz."""

    what: str
    of: str
    samples: np.ndarray
    rate: int


class _Folder:
    """A data directory of recordings or of copies of them; its tables are read once."""

    def __init__(self, path: Path) -> None:
        self.path, self.lists = path, DataDir(path)
        self.is_copy = any(self.lists.has(table) for table in HOW_MADE)

    @cached_property
    def sources(self) -> dict[str, tuple[str, float, float | None]]:
        try:
            return read_utterances(self.path)
        except SerError:
            return {}  # tables that validate_data_dir.sh complains of

    @cached_property
    def noises(self) -> dict:
        return read_utt2noise(self.path / "utt2noise") if self.lists.has("utt2noise") else {}

    @cached_property
    def perturbations(self) -> dict:
        return read_utt2perturb(self.path / "utt2perturb") if self.lists.has("utt2perturb") else {}

    def has(self, utterance: str) -> bool:
        """Return whether an utterance is in this directory and its recording at hand."""
        path = self.sources.get(utterance, ("|",))[0]
        return not is_pipe(path) and os.path.isabs(path) and os.path.isfile(path)

    def emotion(self, utterance: str) -> str:
        return self.lists.table(EMOTION_TABLE).get(utterance, "") if self.lists.has(EMOTION_TABLE) else ""

    def waveform(self, utterance: str, rate: int) -> np.ndarray:
        """Return what features are computed from: the recording at `rate` Hz, perturbed, with its noise."""
        samples = read_audio(self.sources[utterance][0], rate, *self.sources[utterance][1:])
        if self.perturbations:
            samples = self.perturbations[utterance].apply(samples, rate)
        if self.noises:
            noise = self.noises[utterance]
            samples = mix(samples, NoiseReader(rate).read(noise, len(samples)), noise.snr)
        return samples

    def how(self, utterance: str) -> str:
        """Return what was done to the recording, in words."""
        noise, perturbation = self.noises.get(utterance), self.perturbations.get(utterance)
        words = [str(perturbation)] if perturbation else []
        return ", ".join(words + ([f"{Path(noise.path).name} at {noise.snr:g} dB"] if noise else []))


def clips(results: Results) -> Iterator[Clip]:
    """Yield a clip of each kind of copy that the data directories of an experiment have, and of each kind of CopyPaste.

    Copies of one directory are of one utterance, which comes before them. What cannot be read any more is left out.
    """
    runs = {score.folder.parent: (condition, score.record) for (condition, _), cell in results.cells.items()
            for score in cell.scores.values()}
    folders: dict[Path, list[_Folder]] = {}
    kinds = set(KINDS) - {"none"}
    joined = []
    for run, (condition, record) in runs.items():
        about = read_config(run / CONFIG)[1] if (run / CONFIG).is_file() else {}
        work, lists = Path(str(about.get("work") or "")), Path(str(about.get("test_list") or ""))
        if lists.is_absolute() or not lists.parts or not (work / lists).is_dir():
            continue
        found = re.search(r"^--sample-frequency=(\d+)", record["checkpoint"].get("front_end", ""), re.MULTILINE)
        root, rate = work / lists.parts[0], int(found[1]) if found else _DEFAULT_RATE
        if root not in folders:
            folders[root] = [_Folder(path.parent) for path in sorted(root.glob("*/wav.scp"))]
            yield from _of_copies(folders[root], rate)
        wanted = kinds & (set(KINDS) if "+" in condition.scheme else {condition.scheme})
        train = [str(work / folder) for folder in about.get("train") or ()]  # none: trained elsewhere
        if wanted and train:
            for kind, clip in _of_copypaste(run, train, folders[root], rate, wanted):
                kinds.discard(kind)
                joined.append(clip)
    yield from joined


def _of_copies(folders: list[_Folder], rate: int) -> Iterator[Clip]:
    said = set()
    for folder in (each for each in folders if each.is_copy):
        copied = folder.lists.table("utt2uniq") if folder.lists.has("utt2uniq") else {}
        original = next((copied.get(each, each) for each in folder.sources
                         if folder.has(each) and folder.emotion(each) != NEUTRAL), None)
        clean = next((each for each in folders if not each.is_copy and original and each.has(original)), None)
        for utterance in folder.sources:
            if not clean or copied.get(utterance, utterance) != original:
                continue
            kind = original, utterance.removeprefix(original), folder.how(utterance)
            try:
                if original not in said:
                    said.add(original)
                    yield Clip("the recording", f"{original} ({clean.emotion(original)})",
                               clean.waveform(original, rate), rate)
                if kind not in said:  # directories of several features have the same copies
                    said.add(kind)
                    yield Clip(folder.how(utterance), f"{utterance} of {folder.path.name}",
                               folder.waveform(utterance, rate), rate)
            except SerError:
                continue  # stages 1 and 2 have named it


def _of_copypaste(
    run: Path, train: list[str], folders: list[_Folder], rate: int, kinds: set[str]
) -> Iterator[tuple[str, Clip]]:
    """Yield each of `kinds` with the first example of it in a training's first epoch."""
    from ser.training.classification import make_plans  # PyTorch, which a report without CopyPaste does not need

    try:
        options = TrainOptions.read([run / CONFIG])
        plans, labels, utterances = make_plans(train, options)
    except (SerError, OSError):
        return  # features that are gone
    left, folders = set(kinds), sorted(folders, key=lambda each: each.is_copy)
    for plan in plans.epoch(1):
        for example in range(len(plan)):
            kind, label = KINDS[plan.kinds[example]], labels.classes[plan.labels[example]]
            if kind not in left or (kind == "n-cp" and label == NEUTRAL):
                continue
            parts, named = [], []
            try:
                for index, first, frames in zip(plan.utterances[example], plan.first[example], plan.frames[example],
                                                strict=True):
                    utterance, length = utterances[index], plans.lengths[index]
                    folder = next(each for each in folders if each.has(utterance))
                    samples = folder.waveform(utterance, rate)
                    parts.append(samples[len(samples) * first // length : len(samples) * (first + frames) // length])
                    named.append(f"{utterance} ({folder.emotion(utterance)})")
            except (SerError, StopIteration):
                continue
            left.remove(kind)
            what, of = f"{SCHEMES[kind]}, labelled {label}", " and then ".join(named)
            yield kind, Clip(what, of, np.concatenate(parts), rate)
        if not left:
            return
