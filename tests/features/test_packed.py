"""A packed set is the features it was made of, to the last bit or to the rounding of float16, or it is refused."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

import ser.features.packed
import ser.features.store
from ser.augment.copypaste import CopyPaste
from ser.base.errors import SerError
from ser.data.arks import ArkWriter, read_arks
from ser.features.directories import features_digest, front_end
from ser.features.packed import Pack, is_current, is_packed, label_file, pack
from ser.features.store import FeatureStore, in_length_order

CPU = torch.device("cpu")
LABELS = {"utt2spk": lambda utterance: utterance.split("-")[0], "utt2emo": lambda u: ("sad", "angry")[int(u[4:7]) % 2]}


def write_data(folder: Path, matrices: dict[str, np.ndarray], conf: str = "--num-ceps=23\n") -> Path:
    """A data directory with these features, speakers and emotions."""
    (folder / "conf").mkdir(parents=True)
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for utterance, matrix in matrices.items():
            writer.write(utterance, matrix)
    (folder / "utt2num_frames").write_text("".join(f"{u} {len(m)}\n" for u, m in matrices.items()))
    for table, label in LABELS.items():
        (folder / table).write_text("".join(f"{u} {label(u)}\n" for u in matrices))
    (folder / "conf" / "mfcc.conf").write_text(conf)
    (folder / "conf" / "cmn.conf").write_text("--cmn=sliding\n")
    (folder / "frame_shift").write_text("0.01\n")
    return folder


def random_features(suffix: str = "", count: int = 40, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        f"s{i // 8:02d}-{i:03d}{suffix}": (20 * random.standard_normal((random.integers(5, 90), 23))).astype(np.float32)
        for i in range(count)
    }


@pytest.fixture
def data(tmp_path: Path) -> list[Path]:
    """Clean recordings and noisy copies."""
    return [write_data(tmp_path / "clean", random_features()),
            write_data(tmp_path / "noisy", random_features("-noisy1", seed=1))]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("let_go", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_batches_are_those_of_the_data(data, tmp_path: Path, dtype: str, let_go: bool, monkeypatch) -> None:
    if let_go:
        monkeypatch.setattr(ser.features.store, "_RESIDENT_BYTES", 0)
    pack(data, tmp_path / "packed", dtype)
    unpacked, packed = FeatureStore.load(data, CPU), FeatureStore.load([tmp_path / "packed"], CPU)
    assert list(packed.utterances) == unpacked.utterances and np.array_equal(packed.lengths, unpacked.lengths)
    assert packed.frames.dtype == getattr(torch, dtype)
    if dtype == "float32":
        assert packed.digest == unpacked.digest
    plans = CopyPaste(np.arange(80) % 4, packed.lengths, "n+se-cp", 2, batch_size=16, crop=40, window=32)
    for plan in plans.epoch(1):
        if plan.ahead is not None:
            packed.prefetch(plan.ahead)
        (expected, lengths), (found, same_lengths) = unpacked.batch(plan), packed.batch(plan)
        assert found.dtype == torch.float32 and torch.equal(lengths, same_lengths)
        rounded = expected if dtype == "float32" else expected.half().float()
        assert torch.equal(found, rounded)
    for indices in in_length_order(packed.lengths, 500):
        assert torch.equal(packed.whole(indices)[0], unpacked.whole(indices)[0].to(getattr(torch, dtype)).float())


def test_rounding_to_float16_is_within_its_bound(shared, tmp_path: Path, monkeypatch, capsys) -> None:
    """IEEE 754: half a unit in the last of 11 bits, and of 2^-24 for numbers below 2^-14; on Kaldi's own features."""
    monkeypatch.chdir(shared / "kaldi_reference")  # which its scp files are relative to
    matrices = dict(read_arks("feats_8k.scp"))
    folder = tmp_path / "data"
    folder.mkdir()
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for utterance, matrix in matrices.items():
            writer.write(utterance, matrix)
    (folder / "utt2num_frames").write_text("".join(f"{u} {len(m)}\n" for u, m in matrices.items()))
    pack([folder], tmp_path / "packed")
    exact = np.concatenate(list(matrices.values())).astype(np.float64)
    error = np.abs(Pack(tmp_path / "packed").frames - exact)
    assert (error <= np.maximum(2.0**-11 * np.abs(exact), 2.0**-25)).all()
    assert error.max() > 0
    with capsys.disabled():
        print(f"\nfloat16 on normalised MFCC: standard deviation {exact.std():.2f}, largest {np.abs(exact).max():.1f}; "
              f"error at most {error.max():.2g}, in the mean {error.mean():.2g}")


