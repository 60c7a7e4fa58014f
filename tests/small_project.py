"""A copy of the project, and the options that make its mini corpus small, for tests that run it again and again."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# A man and a woman in each of dev and test, two of each in train; each says everything once.
SMALL = ("--train-speakers", "4", "--dev-speakers", "2", "--test-speakers", "2", "--takes", "1", "--noise-files", "1")


def copy_project(folder: Path) -> Path:
    """Copy all files but those that git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for file in filter(None, listed.split("\0")):
        if (ROOT / file).is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, folder / file)
    return folder
