"""What the corpus consists of: who speaks in which split, and which emotion each recording has."""

from __future__ import annotations

from mini.randomness import generator
from mini.sentences import MANNERS, Recording, record
from mini.speakers import make_speaker

SPLITS = {"train": 14, "dev": 4, "test": 8}  # speakers, half of them women
RECORDINGS_PER_EMOTION = 6  # of each speaker


def speakers() -> dict[str, tuple[str, str]]:
    """Name of every speaker with split and sex (f or m), in order."""
    splits = [split for split, count in SPLITS.items() for _ in range(count)]
    return {f"spk{number:02d}": (split, "mf"[number % 2]) for number, split in enumerate(splits, 1)}


def emotions(speaker: str) -> dict[str, str]:
    """Emotion of each of the speaker's recordings by utterance id; ids are numbered in random order of emotions."""
    labels = generator("emotions", speaker).permutation(sorted(MANNERS) * RECORDINGS_PER_EMOTION)
    return {f"{speaker}-{number:03d}": str(label) for number, label in enumerate(labels, 1)}


def make_recording(utterance: str) -> Recording:
    """Synthesise the recording with this id."""
    name = utterance.split("-")[0]
    return record(make_speaker(name, speakers()[name][1]), emotions(name)[utterance], generator("utterance", utterance))
