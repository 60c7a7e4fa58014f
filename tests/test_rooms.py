"""The library's rooms: a module imports from its own room and those below it, never from one above."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from ser import ROOMS

LIBRARY = Path(__file__).resolve().parents[1] / "pyscripts" / "ser"
MODULES = sorted(path for path in LIBRARY.rglob("*.py") if path.parent != LIBRARY)


def imported_rooms(source: str) -> Iterator[str]:
    """Yield the room of every import of the library, those inside functions included."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            if first == "ser":
                yield rest.partition(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_module_imports_from_no_room_above(path: Path) -> None:
    own = path.relative_to(LIBRARY).parts[0]
    allowed = ROOMS[: ROOMS.index(own) + 1]
    above = sorted(set(imported_rooms(path.read_text(encoding="utf-8"))) - set(allowed))
    assert not above, f"{path.relative_to(LIBRARY)} is in {own} and imports from {', '.join(above)}"


def test_import_from_a_room_above_is_seen() -> None:
    assert list(imported_rooms("def f():\n    from ser.jobs import request\n")) == ["jobs"]
    assert list(imported_rooms("import ser.training.options as o, os")) == ["training"]


def test_every_room_is_known() -> None:
    assert {path.relative_to(LIBRARY).parts[0] for path in MODULES} <= set(ROOMS)
