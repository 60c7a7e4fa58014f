#!/usr/bin/env python3
"""Data directories out of VoxCeleb1 and VoxCeleb2, and of NIST SRE and Switchboard where there are any.

A tree of recordings is a folder, `wav` or `aac` as published, of folders id<5 digits>/<video>/<number>.{wav,m4a}; all
of them below --corpus-dir are found. Leaves <data-dir>/train, <data-dir>/dev (other recordings of speakers of train)
and <data-dir>/test (the recordings that the list of trials names, and `trials`, that list in utterance ids).
"""

from __future__ import annotations

import argparse
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import telephone

from ser.base.errors import SerError, run_main
from ser.base.progress import progress
from ser.base.words import some
from ser.data import corpus
from ser.data import speaker_corpus as speakers
from ser.data.corpus import Trial
from ser.data.speaker_corpus import SpeakerRecording

SPEAKER = re.compile(r"id\d{5}")
TEST_PART = re.compile(r"(^|_)test(_|$)")  # vox1/test/wav, vox1_test_wav
NO_AUDIO = ("mp4", "txt")  # the videos of VoxCeleb2 and where the faces are, in the same shape
TRIAL_LISTS = ("veri_test.txt", "veri_test2.txt")
DEPTH = 4  # <corpus-dir>/<release>/<part>/wav, and one more
RELEASES = {"id1": ("VoxCeleb1", 1251, 153516), "id0": ("VoxCeleb2", 6112, 1128246)}  # speakers, recordings, all parts
DECODERS = {".wav": "", ".m4a": speakers.MONO_16K}  # in order of preference where a recording is there as both
REMEDY = "name the folder that holds vox1 and vox2, with folders wav (or aac) of folders id<5 digits> somewhere below"


@dataclass
class Tree:
    """A folder of speakers' folders; `is_test` marks the published test part, whose speakers are not trained on."""

    path: Path
    is_test: bool


@dataclass
class Found:
    """The contents of a speaker's folder."""

    recordings: list[SpeakerRecording] = field(default_factory=list)
    other: list[str] = field(default_factory=list)  # files that are no recordings
    doubled: int = 0  # recordings that are there as wav and as m4a


def find_trees(folder: Path) -> list[Tree]:
    """Return all trees below `folder`, sorted; one that is reached over two paths counts once.

    Raises:
        SerError: there is none.
    """
    if not folder.is_dir():
        raise SerError(f"{folder}: no such folder; {REMEDY}")
    trees: dict[str, Tree] = {}
    level = [folder]
    for _ in range(DEPTH + 1):
        below: list[Path] = []
        for path in level:
            children = [Path(entry.path) for entry in os.scandir(path)
                        if not entry.name.startswith(".") and entry.is_dir()]
            if any(SPEAKER.fullmatch(child.name) for child in children):
                if path.name in NO_AUDIO:
                    print(f"{path}: left out, it is no audio")
                    continue
                is_test = any(TEST_PART.search(part) for part in path.relative_to(folder).parts)
                trees.setdefault(os.path.realpath(path), Tree(path, is_test))
            else:
                below += children
        level = sorted(below)
    if not trees:
        raise SerError(f"{folder}: holds no recordings of VoxCeleb; {REMEDY}")
    return sorted(trees.values(), key=lambda tree: tree.path)


def scan(trees: Sequence[Tree], jobs: int) -> dict[str, list[SpeakerRecording]]:
    """List the recordings of each tree, by the tree's path, without opening any.

    Raises:
        SerError: a recording is in two trees.
    """
    folders = [(tree, entry.path, entry.name) for tree in trees for entry in os.scandir(tree.path)
               if SPEAKER.fullmatch(entry.name) and entry.is_dir()]
    found: dict[str, list[SpeakerRecording]] = {str(tree.path): [] for tree in trees}
    other: list[str] = []
    doubled = 0
    with ThreadPoolExecutor(max(1, jobs)) as pool:  # on a network file system the time goes into waiting
        looks = pool.map(lambda item: scan_speaker(*item[1:]), folders)
        for (tree, _, _), look in zip(folders, progress(looks, len(folders), "listing", unit="speaker"), strict=True):
            found[str(tree.path)] += look.recordings
            other += look.other
            doubled += look.doubled
    if other:
        corpus.warn(f"{len(other)} files are no recordings <video>/<number>.wav or .m4a and are ignored: "
                    f"{some(other)}")
    if doubled:
        print(f"{doubled} recordings are there as .wav and as .m4a; the .wav is used")
    speakers.require_unique((recording for tree in found.values() for recording in tree),
                            "remove one of the copies from the corpus")
    return found


def scan_speaker(folder: str, speaker: str) -> Found:
    """List the recordings of one speaker, sorted by video and number."""
    found = Found()
    for video in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not video.is_dir():
            found.other.append(video.path)
            continue
        of_name: dict[str, dict[str, os.DirEntry[str]]] = defaultdict(dict)
        for entry in os.scandir(video.path):
            stem, ending = os.path.splitext(entry.name)
            if ending in DECODERS and not entry.name.startswith(".") and not re.search(r"\s", video.name + stem):
                of_name[stem][ending] = entry
            else:
                found.other.append(entry.path)
        for stem in sorted(of_name):
            ending = next(ending for ending in DECODERS if ending in of_name[stem])
            entry = of_name[stem][ending]
            found.doubled += len(of_name[stem]) - 1
            found.recordings.append(speakers.file_recording(
                entry.path, entry.stat(), speaker, video.name, f"{video.name}-{stem}", DECODERS[ending]
            ))
    return found


