"""What §3.2.2 of the paper promises of an epoch, audited on plans."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import train

from ser.augment.copypaste import SCHEMES, BatchPlan, CopyPaste, count_kinds
from ser.base.errors import SerError

NEUTRAL = 2
CROP = 400


def corpus(count: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.choice(4, count, p=[0.3, 0.2, 0.35, 0.15]), random.integers(20, 900, count)


def planner(scheme: str, seed: int = 7, short_utt: str = "pad", **changes) -> CopyPaste:
    labels, lengths = corpus()
    options = {"batch_size": 128, "crop": CROP, **changes}
    return CopyPaste(labels, lengths, scheme, NEUTRAL, short_utt=short_utt, seed=seed, **options)


def as_lists(batches: list[BatchPlan]) -> list:
    names = ("utterances", "first", "frames", "start", "labels")
    return [[getattr(batch, name).tolist() for name in names] for batch in batches]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_shares_of_batches(scheme: str) -> None:
    share = {"none": (0, 0), "n-cp": (0.8, 0), "se-cp": (0, 0.8), "n+se-cp": (0.4, 0.4)}[scheme]
    for size in (128, 100, 640, 3999):
        batches = list(planner(scheme, batch_size=size).epoch(1))
        counts = count_kinds(batches)
        assert abs(counts.get("n-cp", 0) - share[0] * len(batches)) <= 1
        assert abs(counts.get("se-cp", 0) - share[1] * len(batches)) <= 1
        pasted = counts.get("n-cp", 0) + counts.get("se-cp", 0)
        assert abs(pasted - sum(share) * len(batches)) <= 0.5


def test_kinds_are_shuffled() -> None:
    first = {next(planner("n+se-cp").epoch(epoch)).kind for epoch in range(20)}
    assert first == {"none", "n-cp", "se-cp"}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("short_utt", ["pad", "repeat"])
def test_parts_and_labels(scheme: str, short_utt: str) -> None:
    labels, lengths = corpus()
    bases = Counter()
    neutral_first = two_parts = 0
    for batch in planner(scheme, short_utt=short_utt).epoch(3):
        members = set()
        for row in range(len(batch)):
            used = batch.utterances[row] >= 0
            parts = batch.utterances[row][used]
            first, frames = batch.first[row][used], batch.frames[row][used]
            assert (frames >= 1).all() and (frames <= CROP).all() and (first >= 0).all()
            assert (first + frames <= lengths[parts]).all()
            assert (frames == np.minimum(lengths[parts], CROP)).all()
            assert (batch.frames[row][~used] == 0).all() and (batch.filled[row][~used] == 0).all()
            assert (batch.filled[row][used] == (frames if short_utt == "pad" else CROP)).all()
            assert (batch.start[row][used] < frames).all()
            kind = ("none", "n-cp", "se-cp")[batch.kinds[row]]
            assert kind in ("none", batch.kind)
            assert len(parts) == (1 if kind == "none" else 2)
            if kind == "none":
                assert labels[parts[0]] == batch.labels[row]
            elif kind == "se-cp":
                assert parts[0] != parts[1]
                assert (labels[parts] == batch.labels[row]).all()
            else:
                assert parts[0] != parts[1]
                emotional = [label for label in labels[parts] if label != NEUTRAL]
                assert len(emotional) < 2
                assert batch.labels[row] == (emotional[0] if emotional else NEUTRAL)
                if emotional:
                    two_parts += 1
                    neutral_first += labels[parts[0]] == NEUTRAL
            members.update(parts.tolist())
        assert members <= set(range(len(labels)))
        bases.update(members)
    assert set(bases) == set(range(len(labels)))  # every training utterance is used
    if scheme in ("n-cp", "n+se-cp"):
        assert abs(neutral_first / two_parts - 0.5) < 0.05


def test_both_orders_and_partners_vary() -> None:
    """In SE-CP every utterance of a batch is heard twice, in either place about equally often."""
    for batch in planner("se-cp").epoch(1):
        if batch.kind == "se-cp":
            assert set(Counter(batch.utterances.ravel().tolist()).values()) == {2}
    pairs = [{tuple(sorted(p)) for b in planner("se-cp").epoch(e) for p in b.utterances.tolist()} for e in (1, 2)]
    assert len(pairs[0] & pairs[1]) < 0.05 * len(pairs[0])


def test_every_start_of_a_crop_is_possible() -> None:
    plans = CopyPaste([0] * 50, [403] * 50, "none", None, crop=400, seed=0)
    seen = Counter(int(first) for epoch in range(40) for b in plans.epoch(epoch) for first in b.first[:, 0])
    assert sorted(seen) == [0, 1, 2, 3]
    assert max(seen.values()) < 2 * min(seen.values())


def test_batches_are_equal_and_none_is_dropped() -> None:
    sizes = [len(batch) for batch in planner("none", batch_size=97).epoch(1)]
    assert sum(sizes) == 4000 and max(sizes) <= 97 and max(sizes) - min(sizes) <= 1


def test_a_plan_is_a_function_of_seed_and_epoch() -> None:
    plan = as_lists(list(planner("n+se-cp").epoch(5)))
    assert plan == as_lists(list(planner("n+se-cp").epoch(5)))
    assert plan != as_lists(list(planner("n+se-cp").epoch(6)))
    assert plan != as_lists(list(planner("n+se-cp", seed=8).epoch(5)))


def test_utterances_without_partner_stay_as_they_are_and_are_counted() -> None:
    labels = [0, 0, 0, 0, 1]  # one alone in its class
    batches = list(CopyPaste(labels, [50] * 5, "se-cp", None, seed=0).epoch(1))
    assert count_kinds(batches) == {"se-cp": 1, "alone": 1}
    batch = batches[0]
    alone = batch.labels == 1
    assert (batch.kinds[alone] == 0).all() and (batch.frames[alone, 1] == 0).all()

    one_neutral = list(CopyPaste([0, 0, 2], [50] * 3, "n-cp", 2, seed=0).epoch(1))
    assert count_kinds(one_neutral) == {"n-cp": 1, "alone": 1}
    assert one_neutral[0].labels[one_neutral[0].kinds == 0].tolist() == [2]


def test_each_batch_draws_its_crop() -> None:
    lengths = np.random.default_rng(0).integers(20, 900, 4000)
    seen = []
    for batch in CopyPaste(np.zeros(4000), lengths, "none", None, 16, 400, "repeat", min_crop=200).epoch(1):
        assert len(set(batch.filled[:, 0])) == 1
        crop = batch.filled[0, 0]
        assert (batch.frames[:, 0] == np.minimum(lengths[batch.utterances[:, 0]], crop)).all()
        seen.append(crop)
    assert min(seen) >= 200 and max(seen) <= 400
    assert abs(np.mean(seen) - 300) < 4 * 58 / len(seen) ** 0.5  # uniform: standard deviation 201 / √12
    for batch in planner("n+se-cp", min_crop=CROP).epoch(1):
        assert batch.frames.max() == CROP
    with pytest.raises(SerError, match="min-crop"):
        planner("none", min_crop=CROP + 1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_windows_are_read_run_by_run(scheme: str) -> None:
    window = 700
    plans = list(planner(scheme, batch_size=100, window=window).epoch(2))
    sizes = [len(plan) for plan in plans]
    assert sum(sizes) == 4000 and max(sizes) - min(sizes) <= 1
    asked: set[int] = set()
    for number, plan in enumerate(plans):
        used = set(plan.utterances[plan.utterances >= 0].tolist())
        if plan.ahead is not None:
            assert (np.diff(plan.ahead) > 0).all()
            assert not asked & set(plan.ahead.tolist())
            asked |= set(plan.ahead.tolist())
        assert used <= asked  # before or with its batch
        behind = 100 * (number + 1)
        assert len(asked) == min(4000, behind + window)  # and not all too early
        if plan.ahead is not None and number:
            assert (np.diff(plan.ahead) == 1).mean() > 0.9  # runs of neighbours
    assert asked == set(range(4000))
    # An epoch at a time is as it was: nothing is known of what is read together.
    assert all(plan.ahead is None for plan in planner(scheme).epoch(1))
    with pytest.raises(SerError, match="window"):
        planner(scheme, window=127)


def test_windows_shuffle_and_keep_every_base() -> None:
    plans = CopyPaste(np.zeros(4000), np.full(4000, 50), "none", None, 100, window=1000)
    epochs = [[plan.utterances[:, 0] for plan in plans.epoch(epoch)] for epoch in (1, 2)]
    for batches in epochs:
        assert sorted(np.concatenate(batches)) == list(range(4000))
        # A batch has members of most of its window's 32 runs, not of a few.
        assert np.mean([len(set(batch // 32)) for batch in batches]) > 25
    assert np.mean([len(set(a) & set(b)) for a, b in zip(*epochs, strict=True)]) < 20


@pytest.mark.parametrize("window", [0, 300])
def test_an_epoch_taken_up_in_the_middle_goes_on_as_it_would_have(window: int) -> None:
    plans = planner("n+se-cp", window=window, min_crop=200, short_utt="repeat")
    whole = list(plans.epoch(3))
    assert len(whole) == plans.batches_per_epoch == 32
    for first in (0, 1, 17, 31, 32):
        rest = list(plans.epoch(3, first))
        assert as_lists(rest) == as_lists(whole[first:])
        assert [b.kind for b in rest] == [b.kind for b in whole[first:]]
        for mine, theirs in zip(rest[1:], whole[first + 1 :], strict=True):
            assert (mine.ahead is None and theirs.ahead is None) or np.array_equal(mine.ahead, theirs.ahead)
        if window and rest:  # what this batch needs was asked for before the interruption
            assert set(rest[0].utterances[rest[0].utterances >= 0]) <= set(rest[0].ahead)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_shares_make_up_the_batch(world: int) -> None:
    for batch in planner("n+se-cp", window=1000, short_utt="repeat").epoch(1):
        shares = [batch.share(rank, world) for rank in range(world)]
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1
        for name in ("utterances", "first", "frames", "start", "filled", "labels", "kinds"):
            whole = np.concatenate([getattr(share, name) for share in shares])
            assert np.array_equal(whole, getattr(batch, name))
        assert {share.kind for share in shares} == {batch.kind}
        assert all(share.ahead is batch.ahead for share in shares)


def test_neutral_needed() -> None:
    with pytest.raises(SerError, match="neutral"):
        CopyPaste([0, 1], [50, 50], "n-cp", None)
    with pytest.raises(SerError, match="without frames"):
        CopyPaste([0, 1], [50, 0], "none", None)


def test_dumped_plan(tmp_path: Path, monkeypatch) -> None:
    """`train.py --dump-plan` writes the contract's JSON lines from the tables alone."""
    data = tmp_path / "train"
    data.mkdir()
    names = ["angry", "happy", "neutral", "sad"]
    labels, lengths = corpus(500)
    utterances = [f"s{i % 20:02d}-{i:04d}" for i in range(500)]
    rows = sorted(zip(utterances, labels, lengths, strict=True))
    (data / "utt2emo").write_text("".join(f"{u} {names[label]}\n" for u, label, _ in rows))
    (data / "utt2num_frames").write_text("".join(f"{u} {n}\n" for u, _, n in rows))
    for name, epoch in (("a", 1), ("b", 1), ("c", 2)):
        options = f"--scheme n+se-cp --seed 3 --dump-plan {tmp_path}/{name} --plan-epoch {epoch}"
        monkeypatch.setattr(sys, "argv", ["train.py", "--train", str(data), *options.split()])
        train.main()
    a, b, c = ((tmp_path / name).read_text() for name in "abc")
    assert a == b != c
    records = [json.loads(line) for line in a.splitlines()]
    emotion = {u: names[label] for u, label, _ in rows}
    assert len(records) == 500
    assert {record["kind"] for record in records} == {"none", "n-cp", "se-cp"}
    for record in records:
        assert set(record) == {"batch", "kind", "parts", "label"}
        heard = {emotion[utterance] for utterance, _, _ in record["parts"]}
        assert record["label"] in heard and heard <= {record["label"], "neutral"}
