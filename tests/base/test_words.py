"""Names in messages."""

from __future__ import annotations

from ser.base.words import some


def test_some_names_at_most_so_many() -> None:
    assert some(["a"]) == "a" and some([]) == ""
    assert some(["a", "b", "c"], 3) == "a, b, c"
    assert some(["a", "b", "c", "d", "e"], 3, " ") == "a b c and 2 more"
