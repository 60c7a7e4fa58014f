"""Which neutral utterances are turned into which other emotions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ser.data.labels import NEUTRAL


@dataclass(frozen=True)
class EmotionCopy:
    """A copy to make: of an utterance, in an emotion, by a network of this name."""

    utterance: str
    emotion: str
    by: str

    @property
    def name(self) -> str:
        """The copy's utterance id."""
        return f"{self.utterance}-{self.by}-{self.emotion}"


def plan_emotion_copies(emotions: Mapping[str, str], targets: Sequence[str], by: str) -> list[EmotionCopy]:
    """Return the copies to make: of every neutral utterance one in each target; `emotions` are those of utterances."""
    return [EmotionCopy(utterance, target, by) for utterance, emotion in sorted(emotions.items()) if emotion == NEUTRAL
            for target in targets]
