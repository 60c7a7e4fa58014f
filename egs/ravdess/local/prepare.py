#!/usr/bin/env python3
"""Data directories out of RAVDESS speech, fetched from its public archive when it is not there.

The corpus is folders Actor_01 … Actor_24 of files 03-01-EE-II-SS-RR-AA.wav: audio only, speech, emotion, intensity,
statement, repetition, actor. Leaves <data-dir>/all and <data-dir>/fold<k>/{train,dev,test} as ../conf/folds.txt says.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections import Counter
from pathlib import Path

from ser.base.archive import fetch_archive
from ser.base.errors import SerError, run_main
from ser.base.words import some
from ser.data import corpus
from ser.data.corpus import EmotionRecording

FOLDS = Path(__file__).resolve().parent.parent / "conf" / "folds.txt"
URL = "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1"
SIZE, MD5 = 208_468_073, "bc696df654c87fed845eb13823edef8a"
ACTORS = range(1, 25)
EMOTIONS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad",
    "05": "angry", "06": "fearful", "07": "disgust", "08": "surprised",
}  # fmt: skip
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
CLASSES = {"neutral": "neutral", "happy": "happy", "sad": "sad", "angry": "angry"}
REMEDY = "name the folder that holds Actor_01 … Actor_24, or a new folder to have the corpus fetched into"


def official_files() -> list[str]:
    """Return the names of the 1440 files of the speech archive, 60 per actor; neutral has no strong intensity."""
    return [
        f"Actor_{actor:02d}/03-01-{emotion}-{intensity}-{statement}-{repetition}-{actor:02d}.wav"
        for actor, emotion, intensity, statement, repetition in itertools.product(
            ACTORS, EMOTIONS, ("01", "02"), STATEMENTS, ("01", "02")
        )
        if (emotion, intensity) != ("01", "02")
    ]


def fetch(folder: Path, url: str = URL, size: int = SIZE, md5: str = MD5) -> None:
    """Make `folder` from the public archive; it appears when it is complete. A killed run's download is continued."""
    print(f"{folder} does not exist: fetching RAVDESS speech (CC BY-NC-SA 4.0)")
    fetch_archive(url, folder, ".", len(official_files()), size=size, md5=md5)


def find(folder: Path, calm: str, allow_partial: bool) -> list[EmotionRecording]:
    """Return the recordings of the classes used; print what is left out and which official files are missing.

    Raises:
        SerError: there are no recordings, one is in another actor's folder, or (unless `allow_partial`) a class is
            incomplete.
    """
    corpus.require_folder(folder, "Actor_*/*.wav", REMEDY)
    classes = CLASSES | ({"calm": "neutral"} if calm == "neutral" else {})
    official = set(official_files())
    recordings, found, other = [], Counter(), []
    for path in sorted(folder.glob("Actor_*/*.wav")):
        name = f"{path.parent.name}/{path.name}"
        if name in official:
            emotion, statement = (path.name.split("-")[field] for field in (2, 4))
            emotion = EMOTIONS[emotion]
            found[emotion] += 1
            official.remove(name)
            if emotion in classes:
                speaker = path.parent.name.replace("_", "")
                recordings.append(EmotionRecording(f"{speaker}-{path.stem}", speaker, classes[emotion], path,
                                                   text=STATEMENTS[statement]))
        elif (match := re.fullmatch(r"03-01-.*-(\d\d)\.wav", path.name)) and match[1] != path.parent.name[-2:]:
            raise SerError(f"{path}: a recording of actor {match[1]} in another's folder; move it to Actor_{match[1]}")
        else:
            other.append(name)
    if other:
        corpus.warn(f"{folder}: {len(other)} files are no RAVDESS speech (song? a copy?) and are ignored: "
                    f"{some(other)}")
    if missing := sorted(official):
        lacking = Counter(EMOTIONS[name.split("-")[2]] for name in missing)
        corpus.warn(f"{folder}: {len(missing)} of the 1440 official recordings are not here: "
                    + ", ".join(f"{emotion} {count}" for emotion, count in sorted(lacking.items())))
    per_emotion = Counter(EMOTIONS[name.split("-")[2]] for name in official_files())
    corpus.check_counts(str(folder), found, {emotion: per_emotion[emotion] for emotion in classes}, allow_partial)
    unused = sorted(found.keys() - classes.keys())
    print("left out: " + (", ".join(f"{emotion} {found[emotion]}" for emotion in unused) or "no emotion")
          + (f"; calm {found['calm']} joined to neutral" if calm == "neutral" else ""))
    return recordings


def main() -> None:
    parser = corpus.Parser(__doc__, fetched="ravdess")
    parser.add_argument("--calm", choices=("neutral", "drop"), default="neutral",
                        help="join calm to neutral, or leave it out (default %(default)s)")
    parser.add_argument("--url", default=URL, help=argparse.SUPPRESS)  # a mirror of the same archive
    args = parser.parse_args()
    if not args.corpus_dir.exists():
        fetch(args.corpus_dir, args.url)
    recordings = find(args.corpus_dir, args.calm, args.allow_partial)
    seconds = corpus.measure(recordings, args.nj, args.allow_partial)
    sets = {"all": recordings} | corpus.split_by_speaker(recordings, corpus.read_lists(FOLDS))
    corpus.write_sets(args.data_dir, sets, seconds)


if __name__ == "__main__":
    run_main(main)
