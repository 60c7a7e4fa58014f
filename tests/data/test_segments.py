"""Blocks of one length: where they lie, what they are called, and what is said of utterances that have none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table, write_table
from ser.data.audio import UtteranceReader
from ser.data.datadir import spk2utt, validate
from ser.data.segments import subsegment, utterance_of

RATE = 16000


def make(folder: Path, seconds: dict[str, float], noise: bool = False) -> Path:
    """A data directory of recordings of white noise."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, length in seconds.items():
        soundfile.write(folder / f"{name}.wav", random.uniform(-0.5, 0.5, round(length * RATE)), RATE)
    utt2spk = {name: name.split("-")[0] for name in seconds}
    tables = {
        "wav.scp": {name: folder / f"{name}.wav" for name in seconds}, "utt2spk": utt2spk, "spk2utt": spk2utt(utt2spk),
        "utt2emo": dict.fromkeys(seconds, "happy"), "text": dict.fromkeys(seconds, "KIDS ARE TALKING"),
        "spk2gender": dict.fromkeys(set(utt2spk.values()), "f"),
    }
    for name, table in tables.items():
        write_table(folder / name, table)
    return folder


def test_blocks_are_whole_and_named_as_kaldi_names_them(tmp_path: Path) -> None:
    src = make(tmp_path / "all", {"s1-a": 3.4, "s1-b": 0.999, "s2-c": 2.0})
    assert subsegment(src, tmp_path / "all_1s", 1.0) == ["s1-b"]
    tables = validate(tmp_path / "all_1s", need=("wav.scp", "utt2emo", "segments"))
    assert tables["segments"] == {
        "s1-a-00000000-00000100": "s1-a 0.000 1.000", "s1-a-00000100-00000200": "s1-a 1.000 2.000",
        "s1-a-00000200-00000300": "s1-a 2.000 3.000",
        "s2-c-00000000-00000100": "s2-c 0.000 1.000", "s2-c-00000100-00000200": "s2-c 1.000 2.000",
    }
    assert set(tables["utt2dur"].values()) == {"1"} and set(tables["wav.scp"]) == {"s1-a", "s2-c"}
    assert "text" not in tables and set(tables["spk2gender"]) == {"s1", "s2"}
    assert {utterance_of(block) for block in tables["segments"]} == {"s1-a", "s2-c"}
    whole = soundfile.read(src / "s1-a.wav", dtype="float32")[0]
    for block, waveform in UtteranceReader(tmp_path / "all_1s", RATE):
        assert len(waveform.samples) == RATE
        if block == "s1-a-00000100-00000200":
            assert np.array_equal(waveform.samples, whole[RATE : 2 * RATE] * 32768)


def test_remainders_and_other_lengths(tmp_path: Path) -> None:
    src = make(tmp_path / "all", {"s1-a": 3.4, "s1-b": 0.3, "s1-c": 1.5})
    assert subsegment(src, tmp_path / "pad", 1.0, "pad") == []
    segments = read_table(tmp_path / "pad" / "segments")
    assert segments["s1-a-00000300-00000340"] == "s1-a 3.000 3.400" and segments["s1-b-00000000-00000030"]
    subsegment(src, tmp_path / "short", 0.1)
    counts = Counter(map(utterance_of, read_table(tmp_path / "short" / "segments")))
    assert counts == {"s1-a": 34, "s1-b": 3, "s1-c": 15}


def test_segments_are_cut_where_they_lie(tmp_path: Path) -> None:
    src = make(tmp_path / "all", {"s1-a": 5.0})
    write_table(src / "segments", {"s1-a1": "s1-a 0.5 2.75", "s1-a2": "s1-a 3 -1"})
    for name, value in {"utt2spk": "s1", "utt2emo": "sad", "text": "DOGS"}.items():
        write_table(src / name, dict.fromkeys(("s1-a1", "s1-a2"), value))
    write_table(src / "spk2utt", {"s1": "s1-a1 s1-a2"})
    subsegment(src, tmp_path / "cut", 1.0)
    assert list(read_table(tmp_path / "cut" / "segments").values()) == [
        "s1-a 0.500 1.500", "s1-a 1.500 2.500", "s1-a 3.000 4.000", "s1-a 4.000 5.000"
    ]


def test_what_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    src = make(tmp_path / "all", {"s1-a": 0.5})
    with pytest.raises(SerError, match="no utterance is 1 s long; choose a smaller --length"):
        subsegment(src, tmp_path / "out", 1.0)
    with pytest.raises(SerError, match="--length 0: seconds"):
        subsegment(src, tmp_path / "out", 0)
    with pytest.raises(SerError, match="is the source as well"):
        subsegment(src, src, 0.1)
    for name, line in (("utt2perturb", "speed 0.9"), ("utt2noise", f"10 0 {src / 's1-a.wav'}")):
        write_table(src / name, {"s1-a": line})
        with pytest.raises(SerError, match=rf"is a copy of whole utterances \(it has {name}\)"):
            subsegment(src, tmp_path / "out", 0.1)
        (src / name).unlink()
    assert not (tmp_path / "out").exists()


def test_blocks_of_iemocap_are_as_many_as_its_lengths_make(shared: Path, tmp_path: Path) -> None:
    """Blocks of the improvised part, from the real turns' lengths: 8870 of four classes, 10036 with excitement."""
    src = tmp_path / "all"
    rows = [line.split("\t") for line in (shared / "metadata/iemocap_lengths.tsv").read_text().splitlines()[1:]]
    turns = {row[0]: row for row in rows if "impro" in row[0]}
    utt2spk = dict.fromkeys(turns, "S")
    sound = tmp_path / "a.wav"
    soundfile.write(sound, np.zeros(10), RATE)
    src.mkdir()
    label, length = (1, 2)
    for name, table in {
        "wav.scp": dict.fromkeys(turns, sound), "utt2spk": utt2spk, "spk2utt": spk2utt(utt2spk),
        "utt2emo": {turn: row[label] for turn, row in turns.items()},
        "utt2dur": {turn: f"{int(row[length]) / RATE:.6g}" for turn, row in turns.items()},
    }.items():
        write_table(src / name, table)
    validate(src, need=("wav.scp",), speaker_order=False)
    subsegment(src, tmp_path / "blocks", 1.0)
    counts = Counter(read_table(tmp_path / "blocks" / "utt2emo").values())
    assert counts == {"ang": 1183, "hap": 1040, "exc": 2206, "sad": 2712, "neu": 3935}


def test_the_shell_tool(shell, tmp_path: Path) -> None:
    src = make(tmp_path / "all", {"s1-a": 2.4, "s1-b": 0.5})
    done = shell(f"utils/subsegment_data_dir.sh --length 1 --remainder drop {src} {tmp_path}/all_1s")
    assert f"all_1s: 2 blocks of 1 s of 1 utterances in {src}; 1 others have none" in done.stdout
    assert "have no block of 1 s: s1-b" in done.stderr
    assert "2 utterances of 1 speakers" in shell(f"validate_data_dir.sh --no-feats {tmp_path}/all_1s").stdout
