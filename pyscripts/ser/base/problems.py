"""All problems of one input in one message, so that a user mends them at once and not one a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ser.base.errors import SerError

_MOST_PROBLEMS = 10  # kinds of problems that a message names

Location = tuple[int, str]  # line number, what is wrong there


class Problems:
    """The problems of a file or folder, with one entry for all lines of a file that have the same kind of problem."""

    def __init__(self, whole: Path) -> None:
        self.whole, self.found = whole, []

    def add(self, where: Path, locations: Sequence[Location] = (), remedy: str = "", what: str = "") -> None:
        """Note what is wrong with lines of a file, or with all of it (`what`); nothing where there is neither."""
        if locations:
            (line, what), rest = locations[0], locations[1:]
            numbers = ", ".join(str(number) for number, _ in rest[:5]) + (", …" if len(rest) > 5 else "")
            more = f" (and {len(rest)} more, line {numbers})" if rest else ""
            self.found.append(f"{where}:{line}: {what}{more}; {remedy}")
        elif what:
            self.found.append(f"{where}: {what}; {remedy}")

    def raise_any(self) -> None:
        """Raise SerError with the problems noted, the first ten of them; do nothing if there are none."""
        if not self.found:
            return
        if len(self.found) == 1:
            raise SerError(self.found[0])
        shown, hidden = self.found[:_MOST_PROBLEMS], len(self.found) - _MOST_PROBLEMS
        lines = [f"{self.whole}: {len(self.found)} kinds of problems", *shown]
        raise SerError("\n  ".join(lines + ([f"… and {hidden} more"] if hidden > 0 else [])))
