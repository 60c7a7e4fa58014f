"""What the corpus consists of: who speaks in which split, and what each recording is of."""

from __future__ import annotations

from dataclasses import dataclass

from mini.randomness import generator
from mini.sentences import MANNERS, Recording, make_sentence, record
from mini.speakers import make_speaker

SPLITS = {"train": 14, "dev": 4, "test": 8}  # speakers, half of them women
SENTENCES = 3  # which everybody says
TAKES = 2  # of every sentence in every emotion


def speakers() -> dict[str, tuple[str, str]]:
    """Name of every speaker with split and sex (f or m), in order."""
    splits = [split for split, count in SPLITS.items() for _ in range(count)]
    return {f"spk{number:02d}": (split, "mf"[number % 2]) for number, split in enumerate(splits, 1)}


@dataclass(frozen=True)
class Take:
    """What a recording is of."""

    emotion: str
    sentence: str


def takes(speaker: str) -> dict[str, Take]:
    """The speaker's recordings by utterance id: every sentence in every emotion, numbered in random order."""
    planned = [Take(emotion, f"s{number}") for emotion in sorted(MANNERS) for number in range(1, SENTENCES + 1)]
    order = generator("takes", speaker).permutation(len(planned) * TAKES)
    return {f"{speaker}-{number:03d}": planned[place // TAKES] for number, place in enumerate(order, 1)}


def make_recording(utterance: str) -> Recording:
    """Synthesise the recording with this id."""
    name = utterance.split("-")[0]
    take = takes(name)[utterance]
    speaker = make_speaker(name, speakers()[name][1])
    return record(speaker, take.emotion, make_sentence(take.sentence), generator("utterance", utterance))
