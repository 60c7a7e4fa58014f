"""Which neutral utterances become which emotions."""

from __future__ import annotations

from ser.augment.emotion_copies import plan_emotion_copies


def test_neutral_utterances_alone_get_a_copy_in_each_emotion() -> None:
    emotions = {"b-2": "neutral", "a-1": "angry", "a-2": "neutral", "b-1": "sad"}
    copies = plan_emotion_copies(emotions, ("angry", "sad"), "stargan")
    assert [(copy.utterance, copy.emotion, copy.name) for copy in copies] == [
        (utterance, emotion, f"{utterance}-stargan-{emotion}") for utterance in ("a-2", "b-2") for emotion in
        ("angry", "sad")]
