"""The driver from nothing to tables on the mini corpus, and killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from small_project import copy_project

from ser.training.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
SCHEMES = ("none", "n+se-cp")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Half of the speakers are women, and all say all sentences in all emotions: 48, 24 and 24 recordings."""
    return copy_project(tmp_path_factory.mktemp("small") / "project", train=4, dev=2, test=2)


def command(project: Path, work: Path, *options: str) -> list[str]:
    """The mini recipe with a training short enough for a test; the network and every stage are the real ones."""
    config = work.parent / "train.yaml"
    config.write_text("epochs: 2\nbatch_size: 16\ncrop: 80\nprecise_bn: 1\n")
    return [str(project / "run.sh"), "--work-dir", str(work), "--config", str(config), "--nj", "2",
            "--train-threads", "1", *options]


def run(project: Path, work: Path, *options: str) -> str:
    done = subprocess.run(command(project, work, *options), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def whole(project, tmp_path_factory) -> tuple[Path, str, float]:
    """A run that was never interrupted: its folder, what it printed, and how long it took."""
    work = tmp_path_factory.mktemp("whole") / "work"
    started = time.monotonic()
    printed = run(project, work)
    return work, printed, time.monotonic() - started


def content(work: Path) -> dict[str, object]:
    """Everything that a user keeps, by path; the work directory's own path is taken out of it."""
    found: dict[str, object] = {}
    for path in sorted(work.rglob("*")):
        name = str(path.relative_to(work))
        apart = ("log", "tensorboard", "split")
        if not path.is_file() or path.name.endswith(".done") or any(part.startswith(apart) for part in path.parts):
            continue
        assert not path.name.endswith(".tmp"), f"{path}: left behind"
        if path.suffix == ".pt":
            checkpoint = load_checkpoint(path)
            found[name] = (checkpoint["epoch"], {k: v.numpy().tobytes() for k, v in checkpoint["model"].items()})
        elif path.name != "config.yaml":
            found[name] = path.read_bytes().replace(str(work).encode(), b"")
    return found


def test_everything_runs_and_prints_its_tables(whole) -> None:
    work, printed, _ = whole
    for stage in range(6):
        assert f"stage {stage}" in printed
    for scheme in SCHEMES:
        assert scheme in printed
        folder = work / "exp" / f"clean_{scheme}_random" / "seed0"
        assert load_checkpoint(folder / "best.pt")["classes"] == ["angry", "happy", "neutral", "sad"]
        for test in ("test", "test_snr10", "test_snr0"):
            score = json.loads((folder / f"score_{test}" / "score.json").read_text())
            assert score["utterances"] == len((work / "data" / "test" / "utt2spk").read_text().splitlines())
            lines = (folder / f"score_{test}" / "predictions.tsv").read_text().splitlines()
            assert len(lines) == score["utterances"] + 1
    for kind in ("noise", "music"):
        for snr in (10, 5, 0):
            copy = work / "data" / f"train_{kind}_snr{snr}"
            assert {line.split()[1] for line in (copy / "utt2noise").read_text().splitlines()} == {str(snr)}
    results = work / "exp" / "results"
    assert {path.suffix for path in results.iterdir()} >= {".md", ".csv", ".png"}
    assert "exp/results" in printed


def test_train_and_test_noises_are_disjoint(whole) -> None:
    def noises(sets: list[Path]) -> set[str]:
        return {line.split(None, 3)[3] for folder in sets for line in (folder / "utt2noise").read_text().splitlines()}

    data = whole[0] / "data"
    train, test = noises(list(data.glob("train_*_snr*[0-9]"))), noises(list(data.glob("test_snr*[0-9]")))
    assert train and test and not train & test


def test_again_is_quick_and_changes_nothing(project, whole) -> None:
    work, _, _ = whole
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.ark")} | {
        path: path.stat().st_mtime_ns for path in work.rglob("*.pt")
    }
    printed = run(project, work)
    assert "up to date" in printed
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    logs = list((work / "exp" / "log").glob("train_clean_random.*.1.log"))
    assert len(logs) == 1  # the same commands, the same logs
    assert "up to date" in logs[0].read_text() and "epoch" not in logs[0].read_text()


def test_killed_again_and_again_it_ends_the_same(project, whole, tmp_path: Path) -> None:
    """kill -9 while features are made, then of run.sh alone, then while networks are trained; then the same command."""
    expected, _, seconds = whole
    work = tmp_path / "work"
    for kill, share in ((os.killpg, 0.3), (os.kill, 0.3), (os.killpg, 0.3)):
        process = subprocess.Popen(
            command(project, work), start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(share * seconds)
        kill(process.pid, signal.SIGKILL)
        process.wait()
    run(project, work)
    ours, theirs = content(work), content(expected)
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if ours[name] != theirs[name]] == []


def test_clean_plus_noise_trains_on_the_copies(project, whole) -> None:
    work, _, _ = whole
    run(project, work, "--stage", "3", "--stop-stage", "3", "--train-data", "clean+noise", "--scheme", "none",
        "--config", str(short_config(work.parent)))
    log = next((work / "exp" / "log").glob("train_clean+noise_random.*.1.log")).read_text()
    count = len((work / "data" / "train" / "utt2spk").read_text().splitlines())
    assert f"{7 * count} utterances" in log
    best = load_checkpoint(work / "exp" / "clean+noise_none_random" / "seed0" / "best.pt")
    assert torch.isfinite(best["model"]["stem.weight"]).all()


def short_config(folder: Path) -> Path:
    path = folder / "short.yaml"
    path.write_text("epochs: 1\nbatch_size: 128\ncrop: 40\nprecise_bn: 1\n")
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stages", "3"], "unknown option --stages"),
        (["--scheme", "cp"], "'cp' is none of none, se-cp, n-cp, n+se-cp"),
        (["--recipe", "nowhere"], "no recipe 'nowhere'"),
        (["--seeds", "one"], "--seeds takes whole numbers"),
        (["--folds", "9"], "no folds, not '9'"),
        (["--seeds", "0 1 0"], "'0' is given twice"),
        (["--seeds", ""], "cannot be empty"),
        (["--stage", "3", "--stop-stage", "1"], "comes after"),
        (["--stage", "9"], "from 0 to 5"),
        (["--nj", "0"], "--nj takes a number from 1"),
        (["--cmn", "global"], "--cmn is sliding, utterance or none"),
        (["--train-threads", "x"], "--train-threads takes a number"),
        (["--train-data", "noise"], "clean or clean+noise"),
        (["--init", "/nowhere"], "no best.pt there"),
        (["--config", "/nowhere.yaml"], "no such file"),
        (["--stage", "3", "--scheme", "none"], "no such file"),
        (["--work-dir", "/proc/here"], "cannot make that folder"),
        (["extra"], "unexpected argument 'extra'"),
    ],
)
def test_what_cannot_work_is_said(tmp_path: Path, options: list[str], message: str) -> None:
    line = [str(ROOT / "run.sh"), *([] if "--work-dir" in options else ["--work-dir", str(tmp_path)]), *options]
    done = subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr


def test_help_lists_stages_and_options() -> None:
    done = subprocess.run([str(ROOT / "run.sh"), "--help"], capture_output=True, text=True, check=True)
    for word in ("--stage", "--stop-stage", "--scheme", "--train-data", "--init", "--seeds", "--folds", "--nj",
                 "--ngpu", "--config", "--recipe"):
        assert word in done.stdout
