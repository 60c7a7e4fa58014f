"""Cutting the utterances of a data directory into blocks of one length, end to end."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ser.base.errors import SerError
from ser.data import rearrange
from ser.data.datadir import HOW_MADE, TABLES, UTTERANCE_TABLES, DataDir, Tables, validate
from ser.data.durations import durations

REMAINDERS = ("drop", "pad")
_SHORTEST = 0.01  # seconds: ids have times in units of this, and a remainder that is shorter is none
_OF_WHOLE_UTTERANCES = (
    "feats.scp", "vad.scp", "utt2num_frames", "utt2dur", "text", "utt2uniq", "cmvn.scp", "segments", "spk2utt",
    "units.scp", "units.txt", "styles.scp",
)
_BLOCK = re.compile(r"(?P<utterance>.+)-(?P<start>\d{8})-(?P<end>\d{8})")


def utterance_of(block: str) -> str:
    """Return the utterance that a block of `subsegment` was cut from; anything else is its own."""
    match = _BLOCK.fullmatch(block)
    return match["utterance"] if match else block


def start_of(block: str) -> float:
    """Return where a block of `subsegment` begins in its utterance, in seconds; anything else begins at 0."""
    match = _BLOCK.fullmatch(block)
    return int(match["start"]) / 100 if match else 0.0


def count_blocks(labels: Mapping[str, str], of_blocks: Mapping[str, str]) -> list[tuple[str, int, int, int]]:
    """Count, of each class, utterances, utterances with a block, and blocks.

    Args:
        labels: class of each utterance (`utt2emo`).
        of_blocks: class of each block.
    """
    utterances, blocks = Counter(labels.values()), Counter(of_blocks.values())
    with_blocks = Counter(labels[utterance] for utterance in set(map(utterance_of, of_blocks)))
    return [(label, utterances[label], with_blocks[label], blocks[label]) for label in sorted(utterances)]


def subsegment(
    src: str | os.PathLike[str], dst: str | os.PathLike[str], length: float, remainder: str = "drop"
) -> list[str]:
    """Write a data directory of the blocks of `length` seconds that the utterances of `src` are made of.

    Blocks begin at the beginning of their utterance and follow each other; their ids are Kaldi's of uniform
    subsegments, `<utterance>-<start>-<end>` in 1/100 s, eight digits each. `segments` says where they are in the
    recordings. Labels, speakers and recordings are those of `src`; features and words are left out.

    Args:
        src: a valid data directory of clean speech; it may have `segments` of its own.
        length: seconds of a block, 0.01 or more.
        remainder: what becomes of the end of an utterance that fills no block. `drop` leaves it out; `pad` makes it a
            block that ends where the utterance does, which steps of a fixed length fill up with silence.

    Returns:
        The utterances of which there is no block.

    Raises:
        SerError: `src` is not valid or a copy, a length is out of range, no utterance is long enough, or two
            blocks would have one id.
    """
    src, dst = Path(src), Path(dst)
    if not _SHORTEST <= length < float("inf"):
        raise SerError(f"--length {length:g}: seconds, {_SHORTEST} or more")
    if src.resolve() == dst.resolve():
        raise SerError(f"{dst}: is the source as well; write to another directory")
    tables = validate(src, need=("wav.scp",), speaker_order=False)
    if made_by := [name for name in HOW_MADE if name in tables]:
        raise SerError(f"{src}: is a copy of whole utterances (it has {made_by[0]}); cut the original data, then make "
                       "copies of the blocks")
    whole = tables.get("segments") or {utterance: f"{utterance} 0" for utterance in tables["utt2spk"]}
    origin: dict[str, str] = {}
    made: Tables = {"segments": {}, "utt2dur": {}}
    without = []
    for utterance, seconds in durations(DataDir(src)).items():
        ends = _ends(seconds, length, remainder)
        if not ends:
            without.append(utterance)
        recording, begin = whole[utterance].split()[:2]
        for number, end in enumerate(ends):
            start = number * length
            block = f"{utterance}-{_hundredths(start):08d}-{_hundredths(end):08d}"
            if block in origin:
                raise SerError(f"{src}: {utterance} and {origin[block]} both have a block {block}; rename one of them")
            origin[block] = utterance
            made["segments"][block] = f"{recording} {float(begin) + start:.3f} {float(begin) + end:.3f}"
            made["utt2dur"][block] = f"{end - start:.6g}"
    if not origin:
        raise SerError(f"{src}: no utterance is {length:g} s long; choose a smaller --length, or --remainder pad")
    for name in (name for name in TABLES if name in tables and name not in _OF_WHOLE_UTTERANCES):
        table = tables[name]
        made[name] = {block: table[origin[block]] for block in origin} if name in UTTERANCE_TABLES else table
    rearrange.write(dst, rearrange.restrict(made, made["utt2spk"]), {})
    return without


def _ends(seconds: float, length: float, remainder: str) -> list[float]:
    """Return where the blocks of an utterance end, in seconds from its beginning."""
    full = int(seconds / length + 1e-6)
    ends = [(number + 1) * length for number in range(full)]
    if remainder == "pad" and seconds - full * length >= _SHORTEST:
        ends.append(seconds)
    return ends


def _hundredths(seconds: float) -> int:
    return int(100 * seconds + 1e-6)
