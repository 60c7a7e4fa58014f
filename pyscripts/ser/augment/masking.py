"""SpecAugment (Park et al., Interspeech 2019) as plans: which frames and coefficients of a batch's examples are hidden.

Like CopyPaste's, a plan is integers; the device carries it out on all frames of a batch at once. Time warping, of which
the authors found little gain, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_STREAM = 3  # of random numbers, beside those of ser.augment.copypaste


@dataclass(frozen=True)
class Masks:
    """What is hidden of B examples.

    Attributes:
        frames: (B, M, 2) first frame of each mask, and the one after its last.
        coefficients: (B, K, 2), likewise.
    """

    frames: np.ndarray
    coefficients: np.ndarray

    def __getitem__(self, examples: slice) -> Masks:
        return Masks(self.frames[examples], self.coefficients[examples])


@dataclass(frozen=True)
class SpecAugment:
    """How much is hidden of an example: masks of frames and of coefficients, each of a random width and place.

    A width is uniform from 0 to the greatest, which is cut to the room that there is; so is its place.
    """

    frame_masks: int
    frame_width: int
    coefficient_masks: int
    coefficient_width: int

    def draw(self, lengths: np.ndarray, dim: int, batch: tuple[int, int, int]) -> Masks:
        """Draw the masks of a batch's examples, of these lengths, (B,), and of `dim` coefficients a frame.

        `batch` is the training's seed, the epoch, and the number of the batch, which decide everything.
        """
        seed, epoch, number = batch
        random = np.random.default_rng([seed, epoch, _STREAM, number])
        return Masks(
            _spans(np.tile(lengths[:, None], self.frame_masks), self.frame_width, random),
            _spans(np.full((len(lengths), self.coefficient_masks), dim), self.coefficient_width, random),
        )


def _spans(room: np.ndarray, width: int, random: np.random.Generator) -> np.ndarray:
    widths = np.minimum(random.integers(0, width + 1, room.shape), room)
    first = random.integers(0, room - widths + 1)
    return np.stack([first, first + widths], 2)
