"""The contents of the corpus: who speaks in which split, and what each recording is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mini.randomness import generator
from mini.sentences import MANNERS, SpokenSentence, make_sentence, record
from mini.speakers import make_speaker

SPLITS = {"train": 14, "dev": 4, "test": 8}  # speakers by default
SENTENCES = 3  # which everybody says
TAKES = 2  # of every sentence in every emotion by default


def speakers(sizes: Mapping[str, int]) -> dict[str, str]:
    """Return the split of every speaker by name; `sizes` has the number of speakers of every split.

    A speaker is in the same split whatever the sizes are: the default sizes take consecutive numbers, and speakers
    beyond them take the next numbers in turn. In every split, women and men (see `sex`) take turns.
    """
    found: dict[str, str] = {}
    first, beyond = 1, 1 + sum(SPLITS.values())
    for place, (split, usual) in enumerate(SPLITS.items()):
        numbers = [first + index if index < usual else beyond + place + len(SPLITS) * (index - usual)
                   for index in range(sizes[split])]
        found |= {f"spk{number:02d}": split for number in numbers}
        first += usual
    return found


def sex(speaker: str) -> str:
    """Return f for speakers with odd numbers and m for the others."""
    return "mf"[int(speaker.removeprefix("spk")) % 2]


@dataclass(frozen=True)
class Take:
    """What a recording is of."""

    emotion: str
    sentence: str


def takes(speaker: str, count: int) -> dict[str, Take]:
    """Return the speaker's recordings by utterance id: `count` of every sentence in every emotion.

    They are numbered in random order. More takes add recordings and change none: the first two are numbered together,
    and each further one after those before it.
    """
    planned = [Take(emotion, f"s{number}") for emotion in sorted(MANNERS) for number in range(1, SENTENCES + 1)]
    order = generator("takes", speaker).permutation(len(planned) * TAKES)
    found = {number: planned[place // TAKES] for number, place in enumerate(order, 1) if place % TAKES < count}
    for take in range(TAKES, count):
        order = generator("takes", speaker, take).permutation(len(planned))
        found |= {number: planned[place] for number, place in enumerate(order, 1 + take * len(planned))}
    return {f"{speaker}-{number:03d}": take for number, take in found.items()}


def make_recording(utterance: str, take: Take) -> SpokenSentence:
    """Synthesise a recording; its id determines the speaker and all random numbers."""
    name = utterance.split("-")[0]
    return record(
        make_speaker(name, sex(name)), take.emotion, make_sentence(take.sentence), generator("utterance", utterance)
    )
