"""The commands in the READMEs: programs that are there, with options that they have."""

from __future__ import annotations

import re
import shlex
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import ROOT, Shell

READMES = [ROOT / "README.md", *sorted(ROOT.glob("egs/*/README.md")), *sorted(ROOT.glob("egs/*/RESULTS.md")),
           ROOT / "tests/benchmarks/README.md"]
PROGRAM = re.compile(r"(?:\./|egs/|local/|pyscripts/|steps/|utils/|tests/)[\w./-]*\w\.(?:sh|py)$")
CHOOSING = ("--recipe", "--system", "--task", "--paper")  # what run.sh and run_grid.sh make their help by


def commands(readme: Path) -> list[list[str]]:
    """Return the words of each command that is set apart in a README or its code blocks, without what is left out."""
    text = re.sub(r" \\\n *", " ", readme.read_text())
    found = []
    for line in re.findall(r"^(?: {4}|\t)(\S.*)$", text, re.MULTILINE):
        for part in re.split(r" \| | && |; ", re.sub(r" #.*", "", line)):
            try:
                words = shlex.split(re.sub(r"<\(.*?\)", "FILE", part))
            except ValueError:  # prose that is set apart, with an apostrophe
                continue
            while words and re.match(r"\w+=", words[0]):
                words.pop(0)
            if words and PROGRAM.match(words[0]):
                found.append([word.strip("[]") for word in words])
    return found


def test_there_are_commands() -> None:
    assert len(commands(ROOT / "README.md")) > 40
    assert commands(ROOT / "egs/iemocap/README.md") == [
        ["egs/iemocap/run.sh", "--corpus-dir", "/corpora/IEMOCAP_full_release"]]


@pytest.mark.long  # a help text takes a second or two
@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_programs_have_the_options(readme: Path, shell: Shell) -> None:
    @cache
    def options(program: str, *words: str) -> set[str]:
        text = shell(shlex.join([program, *words, "--help"])).stdout
        return set(re.findall(r"--[a-z][\w-]*", text))

    wrong = []
    for program, *words in commands(readme):
        if not (ROOT / program).is_file():
            wrong.append(f"no program {program}")
            continue
        given = [word.partition("=")[0] for word in words if word.startswith("--") and len(word) > 2]
        choice = [each for pair in pairwise(words) if pair[0] in CHOOSING for each in pair]
        if Path(program).name in ("run.sh", "run_grid.sh") and not program.startswith("tests/"):
            known = options(program, *choice)
        else:
            known = options(program)
        wrong += [f"{program} has no option {option}" for option in given if option not in known]
    assert not wrong
