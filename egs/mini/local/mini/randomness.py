"""Random numbers that belong to a name, so that nothing depends on the order in which files are made."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(*name: object) -> np.random.Generator:
    """The random generator of what `name` names: equal names give equal numbers on every machine and in any job."""
    digest = hashlib.sha256("/".join(map(str, ("mini", *name))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))
