"""The normalisation of features in memory, as steps/compute_cmvn_stats.sh and prepare_feats.sh do it on disk."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from ser.base.errors import SerError
from ser.features.cmvn import BY_SPEAKER, apply_cmvn, cmvn_stats
from ser.features.frontend import CMN

_OPTIONS = ("--cmn", "--cmn-vars")


@dataclass(frozen=True)
class Normalisation:
    """What steps/prepare_feats.sh was told.

    Attributes:
        cmn: what is subtracted, by name: one of `CMN`, or `speaker`.
        divide: whether statistics by speaker divide by deviations, too.
    """

    cmn: str
    divide: bool = False

    @classmethod
    def split(cls, front_end: str) -> tuple[dict[str, str], Normalisation | None]:
        """Take a checkpoint's front end (`ser.features.directories.front_end`) apart.

        Returns:
            The values of the options that made the features, and their normalisation, if they have one.

        Raises:
            SerError: there is no such normalisation.
        """
        options = dict(line.partition("=")[::2] for line in front_end.splitlines())
        cmn, divide = (options.pop(name, None) for name in _OPTIONS)
        if cmn is None:
            return options, None
        if cmn not in CMN and f"--cmn={cmn}" != BY_SPEAKER:
            raise SerError(f"--cmn={cmn}: no such normalisation")
        return options, cls(cmn, divide == "true")

    @property
    def by_speaker(self) -> bool:
        """Whether a recording's features depend on the other recordings of its speaker."""
        return f"--cmn={self.cmn}" == BY_SPEAKER

    def apply(
        self, features: Iterable[tuple[Hashable, np.ndarray, np.ndarray]]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Normalise features and select frames of them.

        Args:
            features: of each recording the speaker, all frames (frames, D) float32, and the numbers (n,) of those that
                are selected, over which statistics by speaker are.

        Returns:
            Of each recording the selected frames, (n, D) float32, and their numbers.
        """
        speakers, found, stats = [], [], {}
        for speaker, matrix, numbers in features:
            if self.by_speaker:
                matrix = matrix[numbers]
                if len(matrix):
                    stats[speaker] = stats.get(speaker, 0) + cmvn_stats(matrix)
            elif len(matrix):
                matrix = CMN[self.cmn](matrix)[numbers]
            speakers.append(speaker)
            found.append((matrix, numbers))
        if not self.by_speaker:
            return found
        return [(apply_cmvn(matrix, stats[speaker], self.divide) if len(matrix) else matrix, numbers)
                for speaker, (matrix, numbers) in zip(speakers, found, strict=True)]
