"""The packed store: a planned batch is exactly the frames that the plan names."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

import ser.features.store
from ser.augment.copypaste import CopyPaste
from ser.base.errors import SerError
from ser.data.arks import ArkWriter
from ser.features.store import FeatureStore, in_length_order

CPU = torch.device("cpu")


def write_data(folder: Path, lengths: dict[str, int], dim: int = 23) -> dict[str, np.ndarray]:
    """A data directory of random features; what it holds."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(len(lengths))
    matrices = {u: random.standard_normal((n, dim)).astype(np.float32) for u, n in sorted(lengths.items())}
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for utterance, matrix in matrices.items():
            writer.write(utterance, matrix)
    (folder / "utt2num_frames").write_text("".join(f"{u} {len(m)}\n" for u, m in matrices.items()))
    return matrices


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    lengths = {f"s{i % 5}-{i:03d}": int(random.integers(5, 90)) for i in range(60)}
    return tmp_path / "train", write_data(tmp_path / "train", lengths)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("short_utt", ["pad", "repeat"])
@pytest.mark.parametrize("scheme", ["none", "n+se-cp"])
def test_batches_hold_the_planned_frames(data, scheme: str, short_utt: str, mapped: bool, monkeypatch) -> None:
    folder, matrices = data
    if mapped:
        monkeypatch.setattr(ser.features.store, "_MEMORY_SHARE", 0)
        monkeypatch.setattr(ser.features.store, "_RESIDENT_BYTES", 0)  # pages given back after every batch
    store = FeatureStore.load([folder], CPU)
    assert store.utterances == list(matrices)
    plans = CopyPaste(np.arange(60) % 4, store.lengths, scheme, 2, batch_size=16, crop=40, short_utt=short_utt)
    for plan in plans.epoch(1):
        features, lengths = store.batch(plan)
        assert features.shape == (int(lengths.sum()), 23)
        examples = features.split(lengths.tolist())
        for row in range(len(plan)):
            parts = []
            for utterance, first, frames, start, filled in zip(
                plan.utterances[row], plan.first[row], plan.frames[row], plan.start[row], plan.filled[row], strict=True
            ):
                if utterance >= 0:
                    part = matrices[store.utterances[utterance]][first : first + frames]
                    parts.append(np.concatenate([part[start:]] + [part] * 10)[:filled])
            expected = np.concatenate(parts)
            assert lengths[row] == len(expected)
            assert np.array_equal(examples[row].numpy(), expected)


def test_whole_utterances_in_batches_of_like_lengths(data) -> None:
    folder, matrices = data
    store = FeatureStore.load([folder], CPU)
    seen = []
    for indices in in_length_order(store.lengths, 200):
        features, lengths = store.whole(indices)
        assert len(features) <= 200 and lengths.diff().le(0).all()
        for example, index in zip(features.split(lengths.tolist()), indices, strict=True):
            assert np.array_equal(example.numpy(), matrices[store.utterances[index]])
        seen += indices.tolist()
    assert sorted(seen) == list(range(60))


def test_several_directories_make_one_store(tmp_path: Path) -> None:
    write_data(tmp_path / "a", {"s1-1": 10, "s1-2": 12})
    write_data(tmp_path / "b", {"s1-1-noise": 10})
    store = FeatureStore.load([tmp_path / "a", tmp_path / "b"], CPU)
    assert store.utterances == ["s1-1", "s1-2", "s1-1-noise"]
    with pytest.raises(SerError, match=r"s1-\d is in two of the data directories"):
        FeatureStore.load([tmp_path / "a", tmp_path / "a"], CPU)


def test_damage_is_named(tmp_path: Path) -> None:
    write_data(tmp_path / "a", {"s1-1": 10, "s1-2": 12})
    counts = tmp_path / "a" / "utt2num_frames"
    counts.write_text("s1-1 10\ns1-2 13\n")
    with pytest.raises(SerError, match=r"feats.scp: s1-2 has features of shape \(12, 23\), expected \(13, 23\)"):
        FeatureStore.load([tmp_path / "a"], CPU)
    counts.write_text("s1-1 10\ns1-2 12\ns1-3 9\n")
    with pytest.raises(SerError, match=r"feats.scp has nothing where utt2num_frames has s1-3"):
        FeatureStore.load([tmp_path / "a"], CPU)
    counts.write_text("s1-1 10\n")
    with pytest.raises(SerError, match=r"a/feats.scp has s1-2 where utt2num_frames has nothing"):
        FeatureStore.load([tmp_path / "a"], CPU)
    counts.write_text("s1-1 ten\ns1-2 12\n")
    with pytest.raises(SerError, match=r"a/utt2num_frames: s1-1: 'ten' is not a number of frames"):
        FeatureStore.load([tmp_path / "a"], CPU)
    counts.write_text("s1-1 10\ns1-2 12\n")
    ark = tmp_path / "a" / "feats.ark"
    ark.write_bytes(ark.read_bytes()[:-30])
    with pytest.raises(SerError, match=r"feats\.ark.*truncated"):
        FeatureStore.load([tmp_path / "a"], CPU)


def test_no_room_for_a_scratch_file(data, monkeypatch) -> None:
    monkeypatch.setattr(ser.features.store, "_MEMORY_SHARE", 0)
    monkeypatch.setattr(ser.features.store.shutil, "disk_usage", lambda _: namedtuple("usage", "free")(1000))
    with pytest.raises(SerError, match="set TMPDIR"):
        FeatureStore.load([data[0]], CPU)


def test_features_that_are_not_finite(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        writer.write("s1-1", np.full((4, 23), np.nan, np.float32))
    (folder / "utt2num_frames").write_text("s1-1 4\n")
    with pytest.raises(SerError, match="finite"):
        FeatureStore.load([folder], CPU)