def test_labels(data, tmp_path: Path) -> None:
    pack(data, tmp_path / "packed")
    packed = Pack(tmp_path / "packed")
    for table, label in LABELS.items():
        classes, indices = packed.labels(table)
        assert classes == tuple(sorted({label(u) for u in packed.utterances}))
        assert [classes[index] for index in indices] == [label(u) for u in packed.utterances]
        assert label_file(tmp_path / "packed", table).is_file() and label_file(data[0], table).is_file()
    (data[1] / "utt2emo").unlink()
    pack(data, tmp_path / "packed")
    with pytest.raises(SerError, match=r"utt2emo.*no such labels"):
        Pack(tmp_path / "packed").labels("utt2emo")


def test_step(data, tmp_path: Path, shell) -> None:
    packed = tmp_path / "packed"
    step = f"steps/pack_feats.sh {data[0]} {data[1]} {packed}"
    assert "80 utterances" in shell(step).stdout
    assert front_end([packed]) == front_end(data) != ""
    before, digest = contents(packed), features_digest([packed])
    assert "up to date" in shell(step).stdout
    assert contents(packed) == before
    assert "80 utterances" in shell(step.replace(".sh", ".sh --dtype float32")).stdout
    assert features_digest([packed]) != digest
    (data[0] / "utt2emo").write_text((data[0] / "utt2emo").read_text().replace("sad", "happy"))
    assert "80 utterances" in shell(step).stdout
    assert Pack(packed).labels("utt2emo")[0] == ("angry", "happy", "sad")
    assert features_digest([packed]) == digest  # of features alone
    assert contents(packed)["frames.bin"] == before["frames.bin"]
    shutil.rmtree(data[0])
    assert "feats.scp: no such file" in shell(step, ok=False).stderr
    assert len(Pack(packed).lengths) == 80  # left as it was


def test_a_killed_packing_is_none(data, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    pack(data, packed)
    digest = Pack(packed).digest
    killed = (
        "import os, signal, sys; import ser.features.packed as p\n"
        "whole = p.read_arks\n"
        "def cut(scp):\n"
        "    for number, item in enumerate(whole(scp)):\n"
        "        if number == 10 and str(scp).startswith(sys.argv[2]): os.kill(os.getpid(), signal.SIGKILL)\n"
        "        yield item\n"
        "p.read_arks = cut\n"
        "p.pack(sys.argv[1:3], sys.argv[3], 'float32')"
    )
    done = subprocess.run([sys.executable, "-c", killed, *data, packed],
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == -signal.SIGKILL
    assert list(packed.glob(".*.tmp"))
    assert is_packed(packed) and not is_current(data, packed, "float16")
    with pytest.raises(SerError, match=r"has not finished; run steps/pack_feats"):
        FeatureStore.load([packed], CPU)
    pack(data, packed)
    assert not list(packed.glob(".*.tmp"))
    assert Pack(packed).digest == digest


def test_disk_full(data, tmp_path: Path, shell, monkeypatch) -> None:
    packed = tmp_path / "packed"
    pack(data, packed)
    before = contents(packed)
    size = len(before["frames.bin"])
    room = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room(size - 1))  # with the old set's just enough for float16
    with pytest.raises(SerError, match=r"frames\.bin takes \d\.\d\d GB and"):
        pack(data, packed, "float32")
    assert contents(packed) == before
    said = shell(f"(ulimit -f 40; pyscripts/pack_feats.py --dtype float32 {data[0]} {data[1]} {packed})", ok=False)
    assert "File too large: frames.bin takes" in said.stderr and "Traceback" not in said.stderr
    assert not is_current(data, packed, "float32") and not (packed / "frames.bin").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("frames.bin", r"frames\.bin: has \d+ bytes, expected \d+"),
        ("lengths.npy", r"lengths\.npy: "),
        ("utterances", r"utterances: has \d+ lines, expected 80"),
        ("utt2emo.npz", r"utt2emo\.npz: "),
    ],
)
def test_damage_is_named(data, tmp_path: Path, name: str, message: str) -> None:
    packed = tmp_path / "packed"
    pack(data, packed)
    whole = (packed / name).read_bytes()
    (packed / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SerError, match=message):
        opened = Pack(packed)
        assert opened.labels("utt2emo") and list(opened.utterances)
    (packed / name).unlink()
    with pytest.raises((SerError, FileNotFoundError), match=name):
        opened = Pack(packed)
        assert opened.labels("utt2emo") and list(opened.utterances)
    assert not is_current(data, packed, "float16")


