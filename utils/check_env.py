#!/usr/bin/env python3
"""Say whether this Python has what requirements files ask for: exit 0 if so, else 1 and the reasons on stderr.

Usage: check_env.py [--import] [--print-key] REQUIREMENTS…

torch and torchaudio must be 2.11 or later, whatever is pinned, the others at least what is pinned. Versions are read
from package metadata, which is quick; `--import` also imports torch and torchaudio, which fails where the two do not go
together.
`--print-key` prints a line that changes whenever the interpreter or a version does. Standard library only: it runs
before anything is installed.
"""

import argparse
import hashlib
import importlib
import re
import sys
from importlib import metadata

MINIMUM = {"torch": "2.11", "torchaudio": "2.11"}
MINIMUM_PYTHON = (3, 11)


def numbers(version: str) -> tuple[int, ...]:
    """'2.13.0+cpu' -> (2, 13, 0): the release, without its local label."""
    return tuple(int(n) for n in re.findall(r"\d+", version.split("+")[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--import", action="store_true", dest="try_import")
    parser.add_argument("--print-key", action="store_true")
    parser.add_argument("requirements", nargs="+")
    args = parser.parse_args()
    problems, found = [], [sys.executable, sys.version]
    if sys.version_info < MINIMUM_PYTHON:
        problems.append(f"Python {sys.version.split()[0]} is older than 3.11")
    for path in args.requirements:
        with open(path, encoding="utf-8") as lines:
            pins = [line.split("==") for line in map(str.strip, lines) if line and not line.startswith("#")]
        for name, pinned in pins:
            try:
                version = metadata.version(name)
            except metadata.PackageNotFoundError:
                problems.append(f"{name} is not installed")
                continue
            found.append(f"{name} {version}")
            wanted = MINIMUM.get(name, pinned)
            if numbers(version) < numbers(wanted):
                problems.append(f"{name} is {version}, older than {wanted}")
    if args.try_import and not problems:
        for name in ("torch", "torchaudio.compliance.kaldi", "torchaudio.functional"):
            try:
                importlib.import_module(name)
            except (ImportError, OSError) as error:
                problems.append(f"import {name} fails: {error}")
    if problems:
        sys.exit(f"{sys.executable}: " + "; ".join(problems))
    if args.print_key:
        print(hashlib.sha256("\n".join(found).encode()).hexdigest())


if __name__ == "__main__":
    main()