def may_need_ffmpeg(tree: Tree) -> bool:
    """Return whether the first recording of a tree is compressed, which takes no time; listing all takes minutes."""
    for speaker in os.scandir(tree.path):
        if SPEAKER.fullmatch(speaker.name) and (first := scan_speaker(speaker.path, speaker.name).recordings):
            return bool(first[0].command)
    return False


def find_trials(folder: Path, named: str) -> Path:
    """Return the path of the list of trials: the one named, or the published one at most two folders below `folder`.

    Raises:
        SerError: there is none, or there are several that differ.
    """
    if named:
        if not (folder / named).is_file():
            raise SerError(f"{folder / named}: no such list of trials; --trials takes a file, by its full path or "
                           f"relative to {folder}")
        return folder / named
    for name in TRIAL_LISTS:
        lists = sorted(path for depth in ("", "*/", "*/*/") for path in folder.glob(depth + name))
        if len({path.read_bytes() for path in lists}) > 1:
            raise SerError(f"{lists[0]} and {lists[-1]} differ; choose one with --trials")
        if lists:
            return lists[0]
    raise SerError(f"{folder}: has no {' or '.join(TRIAL_LISTS)}, the list of trials of VoxCeleb1; fetch it from "
                   "VoxCeleb's page, or name a list with --trials")


def select_trials(path: Path, found: Sequence[SpeakerRecording], folder: Path) -> list[Trial]:
    """Read the trials, with utterance ids.

    Raises:
        SerError: a recording of a trial is not in the corpus, or a trial's label does not agree with its names.
    """
    known = {recording.utterance for recording in found}
    trials: list[Trial] = []
    missing: dict[str, str] = {}  # name to the first line with it
    for where, target, *names in speakers.read_trials(path):
        utterances = []
        for name in names:
            parts = name.split("/")
            if len(parts) != 3 or not SPEAKER.fullmatch(parts[0]):
                raise SerError(f"{where}: expected <speaker>/<video>/<number>.wav, found {name}")
            utterances.append("-".join((*parts[:2], os.path.splitext(parts[2])[0])))
            if utterances[-1] not in known:
                missing.setdefault(name, where)
        if target != (names[0].split("/")[0] == names[1].split("/")[0]):
            raise SerError(f"{where}: says {'one speaker' if target else 'two speakers'} of {names[0]} and {names[1]}; "
                           "copy the list again")
        trials.append((target, *utterances))
    if missing:
        name, where = next(iter(missing.items()))
        raise SerError(f"{where}: recording {name} is not under {folder}"
                       + (f" (nor are {len(missing) - 1} more of the list)" if len(missing) > 1 else "")
                       + "; complete the corpus, a score needs every trial")
    return trials


def report(found: Sequence[SpeakerRecording]) -> None:
    """Print how much of which release is there."""
    for prefix, (name, num_speakers, num_recordings) in RELEASES.items():
        own = [recording for recording in found if recording.speaker.startswith(prefix)]
        if own:
            print(f"{name}: {len(own)} recordings of {len({recording.speaker for recording in own})} speakers "
                  f"(published: {num_recordings} of {num_speakers})")


def main() -> None:
    parser = corpus.Parser(__doc__, licensed="VoxCeleb")
    parser.add_argument("--trials", default="", metavar="FILE",
                        help=f"list of trials, relative to --corpus-dir (default: {' or '.join(TRIAL_LISTS)} there)")
    parser.add_argument("--dev-speakers", type=int, default=500, help="speakers of dev at most (default %(default)s)")
    telephone.add_arguments(parser)
    args = parser.parse_args()
    if args.dev_speakers < 1:
        raise SerError(f"--dev-speakers {args.dev_speakers}: at least 1")
    prepare(args)


def prepare(args: argparse.Namespace) -> None:
    folder = args.corpus_dir.absolute()
    trees = find_trees(folder)
    trial_list = find_trials(folder, args.trials)
    if compressed := next((tree.path for tree in trees if may_need_ffmpeg(tree)), None):
        speakers.require_ffmpeg(f"{compressed} has recordings that it must decode")
    calls = telephone.find(args, folder)

    by_tree = scan(trees, args.nj)
    found = [recording for tree in by_tree.values() for recording in tree]
    if compressed is None and any(recording.command for recording in found):
        speakers.require_ffmpeg("some recordings are .m4a")
    report(found)
    found = speakers.leave_out_empty(found, args.allow_partial)

    trials = select_trials(trial_list, found, folder)
    of_trials = {utterance for _, *pair in trials for utterance in pair}
    test = [recording for recording in found if recording.utterance in of_trials]
    test_speakers = {recording.speaker for recording in test}
    print(f"{trial_list}: {len(trials)} trials, {sum(target for target, _, _ in trials)} of one speaker, over "
          f"{len(test)} recordings of {len(test_speakers)} speakers")
    train = speakers.without(found, test_speakers, "whom the trials name (their other recordings are in no set)")
    in_test_trees = {r.speaker for tree in trees if tree.is_test for r in by_tree[str(tree.path)]}
    train = speakers.without(train, in_test_trees, "who are in the published test part")
    if not train and not calls:
        raise SerError(f"{folder}: every speaker is one of the trials or of a test part, so nobody is left to train "
                       "on; add VoxCeleb2 or the dev part of VoxCeleb1")
    train, dev = speakers.hold_out([*train, *calls], args.dev_speakers)
    corpus.write_sets(args.data_dir, {"train": train, "dev": dev, "test": test}, trials=trials)


if __name__ == "__main__":
    run_main(main)
