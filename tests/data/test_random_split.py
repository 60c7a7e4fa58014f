"""Random splits of blocks, and what they leak; lists of blocks of a corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table, write_table
from ser.data.datadir import class_counts, spk2utt
from ser.data.random_split import leak, split_at_random


def blocks_of(utterances: int, each: int) -> dict[str, str]:
    """Speaker of each block; four speakers."""
    return {f"s{u % 4}-u{u:04d}-{100 * b:08d}-{100 * b + 100:08d}": f"s{u % 4}"
            for u in range(utterances) for b in range(each)}


def test_a_random_split_is_a_function_of_ids_and_seed() -> None:
    blocks = list(blocks_of(200, 4))
    test, parts = split_at_random(blocks, 5, 0)
    assert len(test) == 160 and [len(part) for part in parts] == [128] * 5
    assert sorted([*test, *(block for part in parts for block in part)]) == sorted(blocks), "each block is in one part"
    assert split_at_random(reversed(blocks), 5, 0) == (test, parts)
    assert split_at_random(blocks, 5, 1)[0] != test
    assert len(split_at_random(blocks[:8694 % 800], 5, 0)[0]) == -(-(8694 % 800) // 5), "rounded up"
    with pytest.raises(SerError, match="1 folds of 640 blocks: at least 2"):
        split_at_random(blocks, 1, 0)


def test_what_is_leaked_is_counted() -> None:
    blocks = blocks_of(400, 4)
    test, parts = split_at_random(blocks, 5, 0)
    train = {block: blocks[block] for part in parts for block in part}
    utterances, speakers = leak({block: blocks[block] for block in test}, train)
    # A block has three others of its utterance, each in training with 0.8: 1 - 0.2 ** 3.
    assert utterances == pytest.approx(0.992, abs=0.02) and speakers == 1
    of_speaker = {block: speaker for block, speaker in blocks.items() if speaker == "s0"}
    others = {block: speaker for block, speaker in blocks.items() if speaker != "s0"}
    assert leak(of_speaker, others) == (0, 0)


def test_blocks_of_ravdess(shared: Path, shell, tmp_path: Path) -> None:
    """Its real recordings make 2752 blocks of one second, 2201 to train on and 551 to test on."""
    data = tmp_path / "data"
    shell(f"egs/ravdess/local/prepare.py --corpus-dir {shared}/data/ravdess --nj 1 {data}")
    said = shell(f"pyscripts/cut_lists.py --split segment {data} {tmp_path}/segment").stdout
    assert class_counts(tmp_path / "segment" / "all") == {
        "angry": 643, "happy": 593, "neutral": 289 + 627, "sad": 600
    }
    tables = {name: read_table(tmp_path / f"segment/fold2/{name}/utt2spk") for name in ("train", "dev", "test")}
    assert {name: len(table) for name, table in tables.items()} == {"train": 1761, "dev": 440, "test": 551}
    assert tables["test"] == read_table(tmp_path / "segment/fold5/test/utt2spk")
    assert said.splitlines()[-1] == (tmp_path / "segment" / "leak").read_text().strip()
    assert "% of test blocks share an utterance with training, 100% a speaker" in said

    said = shell(f"pyscripts/cut_lists.py {data} {tmp_path}/speaker").stdout
    assert "leak: 0% of test blocks share an utterance with training, 0% a speaker" in said
    assert len(read_table(tmp_path / "speaker/all/utt2spk")) == 2752
    assert sum(len(read_table(tmp_path / f"speaker/fold{k}/test/utt2spk")) for k in range(1, 7)) == 2752


def test_lists_without_folds(shell, tmp_path: Path) -> None:
    for name, speaker in {"train": "a", "dev": "b", "test": "c"}.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        utt2spk = {f"{speaker}-{number}": speaker for number in range(4)}
        sound = tmp_path / "sound.wav"
        sound.write_bytes(b"RIFF" * 500)
        for table, value in {"wav.scp": sound, "utt2emo": "sad", "utt2dur": "2.5"}.items():
            write_table(tmp_path / "data" / name / table, dict.fromkeys(utt2spk, value))
        write_table(tmp_path / "data" / name / "utt2spk", utt2spk)
        write_table(tmp_path / "data" / name / "spk2utt", spk2utt(utt2spk))
    shell(f"pyscripts/cut_lists.py --split segment --cv-folds 3 {tmp_path}/data {tmp_path}/blocks")
    sizes = [len(read_table(tmp_path / f"blocks/fold1/{name}/utt2spk")) for name in ("train", "dev", "test")]
    assert sizes == [12, 7, 5]
    shell(f"pyscripts/cut_lists.py {tmp_path}/data {tmp_path}/plain")
    assert len(read_table(tmp_path / "plain/dev/utt2spk")) == 8
    said = shell(f"pyscripts/cut_lists.py {tmp_path} {tmp_path}/x", ok=False).stderr
    assert "has no lists; run stage 0 first" in said
