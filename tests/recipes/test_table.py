"""The example of egs/table/README.md, as it stands there, from a table to its results."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
PITCH = {"angry": 800.0, "neutral": 150.0, "sad": 300.0}


def example() -> tuple[list[str], list[str]]:
    """The table and the words of the command of the README."""
    text = (ROOT / "egs/table/README.md").read_text()
    table, command = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    return [line.strip() for line in table.splitlines()], shlex.split(command)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's table beside tones of the emotions' pitches in the files that it names."""
    folder, random = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    lines, _ = example()
    for line in lines[1:]:
        path, emotion, _ = line.split(",")
        (folder / path).parent.mkdir(exist_ok=True)
        time = np.arange(6400) / 8000
        tone = 0.3 * np.sin(2 * np.pi * PITCH[emotion] * time) * (1 + np.sin(2 * np.pi * 4 * time))
        soundfile.write(folder / path, tone + 0.01 * random.standard_normal(len(time)), 8000)
    (folder / "my_corpus.csv").write_text("\n".join(lines) + "\n")
    (folder / "tiny.yaml").write_text("epochs: 1\nbatch_size: 4\ncrop: 40\nprecise_bn: 1\n")
    return folder / "my_corpus.csv"


def run(table: Path, command: list[str], *options: str, ok: bool = True) -> str:
    command = [str(ROOT / "run.sh"), *(word.replace("my_corpus.csv", str(table)) for word in command[1:])]
    done = subprocess.run(
        [*command, "--work-dir", str(table.parent / "work"), "--nj", "2", "--train-threads", "1", *options],
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_example_of_the_readme(table: Path) -> None:
    """From the table to its results; then its training is repeated by its config.yaml, without the table."""
    _, command = example()
    printed = run(table, command, "--scheme", "n-cp", "--folds", "2", "--config", str(table.parent / "tiny.yaml"))
    work = table.parent / "work"
    seed = work / "exp/mfcc-tdnn_clean+speed_n-cp_random_tiny/fold2/seed0"
    score = json.loads((seed / "score_test/score.json").read_text())
    assert score["classes"] == ["angry", "neutral", "sad"] and score["utterances"] == 3
    assert "Weighted F1 (%)\n" in printed and (work / "exp/results/report.md").is_file()
    again = [command[0], "--config", str(seed / "config.yaml"), "--recipe", "table", "--stage", "4"]
    assert "exp/mfcc-tdnn_clean+speed_n-cp_random_tiny/fold2/seed0" in run(table, again, "--stop-stage", "4")


def test_emotions_and_plans_of_a_table(table: Path) -> None:
    """Classes that are chosen have lists of their own; without neutral the schemes that need it are left out."""
    _, command = example()
    plan = table.parent / "plan.jsonl"
    run(table, command, "--emotions", "sad angry", "--plan", str(plan))
    runs = [json.loads(line) for line in plan.read_text().splitlines()]
    assert {run["options"].get("scheme", "none") for run in runs} == {"none", "se-cp"}
    assert {run["out"].split("/")[0] for run in runs} == {"exp_emotions-angry+sad"}
    assert {run["fold"] for run in runs} == {1, 2, 3}
    refused = run(table, command, "--emotions", "sad angry", "--scheme", "n-cp", "--plan", str(plan), ok=False)
    assert "no emotion is called neutral" in refused
    assert "/nowhere.csv: no such table" in run(table, command[:3], "--corpus-dir", "/nowhere.csv", ok=False)
