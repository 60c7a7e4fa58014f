"""Types of command-line arguments, for argparse."""

from __future__ import annotations

import argparse
from pathlib import Path


def positive(text: str) -> int:
    """Convert a whole number from 1."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"takes a whole number from 1, not {text!r}")
    return int(text)


def named_folder(text: str) -> tuple[str, Path]:
    """Split NAME=FOLDER into both."""
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"expected NAME=FOLDER, found {text!r}")
    return name, Path(folder)
