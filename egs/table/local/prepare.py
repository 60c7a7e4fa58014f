#!/usr/bin/env python3
"""Data directories out of a table: a CSV or TSV file with a path and an emotion in each row (egs/table/README.md).

Leaves <data-dir>/{train,dev,test} where the table has splits, else <data-dir>/all, <data-dir>/fold<k>/{train,dev,test}.
Speakers that it has to draw (of folds, or of dev) are drawn once and kept in <data-dir>/local/speakers.txt.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from ser.base.errors import SerError, run_main
from ser.base.files import write_text
from ser.base.kaldi_tables import read_table
from ser.base.words import some
from ser.data import corpus, corpus_table, speaker_splits, table_recordings
from ser.data.corpus import EmotionRecording, Parser
from ser.data.corpus_table import Table, emotion_name
from ser.data.labels import NEUTRAL
from ser.data.speaker_splits import Sets

RECIPE = Path(__file__).resolve().parents[1]
RECORD, SPEAKERS = Path("local", "table.json"), Path("local", "speakers.txt")  # in the folder of data directories
NO_TABLE = "--corpus-dir: name the table, a CSV or TSV file with a path and an emotion in each row"
NO_NEUTRAL = ("no emotion is called neutral, which N-CP and the diluted test need; if one is that by another name, say "
              'so: --rename "calm=neutral"')


def main() -> None:
    parser = corpus.Parser(__doc__)
    parser.add_argument("--rename", type=renames, default="", metavar='"OLD=NEW,…"',
                        help="rename emotions, or join them")
    parser.add_argument("--emotions", type=emotion_list, default="", metavar='"A B…"',
                        help="the emotions to use, by their new names (default: all that occur)")
    parser.add_argument("--no-speakers", type=corpus.boolean, default=False, metavar="true|false",
                        help="nobody knows who speaks: files, not speakers, are divided into train, dev and test, and "
                        "scores are optimistic (default false)")
    if sys.argv[1:2] == ["--facts"]:
        print("\n".join(facts(parser, sys.argv[2:])))
        return
    args = parser.parse_args()
    if args.corpus_dir is None:
        raise SerError(NO_TABLE)
    refuse_other_table(args.data_dir, args.corpus_dir)
    table = read_selected(args, tell=True)
    recordings = table_recordings.recordings(table)
    seconds = table_recordings.measure(table, recordings, args.nj, args.allow_partial)
    sets = divide(table, recordings, args.data_dir / SPEAKERS)
    check_training(table, sets)
    corpus.write_sets(args.data_dir, sets, seconds)
    record = {"table": str(args.corpus_dir.resolve()), "emotions": table.emotions, "folds": folds(table, args.data_dir)}
    write_text(args.data_dir / RECORD, json.dumps(record) + "\n")


def renames(text: str) -> str:
    """Return OLD=NEW pairs in one spelling and order."""
    pairs = [pair.split("=") for pair in text.split(",") if pair.strip()]
    if any(len(pair) != 2 or not all(map(str.strip, pair)) for pair in pairs):
        raise argparse.ArgumentTypeError(f"expected OLD=NEW,OLD=NEW…, found '{text}'")
    return ",".join(sorted("=".join(map(emotion_name, pair)) for pair in pairs))


def emotion_list(text: str) -> str:
    """Return emotions in one spelling and order."""
    return " ".join(sorted({emotion_name(name) for name in re.split("[ ,]+", text) if name}))


def facts(parser: Parser, words: Sequence[str]) -> list[str]:
    """Return what is true of the table as words of run.sh, for the words that it was given.

    Without --corpus-dir they are those of the lists that are there.

    Raises:
        SerError: the table is bad, or a CopyPaste scheme needs neutral utterances that it has not.
    """
    driver = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    driver.add_argument("--work-dir", type=Path)
    driver.add_argument("--task", default="emotion")
    driver.add_argument("--scheme", default="")
    driver.add_argument("--musan-dir", default="")
    said, rest = driver.parse_known_args(words)
    args, _ = parser.parse_known_args(rest)
    if args.corpus_dir is None and said.work_dir is None:
        raise SerError(NO_TABLE)
    work = said.work_dir or RECIPE / args.corpus_dir.stem
    if said.work_dir is None and work.name in ("local", "conf"):
        raise SerError(f"{args.corpus_dir}: egs/table/{work.name} is taken; name another folder with --work-dir")
    name = parser.data_name(args)
    data = work / ("data" + (f"_{name}" if name else ""))
    if args.corpus_dir is None:
        if not (data / RECORD).is_file():
            raise SerError(f"{data}: has no lists yet; {NO_TABLE.removeprefix('--corpus-dir: ')} (--corpus-dir)")
        record = json.loads((data / RECORD).read_text(encoding="utf-8"))
        emotions, of_folds = record["emotions"], record["folds"]
    else:
        table = read_selected(args)
        emotions, of_folds = table.emotions, folds(table, data)
    found = ["--work-dir", str(work.absolute())]
    if of_folds:
        found += ["--all-folds", " ".join(of_folds)]
    if said.task != "emotion":
        return found
    if NEUTRAL not in emotions:
        found += ["--scheme", "none se-cp"]
        if pasting := [scheme for scheme in said.scheme.split() if scheme in ("n-cp", "n+se-cp")]:
            raise SerError(f"--scheme {some(pasting)}: {NO_NEUTRAL}; the emotions are {some(emotions, 30)}")
    if not said.musan_dir and not (data / "noise").is_dir():
        found += ["--test-snr", "none"]
    return found


def refuse_other_table(data: Path, table: Path) -> None:
    """Raise SerError if the lists in a folder are of another table than this one, so that none replaces another's."""
    if (data / RECORD).is_file():
        earlier = Path(json.loads((data / RECORD).read_text(encoding="utf-8"))["table"])
        if earlier != table.resolve() and earlier.exists():
            raise SerError(f"{data}: has the lists of {earlier}, not of {table.resolve()}; give this one a folder of "
                           "its own with --work-dir")


