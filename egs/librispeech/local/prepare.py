#!/usr/bin/env python3
"""Data directories for speaker recognition out of LibriSpeech, fetched from openslr.org when it is not there.

The corpus is a folder of subsets (train-clean-100, test-other …), each of folders <speaker>/<chapter>/ (or just
<speaker>/) of files <speaker>-<chapter>-<number>.flac. Leaves <data-dir>/train, <data-dir>/dev (other recordings of
speakers of train) and <data-dir>/test (other speakers) with `trials`, drawn here because the corpus has none.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ser.base.archive import fetch_archive
from ser.base.errors import SerError, run_main
from ser.base.words import some
from ser.data import corpus
from ser.data import speaker_corpus as speakers
from ser.data.speaker_corpus import SpeakerRecording

URL = "https://www.openslr.org/resources/12"
SUBSETS = {  # MD5 of the archive, and its recordings
    "dev-clean": ("42e2234ba48799c1f50f24a7926300a1", 2703),
    "dev-other": ("c8d0bcc9cca99d4f8b62fcc847357931", 2864),
    "test-clean": ("32fa31d27d2e1cad72775fee3f4849a9", 2620),
    "test-other": ("fb5a50374b501bb3bac4815ee91d3135", 2939),
    "train-clean-100": ("2a93770f6d5c6c964bc36631d331a522", 28539),
    "train-clean-360": ("c0e676e450a7ff2f54aeade5171606fa", 104014),
    "train-other-500": ("d1a0fd59409feb2c614ce4d30c387708", 148688),
}
NAME = re.compile(r"(\d+)-(\d+)-(\d+)\.flac")
REMEDY = "name the folder that holds train-clean-100 and its like, or a new folder to have them fetched into"


def fetch(folder: Path, subsets: Sequence[str], url: str) -> None:
    """Make `folder` with these subsets from their archives; it appears when all are there.

    A killed run's downloads and unpacked subsets are used.
    """
    unknown = [subset for subset in subsets if subset not in SUBSETS]
    if unknown:
        raise SerError(f"{some(unknown)}: no such part of LibriSpeech; there are {', '.join(SUBSETS)}")
    partial = folder.with_name(folder.name + ".partial")
    print(f"{folder} does not exist: fetching {' and '.join(subsets)} of LibriSpeech (CC BY 4.0) into {partial}")
    for subset in subsets:
        md5, number = SUBSETS[subset]
        if not (partial / subset).is_dir():
            fetch_archive(f"{url}/{subset}.tar.gz", partial / subset, f"LibriSpeech/{subset}", number, md5=md5)
    partial.rename(folder)


def find(folder: Path, subsets: Sequence[str]) -> list[SpeakerRecording]:
    """Return the recordings of these subsets, and print how much of each is there.

    Raises:
        SerError: a subset is missing or empty, or a recording is in another speaker's folder.
    """
    found: list[SpeakerRecording] = []
    other: list[str] = []
    for subset in subsets:
        corpus.require_folder(folder, f"{subset}/*", REMEDY)
        before = len(found)
        for parent, folders, names in os.walk(folder / subset):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(parent, name)
                if not (match := NAME.fullmatch(name)):
                    if not name.endswith(".trans.txt"):
                        other.append(path)
                    continue
                speaker, chapter, number = match.groups()
                if Path(path).relative_to(folder / subset).parts[0] != speaker:
                    raise SerError(f"{path}: a recording of speaker {speaker} in another's folder; move it to "
                                   f"{folder / subset / speaker}")
                found.append(speakers.file_recording(path, os.stat(path), f"{speaker:0>4}", chapter,
                                                     f"{chapter:0>6}-{number}"))
        if len(found) == before:
            raise SerError(f"{folder / subset}: holds no recordings <speaker>-<chapter>-<number>.flac; {REMEDY}")
        whole = f" (published: {SUBSETS[subset][1]})" if subset in SUBSETS else ""
        print(f"{subset}: {len(found) - before} recordings{whole} of "
              f"{len({recording.speaker for recording in found[before:]})} speakers")
    if other:
        corpus.warn(f"{folder}: {len(other)} files are not named as LibriSpeech's and are ignored: "
                    f"{some(other)}")
    return found


def main() -> None:
    parser = corpus.Parser(__doc__, fetched="librispeech")
    parser.add_argument("--train-subsets", default="train-clean-100", metavar='"S…"', help="(default %(default)s)")
    parser.add_argument("--test-subsets", default="test-other", metavar='"S…"', help="(default %(default)s)")
    parser.add_argument("--dev-speakers", type=int, default=500, help="speakers of dev at most (default %(default)s)")
    parser.add_argument("--num-trials", type=int, default=10, metavar="N",
                        help="trials of one speaker, and of two, for each test recording at most (default %(default)s)")
    parser.add_argument("--trial-seed", type=int, default=0, help="which trials (default %(default)s)")
    parser.add_argument("--url", default=URL, help=argparse.SUPPRESS)  # a mirror
    args = parser.parse_args()
    for option, value in (("--dev-speakers", args.dev_speakers), ("--num-trials", args.num_trials)):
        if value < 1:
            raise SerError(f"{option} {value}: at least 1")
    of_train, of_test = args.train_subsets.split(), args.test_subsets.split()
    if not of_train or not of_test:
        raise SerError("--train-subsets and --test-subsets cannot be empty")
    if both := set(of_train) & set(of_test):
        raise SerError(f"{some(sorted(both))}: both in --train-subsets and in --test-subsets; choose")
    folder = args.corpus_dir.absolute()
    if not folder.exists():
        fetch(folder, [*of_train, *of_test], args.url)

    train, test = find(folder, of_train), find(folder, of_test)
    speakers.require_unique([*train, *test], "remove one of the copies from the corpus")
    seconds = corpus.measure([*train, *test], args.nj, args.allow_partial)
    train, test = ([recording for recording in part if recording.utterance in seconds] for part in (train, test))
    utt2spk = {recording.utterance: recording.speaker for recording in test}
    train = speakers.without(train, set(utt2spk.values()), "who are in the test set")
    trials = speakers.draw_trials(utt2spk, args.num_trials, args.trial_seed)
    print(f"trials: {len(trials)}, {sum(target for target, _, _ in trials)} of one speaker, drawn with seed "
          f"{args.trial_seed}")
    train, dev = speakers.hold_out(train, args.dev_speakers)
    corpus.write_sets(args.data_dir, {"train": train, "dev": dev, "test": test}, seconds, trials)


if __name__ == "__main__":
    run_main(main)
