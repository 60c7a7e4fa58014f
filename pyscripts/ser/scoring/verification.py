"""Speaker verification: trial lists, cosine scores of x-vectors, equal error rate and detection cost."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_curve

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table
from ser.base.progress import progress
from ser.data.arks import read_arks

_BLOCK = 16_384  # trials whose vectors are looked up at a time: 50 MB of x-vectors


@dataclass(frozen=True)
class Trials:
    """A trial list of T trials over U distinct utterances.

    Attributes:
        path: where it was read.
        utterances: the U ids.
        pairs: (T, 2) int64, each trial's utterances as indices into `utterances`; trial t stands on line t + 1.
        targets: (T,) bool, whether both are of one speaker.
    """

    path: Path
    utterances: tuple[str, ...]
    pairs: np.ndarray
    targets: np.ndarray


def read_trials(path: str | os.PathLike[str]) -> Trials:
    """Read lines `<1|0> <utterance> <utterance>`, VoxCeleb's format; 1 means one speaker.

    A trial listed twice counts twice, as in every published figure over such a list.

    Raises:
        SerError: the file is missing or empty, or has a line that is no trial, compares an utterance with itself, or
            contradicts another line. The message names the file and the line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise SerError(f"{path}: no such trial list") from None
    except UnicodeDecodeError as error:
        raise SerError(f"{path}: not a UTF-8 text file ({error})") from None
    if lines == [""]:
        raise SerError(f"{path}: is empty; make the lists again")
    number: dict[str, int] = {}
    pairs = np.empty((len(lines), 2), np.int64)
    targets = np.empty(len(lines), bool)
    for row, line in enumerate(lines):
        fields = line.split()
        if len(fields) != 3 or fields[0] not in ("0", "1"):
            raise SerError(f"{path}:{row + 1}: expected '<1|0> <utterance> <utterance>', found {line!r}")
        if fields[1] == fields[2]:
            raise SerError(f"{path}:{row + 1}: {fields[1]} is compared with itself; remove the line")
        targets[row] = fields[0] == "1"
        pairs[row] = [number.setdefault(utterance, len(number)) for utterance in fields[1:]]
    trials = Trials(path, tuple(number), pairs, targets)
    _check_consistent(trials)
    return trials


def _check_consistent(trials: Trials) -> None:
    """Raise a SerError if one line says that two utterances are of one speaker, and another that they are not."""
    low, high = np.sort(trials.pairs, 1).T
    pair = low * len(trials.utterances) + high
    order = np.argsort(pair, kind="stable")
    clash = (pair[order][1:] == pair[order][:-1]) & (trials.targets[order][1:] != trials.targets[order][:-1])
    if clash.any():
        first = int(np.argmax(clash))
        earlier, later = order[first] + 1, order[first + 1] + 1
        raise SerError(f"{trials.path}:{later}: says the opposite of line {earlier} of the same two utterances; "
                       "correct one of them")


def read_xvectors(trials: Trials, folder: str | os.PathLike[str]) -> np.ndarray:
    """Read the x-vectors (U, D), float32, of a trial list's utterances from a folder of `steps/extract_xvectors.sh`.

    Raises:
        SerError: the folder has none, an utterance of the list has none (named, with its line), or an x-vector cannot
            be compared: it is all zero, not finite, or of another dimension.
    """
    scp = Path(folder) / "xvector.scp"
    if not scp.exists():
        raise SerError(f"{scp}: no such file; run steps/extract_xvectors.sh, which has not finished")
    have = read_table(scp, sorted_keys=False).keys()
    missing = np.array([utterance not in have for utterance in trials.utterances])
    if missing.any():
        row, side = divmod(int(np.argmax(missing[trials.pairs])), 2)
        more = f" ({missing.sum()} utterances of the list have none)" if missing.sum() > 1 else ""
        raise SerError(f"{trials.path}:{row + 1}: {trials.utterances[trials.pairs[row, side]]} has no x-vector in "
                       f"{scp}{more}; extract x-vectors of the list's test set, whose logs name what was dropped")
    number = {utterance: index for index, utterance in enumerate(trials.utterances)}
    result: np.ndarray | None = None
    for utterance, vector in progress(read_arks(scp), len(have), "reading x-vectors"):
        if utterance not in number:
            continue
        if result is None:
            result = np.empty((len(number), vector.size), np.float32)
        if vector.shape != result.shape[1:] or not np.isfinite(vector).all() or not vector.any():
            raise SerError(f"{scp}: {utterance} has no usable x-vector (shape {vector.shape}; expected "
                           f"{result.shape[1:]}, finite and not all zero); run steps/extract_xvectors.sh again")
        result[number[utterance]] = vector
    return result


