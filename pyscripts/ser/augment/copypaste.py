"""CopyPaste (Pappagari et al., ICASSP 2021, §3.2.2) as plans: which frames of which utterances form a batch.

A plan is a pure function of labels, lengths, scheme, options, epoch and seed. It holds integers and never touches audio
or features; the feature store gathers batches by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ser.augment.masking import Masks
from ser.base.errors import SerError

SCHEMES = {"none": "No CP", "se-cp": "SE-CP", "n-cp": "N-CP", "n+se-cp": "N+SE-CP"}  # titles as tables have them
SHORT_UTTERANCES = ("pad", "repeat")
COPYPASTE_SHARE = 0.8  # of an epoch's batches, §3.2.2
KINDS = ("none", "n-cp", "se-cp")
_NONE, _N_CP, _SE_CP = range(3)
_RUN = 32  # consecutive utterances that stay together when there is a window: about a megabyte of features
# Random streams: the last number of a seed says what its stream is used for. (NumPy takes a seed [s, e] for [s, e, 0].)
_OF_EPOCH, _OF_PLAIN, _OF_BATCH = range(3)


@dataclass(frozen=True)
class BatchPlan:
    """One batch of B examples, each of one or two parts, in the order in which they are heard.

    Attributes:
        kind: the kind that the batch was drawn as, "none", "n-cp" or "se-cp".
        utterances: (B, 2) utterance indices; -1 in column 1 of an example that has one part.
        first: (B, 2) first frame of each part.
        frames: (B, 2) frames taken, never beyond the utterance's end; 0 where there is no part.
        start: (B, 2) with `short_utt="repeat"`, the frame of the part, counted from `first`, at which a short
            utterance begins; after its end it goes on from its first frame. 0 otherwise.
        filled: (B, 2) frames that each part occupies in the batch: `frames`, or the crop with "repeat".
        labels: (B,) class indices.
        kinds: (B,) index into ("none", "n-cp", "se-cp") of each example. An example of a CopyPaste batch that found no
            partner has one part and kind "none".
        ahead: (n,) sorted indices of utterances that the next batches use, so that they can be read in time; None
            if there are none, or without a window.
        masks: frames and coefficients that are hidden; None: nothing is.
    """

    kind: str
    utterances: np.ndarray
    first: np.ndarray
    frames: np.ndarray
    start: np.ndarray
    filled: np.ndarray
    labels: np.ndarray
    kinds: np.ndarray
    ahead: np.ndarray | None = None
    masks: Masks | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def share(self, rank: int, world: int) -> BatchPlan:
        """Return the examples that process `rank` of `world` processes trains on.

        The shares in order of rank make up the batch; their sizes differ by one example at most.
        """
        size, more = divmod(len(self), world)
        begin = rank * size + min(rank, more)
        return self.select(slice(begin, begin + size + (rank < more)))

    def select(self, examples: slice | np.ndarray) -> BatchPlan:
        """Return the batch that has these examples only, in this order."""
        arrays = {name: value[examples] for name, value in vars(self).items()
                  if name not in ("kind", "ahead") and value is not None}
        return replace(self, **arrays)


class CopyPaste:
    """Plan the batches of every epoch of a training.

    Args:
        labels: (N,) class index of each training utterance.
        lengths: (N,) frames of each training utterance.
        scheme: one of `SCHEMES`.
        neutral: class index of neutral, or None if the training data have no such class.
        batch_size: the most examples a batch may have.
        crop: the most frames taken of an utterance (400: the paper's 4 s).
        short_utt: how an utterance shorter than the crop is used: "pad" takes it whole, "repeat" repeats it up to the
            crop, from a random frame on.
        seed: seed of the training run.
        min_crop: each batch draws its own crop from `min_crop` to `crop`, uniformly; 0: it is always `crop`.
        window: utterances are shuffled within windows of this many, which are made of runs of consecutive utterances
            so that a file of features is read run by run; 0: all utterances are shuffled at once. The examples of a
            batch come from one window, which should hold many batches.

    Raises:
        SerError: an unknown scheme, an option out of range, an utterance without frames, or a scheme that needs
            neutral utterances where there are none.
    """

    def __init__(
        self,
        labels: Sequence[int] | np.ndarray,
        lengths: Sequence[int] | np.ndarray,
        scheme: str,
        neutral: int | None,
        batch_size: int = 128,
        crop: int = 400,
        short_utt: str = "pad",
        seed: int = 0,
        *,
        min_crop: int = 0,
        window: int = 0,
    ) -> None:
        self.labels = np.asarray(labels, dtype=np.int64)
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.scheme, self.neutral, self.batch_size, self.crop = scheme, neutral, batch_size, crop
        self.short_utt, self.seed, self.min_crop, self.window = short_utt, seed, min_crop, window
        if scheme not in SCHEMES:
            raise SerError(f"unknown CopyPaste scheme {scheme!r}; one of {', '.join(SCHEMES)}")
        if short_utt not in SHORT_UTTERANCES:
            raise SerError(f"unknown --short-utt {short_utt!r}; one of {', '.join(SHORT_UTTERANCES)}")
        if not 0 <= min_crop <= crop:
            raise SerError(f"--min-crop {min_crop} is not between 0 and the crop, {crop}")
        if window and window < batch_size:
            raise SerError(f"--window {window} holds less than a batch, {batch_size}; give it room for many, or 0")
        if len(self.labels) == 0 or self.lengths.min() < 1:
            raise SerError("the training data have no utterance, or one without frames; run prepare_feats.sh again")
        if scheme in ("n-cp", "n+se-cp") and (neutral is None or not (self.labels == neutral).any()):
            raise SerError(f"scheme {scheme} pastes neutral utterances, and the training data have none")

    @property
    def batches_per_epoch(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[BatchPlan]:
        """Yield the batches of an epoch, in order; every utterance is the base of exactly one example.

        `first_batch` leaves out the batches before it without planning them; the others are those of the whole epoch.
        (With a window, `ahead` of the first one then includes the rest of its own window.)
        """
        random = np.random.default_rng([self.seed, epoch, _OF_EPOCH])
        order, stored = self._order(random)
        kinds = self._batch_kinds(self.batches_per_epoch, random)
        # Batches are equal in size: statistics of batch norm over a few leftover examples would be poor.
        size, more = divmod(len(order), self.batches_per_epoch)
        for number in range(first_batch, self.batches_per_epoch):
            begin = number * size + min(number, more)
            end = begin + size + (number < more)
            plan = self._batch(order[begin:end], kinds[number], self._random_of_batch(epoch, number))
            if stored is not None:  # each batch asks for its share of the next window, all of which is then there
                ahead = begin - begin % self.window if number == first_batch else begin + self.window
                wanted = stored[ahead : end + self.window]
                plan = replace(plan, ahead=np.sort(wanted) if len(wanted) else None)
            yield plan

    def plain(self, epoch: int, count: int) -> Iterator[BatchPlan]:
        """Yield `count` batches without CopyPaste from a random stream of their own, for batch-norm statistics."""
        random = np.random.default_rng([self.seed, epoch, _OF_PLAIN])
        size = min(self.batch_size, len(self.labels))
        for _ in range(count):
            yield self._batch(random.choice(len(self.labels), size, replace=False), _NONE, random)

    def _random_of_batch(self, epoch: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, _OF_BATCH, number])

    def _order(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the order of an epoch's utterances and, with a window, their order before the windows are shuffled."""
        count = len(self.labels)
        if not self.window:
            return random.permutation(count), None
        runs = random.permutation(-(-count // _RUN))
        stored = (runs[:, None] * _RUN + np.arange(_RUN)).ravel()
        stored = stored[stored < count]  # the last run may be short
        order = stored.copy()
        for begin in range(0, count, self.window):
            random.shuffle(order[begin : begin + self.window])
        return order, stored

    def _batch_kinds(self, batches: int, random: np.random.Generator) -> np.ndarray:
        """Draw the kind of every batch: the scheme's shares, exact to the nearest batch, in random order."""
        kinds = np.full(batches, _NONE)
        if self.scheme == "n+se-cp":
            pasted = round(COPYPASTE_SHARE * batches)
            half, odd = divmod(pasted, 2)
            # Where the two shares cannot be equal, chance decides which kind gets one batch more.
            neutral = half + (odd and int(random.integers(2)))
            kinds[:neutral], kinds[neutral:pasted] = _N_CP, _SE_CP
        elif self.scheme != "none":
            kinds[: round(COPYPASTE_SHARE * batches)] = _N_CP if self.scheme == "n-cp" else _SE_CP
        return random.permutation(kinds)

    def _batch(self, base: np.ndarray, kind: int, random: np.random.Generator) -> BatchPlan:
        labels = self.labels[base]
        crop = int(random.integers(self.min_crop, self.crop + 1)) if self.min_crop else self.crop
        partner = np.full(len(base), -1)
        if kind == _SE_CP:
            partner = self._same_emotion_partners(base, labels, random)
        elif kind == _N_CP:
            partner = self._neutral_partners(base, labels, random)
        utterances = np.stack([base, partner], 1)
        swapped = (partner >= 0) & (random.random(len(base)) < 0.5)
        utterances[swapped] = utterances[swapped, ::-1]

        lengths = np.where(utterances >= 0, self.lengths[utterances], 0)
        frames = np.minimum(lengths, crop)
        first = random.integers(0, lengths - frames + 1)
        start, filled = np.zeros_like(frames), frames
        if self.short_utt == "repeat":
            short = (frames > 0) & (frames < crop)
            start = np.where(short, random.integers(0, np.maximum(frames, 1)), 0)
            filled = np.where(frames > 0, crop, 0)
        kinds = np.where(partner >= 0, kind, _NONE)
        return BatchPlan(KINDS[kind], utterances, first, frames, start, filled, labels, kinds)

    @staticmethod
    def _same_emotion_partners(base: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draw a partner of the same label for each utterance, never itself; -1 for one alone in its class."""
        partner = np.full(len(base), -1)
        for label in np.unique(labels):
            members = random.permutation(np.flatnonzero(labels == label))
            if len(members) > 1:  # each one's partner is the next on a random circle
                partner[members] = base[np.roll(members, 1)]
        return partner

    def _neutral_partners(self, base: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draw a neutral utterance of the batch for each utterance, never itself; -1 where there is none."""
        neutral = np.flatnonzero(labels == self.neutral)
        if len(neutral) == 0:
            return np.full(len(base), -1)
        choice = random.integers(0, len(neutral), len(base))
        # A neutral utterance draws from the n - 1 places other than its own.
        others = random.integers(0, max(1, len(neutral) - 1), len(neutral))
        choice[neutral] = others + (others >= np.arange(len(neutral)))
        partner = base[neutral[np.minimum(choice, len(neutral) - 1)]]
        if len(neutral) == 1:
            partner[neutral] = -1
        return partner


def count_kinds(plans: Sequence[BatchPlan]) -> dict[str, int]:
    """Count the batches of each kind and, as "alone", the examples of CopyPaste batches that found no partner."""
    counts = Counter(plan.kind for plan in plans)
    counts["alone"] = sum(int((plan.kinds == _NONE).sum()) for plan in plans if plan.kind != "none")
    return dict(counts)


def describe(plan: BatchPlan, batch: int, utterances: Sequence[str], classes: Sequence[str]) -> Iterator[dict]:
    """Yield a JSON-able record of each example of a batch, by which the plan can be checked.

    `{"batch": 0, "kind": "n-cp", "parts": [["utt", first, frames], …], "label": "angry"}`; where short utterances are
    repeated, `"starts"` gives the `start` of each part.
    """
    for index in range(len(plan)):
        used = [p for p in range(2) if plan.utterances[index, p] >= 0]
        record = {
            "batch": batch,
            "kind": KINDS[plan.kinds[index]],
            "parts": [
                [utterances[plan.utterances[index, p]], int(plan.first[index, p]), int(plan.frames[index, p])]
                for p in used
            ],
            "label": classes[plan.labels[index]],
        }
        if (plan.filled != plan.frames).any():
            record["starts"] = [int(plan.start[index, p]) for p in used]
        yield record
