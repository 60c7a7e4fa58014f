"""Random numbers that are determined by a name, so that the order in which files are made does not matter."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(*name: object) -> np.random.Generator:
    """Return the random generator of a name; equal names give equal numbers on every machine and in any job."""
    digest = hashlib.sha256("/".join(map(str, ("mini", *name))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))