def read_selected(args: argparse.Namespace, tell: bool = False) -> Table:
    """Return the table with the emotions that are wanted; `tell` prints what was found."""
    table = corpus_table.read(args.corpus_dir, args.no_speakers)
    rename = dict(pair.split("=") for pair in args.rename.split(",") if pair)
    selected = corpus_table.select(table, rename, args.emotions.split())
    if tell:
        left_out = len(table.rows) - len(selected.rows)
        print(f"{args.corpus_dir}: {len(table.rows)} rows; columns used: {', '.join(table.roles)}; emotions: "
              f"{', '.join(selected.emotions)}" + (f"; {left_out} rows of others left out" if left_out else ""))
        if NEUTRAL not in selected.emotions:
            corpus.warn(f"{args.corpus_dir}: {NO_NEUTRAL}")
        if args.no_speakers:
            corpus.warn(f"{args.corpus_dir}: nobody knows who speaks, so THE TEST HAS VOICES OF THE TRAINING. Scores "
                        "are optimistic: expect less of new speakers, and do not compare with speaker-disjoint scores")
    return selected


def folds(table: Table, data: Path) -> list[str]:
    """Return the numbers of the folds, none where the table has train and test."""
    if "split" in table.roles:
        return [str(number) for number in table.folds]
    if (data / SPEAKERS).is_file():
        return [name.removeprefix("fold") for name in read_table(data / SPEAKERS, sorted_keys=False)]
    number = speaker_splits.number_of_groups(list(table_recordings.recordings(table)), speaker_splits.FEWEST_FOLDS)
    return [str(fold) for fold in range(1, number + 1)]


def divide(table: Table, rows: Mapping[EmotionRecording, int], speakers: Path) -> Sets:
    """Return the recordings of each set, by the table's splits or folds or, where it has none, by those in a file."""
    recordings = list(rows)
    if "split" not in table.roles:
        groups = speaker_splits.kept(speakers, lambda: speaker_splits.draw_folds(recordings), recordings)
        return speaker_splits.fold_sets(groups, recordings)
    split_of_row = {row.number: row.split for row in table.rows}
    by_split: Sets = defaultdict(list)
    for recording, row in rows.items():
        by_split[split_of_row[row]].append(recording)
    if table.folds:
        groups = {f"fold{number}": sorted({r.speaker for r in by_split[str(number)]}) for number in table.folds}
        return speaker_splits.fold_sets(groups, recordings)
    if not by_split["dev"]:
        groups = speaker_splits.kept(speakers, lambda: speaker_splits.draw_dev(by_split["train"]), by_split["train"])
        return corpus.split_by_speaker(by_split["train"], groups) | {"test": by_split["test"]}
    return dict(by_split)


def check_training(table: Table, sets: Sets) -> None:
    """Raise SerError if an emotion is in no recording of a training set."""
    for name, recordings in sets.items():
        absent = set(table.emotions) - {recording.emotion for recording in recordings}
        if Path(name).name == "train" and absent:
            emotion = min(absent)
            numbers = [row.number for row in table.rows if row.emotion == emotion]
            others = " ".join(other for other in table.emotions if other != emotion)
            raise SerError(
                f"{table.path}:{numbers[0]}: none of the {len(numbers)} rows that are {emotion} is in {name}, and a "
                f'model cannot learn what it never sees; join it to another (--rename "{emotion}=…"), or leave it out '
                f'(--emotions "{others}"), or record more speakers of it'
            )


if __name__ == "__main__":
    run_main(main)
