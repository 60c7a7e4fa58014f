"""Copies of a data directory's utterances, whose audio another table changes while it is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ser.base.errors import SerError
from ser.base.kaldi_tables import write_table
from ser.data.datadir import HOW_MADE, SPEAKER_TABLES, TABLES, DataDir, spk2utt, validate

# Tables made from the audio are not copied, except for the VAD, which is right for the speech in the mix.
OF_CLEAN_AUDIO = ("feats.scp", "utt2num_frames", "cmvn.scp", "utt2cmvn", "utt2num_cmvn", "utt2noise", "units.scp",
                  "units.txt", "styles.scp")


def copied_tables(data: DataDir, suffixes: Collection[str], with_vad: bool) -> dict[str, dict[str, str]]:
    """Return the copies' tables but the one of `HOW_MADE`: one row for each suffix, which their ids get.

    Speaker ids stay. Copies of copies (of other speeds, say) keep the original in utt2uniq.
    """
    left_out = (*OF_CLEAN_AUDIO, "spk2utt", *(() if with_vad else ("vad.scp",)))
    tables = {name: data.table(name) for name in TABLES if name not in left_out and data.has(name)}
    tables.setdefault("utt2uniq", {utterance: utterance for utterance in data.utterances})
    copy: dict[str, dict[str, str]] = {}
    for name, table in tables.items():
        if name in SPEAKER_TABLES:
            copy[name] = table
        elif name == "segments":
            rows = {utterance: value.split(None, 1) for utterance, value in table.items()}
            copy[name] = {u + s: f"{recording}{s} {times}" for u, (recording, times) in rows.items() for s in suffixes}
        else:
            copy[name] = {key + suffix: value for key, value in table.items() for suffix in suffixes}
    return copy | {"spk2utt": spk2utt(copy["utt2spk"])}


def is_whole(out_dir: Path, names: Iterable[str]) -> bool:
    """Return whether the tables are there and agree.

    They may differ from what was written: steps/make_mfcc.sh may since have dropped an utterance or written utt2dur,
    and a rerun must not undo that.
    """
    if not all((out_dir / name).is_file() for name in names):
        return False
    try:
        validate(out_dir, need=())
    except SerError:
        return False
    return True


def write_copy(out_dir: Path, copy: Mapping[str, Mapping[str, object]]) -> None:
    """Write these tables to `out_dir` and remove all others.

    The table that says how copies are made is written first and utt2spk last, so that what a killed run leaves is never
    taken for clean data, nor for a data directory.
    """
    (out_dir / "utt2spk").unlink(missing_ok=True)
    for name in TABLES:
        if name not in copy:
            (out_dir / name).unlink(missing_ok=True)
    for name in sorted(copy, key=lambda name: (name not in HOW_MADE, name == "utt2spk")):
        write_table(out_dir / name, copy[name])
