"""What a network answers of a corpus whose classes are not all its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ser.base.errors import SerError
from ser.base.words import some


def common_classes(of_network: Sequence[str], of_corpus: Sequence[str]) -> list[str]:
    """Return the classes that both have, in the corpus's order.

    Raises:
        SerError: there are fewer than two.
    """
    common = [name for name in of_corpus if name in of_network]
    if len(common) < 2:
        raise SerError(f"the network's classes {some(of_network)} and the corpus's {some(of_corpus)} have "
                       f"{common[0] + ' alone' if common else 'none'} in common, and a choice needs two; call like "
                       "classes by one name, as --rename of the recipe table does")
    return common


def over_common_classes(posteriors: np.ndarray, of_network: Sequence[str], of_corpus: Sequence[str]) -> np.ndarray:
    """Return posteriors (N, corpus's classes) given that the answer is one of the common classes.

    They are the network's own, (N, its classes), divided by the sum over the common classes; those of the corpus's
    other classes are 0. A row without any mass on the common classes says nothing about them, and is uniform.
    """
    common = common_classes(of_network, of_corpus)
    kept = posteriors[:, [of_network.index(name) for name in common]].astype(np.float64) + np.finfo(np.float64).tiny
    result = np.zeros((len(posteriors), len(of_corpus)))
    result[:, [of_corpus.index(name) for name in common]] = kept / kept.sum(axis=1, keepdims=True)
    return result
