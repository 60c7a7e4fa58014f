"""Which utterances lend their style to which copies (EmoAug, Qu et al., ICASSP 2024, equation 4).

A copy says what an utterance says in the style of another one of the same speaker and emotion, never in its own.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StyleCopy:
    """A copy to make.

    Attributes:
        utterance: whose words it has.
        number: of the copy, from 1.
        styles: the other utterances whose style it may take, in the order in which they are tried; at least one.
    """

    utterance: str
    number: int
    styles: tuple[str, ...]

    @property
    def name(self) -> str:
        """The copy's utterance id."""
        return f"{self.utterance}-emoaug{self.number}"

    def seed(self, attempt: int, seed: int) -> int:
        """Return what random numbers of an attempt to make it, from 0, are drawn from: 0 to 2^63 - 1."""
        return _hash(seed, self.utterance, self.number, attempt) >> 1


def plan_copies(
    speakers: Mapping[str, str], emotions: Mapping[str, str], copies: int, balance: bool, seed: int
) -> tuple[list[StyleCopy], list[str]]:
    """Return the copies to make, and the utterances that have no other of their speaker and emotion.

    An utterance's copies take different styles as long as there are any. What an utterance gets depends on the seed and
    on its speaker's other utterances of that emotion.

    Args:
        speakers, emotions: of each utterance.
        copies: of each utterance.
        balance: make round(copies · N_max / N_c) of those of an emotion with N_c utterances instead, where N_max is the
            number of the most frequent emotion's.
    """
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for utterance in sorted(speakers):
        groups[speakers[utterance], emotions[utterance]].append(utterance)
    counts = Counter(emotions[utterance] for utterance in speakers)
    most = max(counts.values())
    planned, alone = [], []
    for utterance in sorted(speakers):
        others = [each for each in groups[speakers[utterance], emotions[utterance]] if each != utterance]
        if not others:
            alone.append(utterance)
            continue
        order = np.random.default_rng(_hash(seed, utterance)).permutation(len(others))
        number = round(copies * most / counts[emotions[utterance]]) if balance else copies
        planned += [
            StyleCopy(utterance, copy + 1, tuple(others[index] for index in np.roll(order, -copy)))
            for copy in range(number)
        ]
    return planned, alone


def _hash(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8])