def cosine_scores(vectors: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the cosines (T,), float32, of pairs (T, 2) of rows of vectors (U, D), none of which is zero."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = np.empty(len(pairs), np.float32)
    blocks = range(0, len(pairs), _BLOCK)
    for start in progress(blocks, len(blocks), f"of {_BLOCK} trials scored", "blocks"):
        first, second = pairs[start : start + _BLOCK].T
        scores[start : start + _BLOCK] = np.einsum("td,td->t", unit[first], unit[second])
    return scores


def error_rates(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return miss and false-alarm rates at every threshold that makes a difference, from rejecting to accepting all.

    Trials of equal score are accepted together, so that their order in the list cannot matter.

    Args:
        scores: (T,); the higher, the more like one speaker.
        labels: (T,); 1 or True for target trials, 0 or False for others.

    Returns:
        Misses among the target trials and false alarms among the others, (K + 1,) each for K distinct scores. Misses
        fall from 1 to 0, false alarms rise from 0 to 1.

    Raises:
        SerError: the two differ in length, a score is NaN, a label is neither 0 nor 1, or all trials are of one kind.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise SerError(f"scores of shape {scores.shape} for labels of shape {labels.shape}")
    if np.isnan(scores).any():
        raise SerError(f"{np.isnan(scores).sum()} of {len(scores)} scores are NaN")
    if not np.isin(labels, (0, 1)).all():
        raise SerError("labels of trials are 1 (one speaker) or 0")
    targets = np.count_nonzero(labels)
    others = len(labels) - targets
    if not targets or not others:
        raise SerError(f"{targets} target and {others} non-target trials: error rates need both kinds")
    ranks = np.unique(scores, return_inverse=True)[1]  # roc_curve refuses infinite scores
    alarms, hits, _ = roc_curve(labels, ranks, pos_label=1, drop_intermediate=False)
    return 1 - hits, alarms


def eer(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the equal error rate, from 0 to 1.

    It is where misses equal false alarms on the straight lines that join the points of `error_rates`, which has the
    same arguments and errors: the crossing of the ROC curve itself, not of its convex hull. Inverted scores give 1, a
    constant score 1/2.
    """
    misses, alarms = error_rates(scores, labels)
    gap = misses - alarms  # falls strictly from 1 to -1
    after = int(np.argmax(gap <= 0))
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(alarms[after - 1] + share * (alarms[after] - alarms[after - 1]))


def min_dcf(
    scores: np.ndarray, labels: np.ndarray, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """Return the least detection cost over all thresholds, as a fraction of the cost of accepting or rejecting all.

    C = c_miss · P_miss · p_target + c_fa · P_fa · (1 − p_target), divided by min(c_miss · p_target,
    c_fa · (1 − p_target)), as in NIST's speaker recognition evaluation plan of 2010. Between 0 and 1.
    Arguments and errors as of `error_rates`, and a SerError for a `p_target` that is no probability between 0 and 1.
    """
    if not 0 < p_target < 1 or c_miss <= 0 or c_fa <= 0:
        raise SerError(f"p_target {p_target:g} must lie between 0 and 1, the costs {c_miss:g} and {c_fa:g} above 0")
    misses, alarms = error_rates(scores, labels)
    cost = c_miss * p_target * misses + c_fa * (1 - p_target) * alarms
    return float(cost.min() / min(c_miss * p_target, c_fa * (1 - p_target)))
