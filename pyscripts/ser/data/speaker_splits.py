"""Splits that share no speaker, of corpora that come without one: drawn once, balanced by class, and kept in a file."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ser.base.errors import SerError
from ser.base.files import write_text
from ser.base.words import some
from ser.data.corpus import EmotionRecording, read_lists, split_by_speaker

FEWEST_FOLDS, MOST_FOLDS = 3, 5  # train, dev and test of a fold have speakers of different groups
_SEED = 0

Sets = dict[str, list[EmotionRecording]]


def number_of_groups(recordings: Sequence[EmotionRecording], least: int) -> int:
    """Return into how many groups of speakers recordings can be divided, at most `MOST_FOLDS`.

    Raises:
        SerError: fewer than `least`.
    """
    speakers = {recording.speaker for recording in recordings}
    most = min(MOST_FOLDS, len(speakers), max(Counter(recording.emotion for recording in recordings).values()))
    if most < least:
        raise SerError(f"{len(recordings)} recordings of {len(speakers)} speakers ({some(sorted(speakers), 5)}) cannot "
                       f"be divided into {least} groups, each of other speakers; record more people")
    return most


def draw_groups(recordings: Sequence[EmotionRecording], number: int) -> list[list[str]]:
    """Divide the speakers into groups of like sizes and shares of emotions (scikit-learn's StratifiedGroupKFold)."""
    from sklearn.model_selection import StratifiedGroupKFold

    speakers = np.array([recording.speaker for recording in recordings])
    emotions = [recording.emotion for recording in recordings]
    with warnings.catch_warnings():  # that a class has few members
        warnings.simplefilter("ignore", UserWarning)
        parts = StratifiedGroupKFold(number, shuffle=True, random_state=_SEED).split(speakers, emotions, speakers)
        return [sorted(set(speakers[test])) for _, test in parts]


def kept(
    path: Path, draw: Callable[[], dict[str, list[str]]], recordings: Sequence[EmotionRecording]
) -> dict[str, list[str]]:
    """Return the speakers of each group out of a file, a line for each, which is written first if there is none.

    Args:
        path: the file.
        draw: gives the groups that are written.
        recordings: those whose speakers must be in the groups.

    Raises:
        SerError: a speaker is in none of the groups.
    """
    if not path.exists():
        write_text(path, "".join(f"{name} {' '.join(speakers)}\n" for name, speakers in draw().items()))
        print(f"{path}: speakers drawn, balanced by emotion")
    groups = read_lists(path)
    listed = {speaker for group in groups.values() for speaker in group}
    if strangers := sorted({recording.speaker for recording in recordings} - listed):
        raise SerError(f"{path}: speaker {some(strangers)} is in none of its lines; add it to one of them, or remove "
                       "the file to have all speakers drawn anew (earlier scores are of other tests then)")
    return groups


def draw_folds(recordings: Sequence[EmotionRecording]) -> dict[str, list[str]]:
    """Return the speakers of `fold1`, `fold2` and so on."""
    groups = draw_groups(recordings, number_of_groups(recordings, FEWEST_FOLDS))
    return {f"fold{number}": group for number, group in enumerate(groups, 1)}


def draw_dev(recordings: Sequence[EmotionRecording]) -> dict[str, list[str]]:
    """Return the speakers of `dev`, about a fifth, and of `train`."""
    dev, *others = draw_groups(recordings, number_of_groups(recordings, 2))
    return {"dev": dev, "train": sorted(speaker for group in others for speaker in group)}


def fold_sets(groups: Mapping[str, list[str]], recordings: Sequence[EmotionRecording]) -> Sets:
    """Return `all` and, of each group `fold<k>`, `fold<k>/{train,dev,test}`.

    Test has the speakers of the group, dev those of the next one, train all others. There must be three groups or more.
    """
    names, lists = list(groups), {}
    for position, name in enumerate(names):
        following = names[(position + 1) % len(names)]
        lists |= {
            f"{name}/train": [s for other in names if other not in (name, following) for s in groups[other]],
            f"{name}/dev": groups[following],
            f"{name}/test": groups[name],
        }
    return {"all": list(recordings)} | split_by_speaker(recordings, lists)
