"""Wording that messages share."""

from __future__ import annotations

from collections.abc import Iterable


def some(names: Iterable[object], most: int = 10, separator: str = ", ") -> str:
    """Return the first `most` names as a list in words, and how many more there are: `a, b and 4 more`."""
    texts = [str(name) for name in names]
    return separator.join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
