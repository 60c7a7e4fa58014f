"""Types of command-line arguments, for argparse."""

from __future__ import annotations

import argparse
from pathlib import Path


def named_folder(text: str) -> tuple[str, Path]:
    """Split NAME=FOLDER into both."""
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"expected NAME=FOLDER, found {text!r}")
    return name, Path(folder)
