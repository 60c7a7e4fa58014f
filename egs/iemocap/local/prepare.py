#!/usr/bin/env python3
"""Data directories out of IEMOCAP: labels from dialog/EmoEvaluation, audio from sentences/wav.

Leaves <data-dir>/all and <data-dir>/fold<k>/{train,dev,test} as ../conf/folds.txt says. The speaker of a turn is its
session and its own F or M: Ses01F_impro01_M003 is spoken by Ses01M (the F before it is the one who wore the markers).
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from ser.base.errors import SerError, run_main
from ser.data import corpus
from ser.data.corpus import EmotionRecording

FOLDS = Path(__file__).resolve().parent.parent / "conf" / "folds.txt"
CLASSES = {"ang": "angry", "hap": "happy", "neu": "neutral", "sad": "sad"}
DATASETS = {"ahsn": CLASSES, "aesn": {"ang": "angry", "exc": "excited", "neu": "neutral", "sad": "sad"}}
IMPROVISED = re.compile(r"Ses0[1-5][FM]_impro\w+")
COUNTS = {"ang": 1103, "hap": 595, "exc": 1041, "sad": 1084, "neu": 1708}
TURN = re.compile(r"(Ses0[1-5])[FM]_\w+_([FM])\w+")
LINE = re.compile(r"\[\d+\.\d+ - \d+\.\d+\]\t(\S+)\t([a-z]{3})\t\[.*\]")
REMEDY = "name the folder that holds Session1 … Session5 (often called IEMOCAP_full_release)"


def read_evaluation(path: Path) -> list[tuple[str, str]]:
    """Read the name and label of each turn in one dialog's file, skipping the lines of single annotators.

    Raises:
        SerError: a line that begins like that of a turn has another form.
    """
    turns = []
    for number, line in enumerate(path.read_bytes().decode("utf-8-sig", errors="replace").splitlines(), 1):
        line = line.rstrip()
        if not line.startswith("["):
            continue
        match = LINE.fullmatch(line)
        if match is None or not TURN.fullmatch(match[1]):
            raise SerError(f"{path}:{number}: expected '[start - end] turn label [v, a, d]' with tabs between, "
                           f"found {line!r}; copy the file again")
        turns.append((match[1], match[2]))
    return turns


def find(
    folder: Path, merge_excited: bool, allow_partial: bool, dataset: str = "ahsn", improvised: bool = False
) -> list[EmotionRecording]:
    """Return the turns of the classes used, of all dialogs or of improvised ones, and print what is left out.

    Raises:
        SerError: there are no sessions, or no improvised dialogs where those are asked for; a file is malformed, a turn
            is labelled twice, or (unless `allow_partial`) the counts are not those of the full release.
    """
    if merge_excited and dataset == "aesn":
        raise SerError("--merge-excited true makes excitement happiness, which --dataset aesn has not; leave one out")
    corpus.require_folder(folder, "Session*/dialog/EmoEvaluation/*.txt", REMEDY)
    classes = DATASETS[dataset] | ({"exc": "happy"} if merge_excited else {})
    recordings, found, scripted, labelled = [], Counter(), 0, {}
    for path in sorted(folder.glob("Session[1-5]/dialog/EmoEvaluation/*.txt")):
        if path.name.startswith("."):  # `._*`, which macOS leaves
            continue
        for turn, label in read_evaluation(path):
            if turn in labelled:
                raise SerError(f"{path}: turn {turn} was labelled in {labelled[turn]} already; remove one of them")
            labelled[turn] = path
            found[label] += 1
            if label in classes and improvised and not IMPROVISED.fullmatch(path.stem):
                scripted += 1
            elif label in classes:
                match = TURN.fullmatch(turn)
                speaker = match[1] + match[2]
                wav = path.parents[2] / "sentences" / "wav" / path.stem / f"{turn}.wav"
                recordings.append(EmotionRecording(f"{speaker}-{turn}", speaker, classes[label], wav))
    if absent := [n for n in range(1, 6) if not (folder / f"Session{n}").is_dir()]:
        corpus.warn(f"{folder}: has no " + ", ".join(f"Session{n}" for n in absent))
    corpus.check_counts(str(folder), found, COUNTS, allow_partial)
    left_out = ", ".join(f"{label} {found[label]}" for label in sorted(found.keys() - classes.keys()))
    print(f"left out: {left_out or 'no label'}"
          + (f"; exc {found['exc']} joined to happy" if merge_excited else "")
          + (f"; {scripted} scripted turns of the classes used" if improvised else ""))
    if not recordings and improvised:
        raise SerError(f"{folder}: has no improvised dialogs (Session*/dialog/EmoEvaluation/Ses*_impro*.txt); complete "
                       "the release, or use --scenario all")
    return recordings


def main() -> None:
    parser = corpus.Parser(__doc__, licensed="IEMOCAP")
    parser.add_argument("--merge-excited", type=corpus.boolean, default=False, metavar="true|false",
                        help="join excited to happy (default false: left out, as in the paper)")
    parser.add_argument("--scenario", choices=("all", "improvised"), default="all", help="which dialogs (default: all)")
    parser.add_argument("--dataset", choices=tuple(DATASETS), default="ahsn",
                        help="anger, happiness, sadness, neutral; or excitement for happiness (default: ahsn)")
    args = parser.parse_args()
    recordings = find(
        args.corpus_dir, args.merge_excited, args.allow_partial, args.dataset, args.scenario == "improvised"
    )
    seconds = corpus.measure(recordings, args.nj, args.allow_partial)
    sets = {"all": recordings} | corpus.split_by_speaker(recordings, corpus.read_lists(FOLDS))
    corpus.write_sets(args.data_dir, sets, seconds)


if __name__ == "__main__":
    run_main(main)
