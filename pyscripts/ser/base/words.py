"""Wording of messages."""

from __future__ import annotations

from collections.abc import Sequence


def some(names: Sequence[str], most: int = 10, separator: str = ", ") -> str:
    """Join names for a message: `a, b, c and 4 more` where there are more than `most`."""
    rest = len(names) - most
    return separator.join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
