"""The plan of the diluted test: what is joined to what, drawn from the ids alone."""

from __future__ import annotations

import numpy as np

from ser.augment.dilution import Dilution, dilute

NEUTRAL = 2


def corpus(takes: int = 5, speakers: int = 6) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """Utterances of four classes, their speakers, labels and lengths."""
    utterances = [f"s{speaker}-{label}-{take}" for speaker in range(speakers) for label in range(4)
                  for take in range(takes)]
    labels = np.array([int(name.split("-")[1]) for name in utterances])
    return utterances, [name[:2] for name in utterances], labels, np.arange(10, 10 + len(utterances))


def joined(dilution: Dilution, utterances: list[str]) -> dict[str, list[str]]:
    """The parts of each example, in order, by the utterance it is named after."""
    return {utterances[index]: [utterances[part] for part in parts]
            for index, parts in zip(dilution.examples, dilution.plan.utterances, strict=True)}


def test_every_utterance_is_joined_to_another_neutral_one_of_its_speaker() -> None:
    utterances, speakers, labels, lengths = corpus()
    dilution = dilute(utterances, speakers, labels, lengths, NEUTRAL)
    assert dilution.examples.tolist() == list(range(len(utterances))) and len(dilution.left_out) == 0
    plan = dilution.plan
    assert (plan.labels == labels).all() and (plan.first == 0).all() and (plan.filled == lengths[plan.utterances]).all()
    first = 0
    for index, parts in enumerate(plan.utterances.tolist()):
        assert index in parts
        (partner,) = set(parts) - {index}  # never itself
        assert labels[partner] == NEUTRAL and speakers[partner] == speakers[index]
        first += parts[0] == index
    assert 0.3 < first / len(utterances) < 0.7  # before or after


def test_the_order_of_utterances_and_what_other_speakers_say_change_nothing() -> None:
    utterances, speakers, labels, lengths = corpus()
    expected = joined(dilute(utterances, speakers, labels, lengths, NEUTRAL), utterances)
    order = np.random.default_rng(1).permutation(len(utterances))
    shuffled = [utterances[index] for index in order]
    found = dilute(shuffled, [speakers[index] for index in order], labels[order], lengths[order], NEUTRAL)
    assert joined(found, shuffled) == expected
    few = dilute(utterances[:40], speakers[:40], labels[:40], lengths[:40], NEUTRAL)
    assert joined(few, utterances).items() < expected.items()


def test_it_is_drawn_the_same_on_every_machine() -> None:
    """By the first eight bytes of SHA-256 of "0 <utterance>", worked out with sha256sum: half of it modulo the number
    of candidates, in order of ids, says which, and if it is odd the neutral one comes first."""
    names = ["a-1", "a-2", "a-3", "a-4"]
    dilution = dilute(names, ["a"] * 4, np.array([0, 2, 2, 2]), np.full(4, 9), NEUTRAL)
    assert joined(dilution, names) == {
        "a-1": ["a-4", "a-1"], "a-2": ["a-4", "a-2"], "a-3": ["a-3", "a-2"], "a-4": ["a-4", "a-3"]
    }


def test_a_speaker_without_a_second_neutral_utterance_is_left_out() -> None:
    utterances, speakers, labels, lengths = corpus()
    kept = [index for index, name in enumerate(utterances) if not name.startswith("s1-2") or name == "s1-2-3"]
    names = [utterances[index] for index in kept]
    dilution = dilute(names, [speakers[index] for index in kept], labels[kept], lengths[kept], NEUTRAL)
    assert {names[index] for index in dilution.left_out} == {name for name in names if name.startswith("s1")}
    assert joined(dilution, names).keys() == {name for name in names if not name.startswith("s1")}
    alone = dilute(utterances, utterances, labels, lengths, NEUTRAL)  # without speakers
    assert len(alone.plan) == 0 and len(alone.left_out) == len(utterances)


def test_what_would_be_too_long_is_left_out() -> None:
    utterances, speakers, labels, lengths = corpus()
    everything, dilution = (dilute(utterances, speakers, labels, lengths, NEUTRAL, most) for most in (np.inf, 150))
    assert 0 < len(dilution.examples) < len(utterances) and (dilution.plan.filled.sum(1) <= 150).all()
    assert sorted([*dilution.examples, *dilution.left_out]) == list(range(len(utterances)))
    assert joined(dilution, utterances).items() < joined(everything, utterances).items()
