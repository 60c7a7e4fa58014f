"""Whose style a copy takes: another's of the same speaker and emotion, as often as asked for, the same every time."""

from __future__ import annotations

from collections import Counter

from ser.augment.style_copies import plan_copies

UTTERANCES = [f"s{speaker}-{emotion}-{number}" for speaker in range(3)
              for emotion, count in (("angry", 6), ("sad", 3)) for number in range(count)]
SPEAKERS = {utterance: utterance.split("-")[0] for utterance in UTTERANCES}
EMOTIONS = {utterance: utterance.split("-")[1] for utterance in UTTERANCES}


def test_styles_are_of_the_same_speaker_and_emotion_and_never_ones_own() -> None:
    planned, alone = plan_copies(SPEAKERS, EMOTIONS, 2, False, 0)
    assert len(planned) == 2 * len(UTTERANCES) and not alone
    for copy in planned:
        group = {other for other in UTTERANCES if other.rsplit("-", 1)[0] == copy.utterance.rsplit("-", 1)[0]}
        assert set(copy.styles) == group - {copy.utterance}
    refs = {(copy.utterance, copy.styles[0]) for copy in planned}
    assert len(refs) == len(planned), "copies of one utterance have different styles"
    assert {copy.name for copy in planned} == {f"{utt}-emoaug{n}" for utt in UTTERANCES for n in (1, 2)}


def test_a_copy_depends_on_its_utterance_number_and_seed() -> None:
    planned = plan_copies(SPEAKERS, EMOTIONS, 2, False, 0)[0]
    assert plan_copies(dict(reversed(SPEAKERS.items())), EMOTIONS, 2, False, 0)[0] == planned
    one = {utterance: speaker for utterance, speaker in SPEAKERS.items() if speaker == "s1"}
    more = plan_copies(one, EMOTIONS, 4, False, 0)[0]
    assert [copy for copy in planned if copy.utterance in one] == [copy for copy in more if copy.number <= 2]
    assert plan_copies(SPEAKERS, EMOTIONS, 2, False, 1)[0] != planned
    seeds = {copy.seed(attempt, seed) for copy in planned for attempt in range(3) for seed in range(2)}
    assert len(seeds) == 6 * len(planned) and all(0 <= seed < 2**63 for seed in seeds)


def test_balance_makes_all_emotions_as_many() -> None:
    counts = Counter(EMOTIONS[copy.utterance] for copy in plan_copies(SPEAKERS, EMOTIONS, 2, True, 0)[0])
    assert counts == {"angry": 36, "sad": 36}


def test_an_utterance_alone_is_left_out() -> None:
    planned, alone = plan_copies({"a-1": "a", "a-2": "a", "b-1": "b"}, dict.fromkeys(("a-1", "a-2", "b-1"), "sad"), 1,
                                 False, 0)
    assert [copy.styles for copy in planned] == [("a-2",), ("a-1",)] and alone == ["b-1"]
