#!/usr/bin/env python3
"""Write the data directories train, dev and test of the mini corpus from its audio's `recordings.tsv` files."""

from __future__ import annotations

import argparse
from pathlib import Path

from mini import corpus
from mini.units import COLUMNS

from ser.base.errors import SerError, run_main
from ser.base.kaldi_tables import write_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus_dir", type=Path, help="folder that synthesize.py filled")
    parser.add_argument("data_dir", type=Path, help="folder to write train, dev and test in")
    args = parser.parse_args()
    for split in corpus.SPLITS:
        members = [speaker for speaker, (its_split, _) in corpus.speakers().items() if its_split == split]
        write_split(args.data_dir / split, {name: args.corpus_dir.resolve() / name for name in members})


def write_split(data: Path, folders: dict[str, Path]) -> None:
    """Write wav.scp, utt2spk, spk2utt and utt2emo of the speakers with these folders."""
    tables: dict[str, dict[str, str]] = {name: {} for name in ("wav.scp", "utt2spk", "spk2utt", "utt2emo")}
    for speaker, folder in folders.items():
        recordings = read_recordings(folder / "recordings.tsv")
        tables["spk2utt"][speaker] = " ".join(sorted(recordings))
        for utterance, row in recordings.items():
            tables["wav.scp"][utterance] = str(folder / f"{utterance}.wav")
            tables["utt2spk"][utterance] = speaker
            tables["utt2emo"][utterance] = row["emotion"]
    for name, table in tables.items():
        write_table(data / name, table)


def read_recordings(path: Path) -> dict[str, dict[str, str]]:
    """Rows of a `recordings.tsv` by utterance id."""
    if not path.is_file():
        raise SerError(f"{path}: no such file; run synthesize.py to the end first")
    rows = [dict(zip(COLUMNS, line.split("\t"), strict=True)) for line in path.read_text().splitlines()[1:]]
    return {row["utterance"]: row for row in rows}


if __name__ == "__main__":
    run_main(main)