def test_bad_features_are_named(tmp_path: Path) -> None:
    def refused(message: str, folders: list[Path], dtype: str = "float16") -> None:
        with pytest.raises(SerError, match=message):
            pack(folders, tmp_path / "packed", dtype)
        assert not (tmp_path / "packed" / "packed.json").exists()

    good = random_features(count=3)
    for name, value, message in (
        ("nan", np.nan, r"nan/feats.scp: s00-001 has features that are not finite"),
        ("inf", np.inf, r"inf/feats.scp: s00-001 has features that are not finite"),
        ("big", 7e4, r"big/feats.scp: s00-001 has a feature of 70000, beyond what float16 holds \(65504\)"),
    ):
        bad = good["s00-001"].copy()
        bad[1, 2] = value
        refused(message, [write_data(tmp_path / name, {**good, "s00-001": bad})])
    pack([tmp_path / "big"], tmp_path / "wide", "float32")
    assert Pack(tmp_path / "wide").frames.max() == 7e4

    a = write_data(tmp_path / "a", good)
    copies = write_data(tmp_path / "copies", random_features("-noisy1", 3), conf="--num-ceps=13\n")
    refused(r"conf/mfcc\.conf is not the same in", [a, copies])
    refused(r"s00-00\d is in two of the data directories", [a, a])
    refused(r"wide: is a packed set itself", [tmp_path / "wide"])
    with pytest.raises(SerError, match="a folder of its own"):
        pack([a], a)
    counts = (a / "utt2num_frames").read_text()
    (a / "utt2num_frames").write_text(counts.replace("s00-001 ", "s00-001 1"))
    refused(r"s00-001 has features of shape \(\d+, 23\), expected \(1\d+, 23\)", [a])
    (a / "utt2num_frames").write_text(counts.splitlines(keepends=True)[0])
    refused(r"a/feats.scp has s00-001 where utt2num_frames has nothing", [a])
    (a / "utt2num_frames").write_text(counts + "s00-003 9\n")
    refused(r"utt2spk: no label for s00-003", [a])
    (a / "utt2num_frames").write_text(counts.replace("s00-001 ", "s00-001 x"))
    refused(r"utt2num_frames: s00-001: 'x\d+' is not a number of frames", [a])
    (a / "utt2num_frames").write_text(counts)
    ark = a / "feats.ark"
    ark.write_bytes(ark.read_bytes()[:-30])
    refused(r"feats\.ark: truncated", [a])


def test_a_packed_set_stands_alone(data, tmp_path: Path) -> None:
    pack(data[:1], tmp_path / "packed")
    for mixed in ([tmp_path / "packed", data[1]], [data[1], tmp_path / "packed"], [tmp_path / "packed"] * 2):
        with pytest.raises(SerError, match="a packed set stands alone"):
            FeatureStore.load(mixed, CPU)


def test_packing_holds_one_utterance_at_a_time(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    matrices = {f"s00-{i:03d}": random.standard_normal((5000, 23)).astype(np.float32) for i in range(80)}
    folder, size = write_data(tmp_path / "data", matrices), sum(m.nbytes for m in matrices.values())
    del matrices
    tracemalloc.start()
    pack([folder], tmp_path / "packed")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 8


class Asked:
    """Stands for a memory map; notes which pages it is asked to have read."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def madvise(self, advice: int, start: int = 0, length: int = 0) -> None:
        if length:
            self.calls.append((start, length))


def test_what_a_batch_needs_is_asked_for_in_file_order() -> None:
    random = np.random.default_rng(0)
    mapping, row = Asked(), 46
    first, count = random.integers(0, 1_000_000, 300), random.integers(1, 6000, 300)
    ser.features.store._MappedRows(mapping, row).ask(first, count)
    page = ser.features.store.mmap.PAGESIZE
    needed = set()
    for begin, end in zip(first * row, (first + count) * row, strict=True):
        needed.update(range(begin // page, (end - 1) // page + 1))
    pages = [p for start, length in mapping.calls for p in range(start // page, (start + length) // page)]
    assert all(start % page == 0 and length <= 1 << 17 for start, length in mapping.calls)
    assert pages == sorted(needed)
