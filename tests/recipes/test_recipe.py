"""The driver from nothing to tables on the mini corpus, and killed on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from small_project import SMALL

from ser.base.kaldi_tables import read_table
from ser.training.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
SCHEMES = ("none", "n+se-cp")
COPIES = {f"{kind}-snr{snr}" for kind in ("noise", "music") for snr in (10, 5, 0)}


def command(work: Path, *options: str) -> list[str]:
    """The mini recipe with a training short enough for a test; the network and every stage are the real ones."""
    config = work.parent / "tiny.yaml"
    config.write_text("epochs: 2\nbatch_size: 16\ncrop: 80\nprecise_bn: 1\n")
    return [str(ROOT / "run.sh"), "--work-dir", str(work), "--config", str(config), "--nj", "2", "--train-threads", "1",
            *SMALL, *options]


def run(work: Path, *options: str) -> str:
    done = subprocess.run(command(work, *options), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, str, float]:
    """A run that was never interrupted: its folder, what it printed, and how long it took."""
    work = tmp_path_factory.mktemp("whole") / "work"
    started = time.monotonic()
    printed = run(work)
    return work, printed, time.monotonic() - started


def data_of(work: Path) -> Path:
    """The data of the small corpus, whose lists are not the default ones."""
    (data,) = work.glob("data_*")
    return data


def exp_of(work: Path) -> Path:
    return work / data_of(work).name.replace("data", "exp")


def content(work: Path) -> dict[str, object]:
    """Everything that a user keeps, by path; the work directory's own path is taken out of it."""
    found: dict[str, object] = {}
    for path in sorted(work.rglob("*")):
        name = str(path.relative_to(work))
        apart = ("log", "tensorboard", "split", "runs")
        if not path.is_file() or path.name.endswith(".done") or any(part.startswith(apart) for part in path.parts):
            continue
        assert not path.name.endswith(".tmp"), f"{path}: left behind"
        if path.suffix == ".pt":
            checkpoint = load_checkpoint(path)
            found[name] = (checkpoint["epoch"], {k: v.numpy().tobytes() for k, v in checkpoint["model"].items()})
        elif path.name not in ("config.yaml", "history.jsonl"):  # they have versions and times
            kept = path.read_bytes().replace(str(work).encode(), b"")
            found[name] = re.sub(rb"(data:audio/ogg;base64,)[^\"]*", rb"\1", kept)  # Ogg draws a number for each stream
    return found


def test_everything_runs_and_prints_its_tables(whole) -> None:
    work, printed, _ = whole
    for stage in range(6):
        assert f"stage {stage}" in printed
    for scheme in SCHEMES:
        assert scheme in printed
        folder = exp_of(work) / f"mfcc-tdnn_clean_{scheme}_random_tiny" / "seed0"
        assert load_checkpoint(folder / "best.pt")["classes"] == ["angry", "happy", "neutral", "sad"]
        for test in ("test", "test_diluted", "test_snr10", "test_snr0"):
            score = json.loads((folder / f"score_{test}" / "score.json").read_text())
            assert score["utterances"] == len((data_of(work) / "test" / "utt2spk").read_text().splitlines())
            lines = (folder / f"score_{test}" / "predictions.tsv").read_text().splitlines()
            assert len(lines) == score["utterances"] + 1
    assert (exp_of(work) / "functionals-svm_clean_none_random/seed0/score_test_snr0/score.json").exists()
    assert "the baseline functionals-svm_clean_none_random: weighted F1" in printed
    assert not list(data_of(work).glob("train_noisy*")), "nothing is trained on noisy copies here"
    results = exp_of(work) / "results"
    assert {path.suffix for path in results.iterdir()} >= {".md", ".csv", ".png"}
    assert f"{results.parent.name}/results" in printed


def test_again_is_quick_and_changes_nothing(whole) -> None:
    work, _, _ = whole
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.ark")} | {
        path: path.stat().st_mtime_ns for path in work.rglob("*.pt")
    }
    printed = run(work)
    assert "up to date" in printed
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    logs = list((exp_of(work) / "log").glob("train_mfcc-tdnn_clean.*.1.log"))
    assert len(logs) == 1  # the same runs, the same logs
    assert "up to date" in logs[0].read_text() and "epoch" not in logs[0].read_text()


def test_killed_again_and_again_it_ends_the_same(whole, tmp_path: Path) -> None:
    """kill -9 while features are made, then of run.sh alone, then while networks are trained; then the same command."""
    expected, _, seconds = whole
    work = tmp_path / "work"
    for kill, share in ((os.killpg, 0.3), (os.kill, 0.3), (os.killpg, 0.3)):
        process = subprocess.Popen(
            command(work), start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(share * seconds)
        kill(process.pid, signal.SIGKILL)
        process.wait()
    run(work)
    ours, theirs = content(work), content(expected)
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if ours[name] != theirs[name]] == []


def test_clean_plus_noise_trains_on_the_copies(whole) -> None:
    def noises(sets: list[Path]) -> set[str]:
        return {line.split(None, 3)[3] for folder in sets for line in (folder / "utt2noise").read_text().splitlines()}

    work, _, _ = whole
    data = data_of(work)
    run(work, "--stage", "2", "--stop-stage", "3", "--train-data", "clean+noise", "--scheme", "none",
        "--config", str(short_config(work.parent)))
    copies = (data / "train_noisy" / "utt2noise").read_text().splitlines()
    count = len((data / "train" / "utt2spk").read_text().splitlines())
    assert {line.split()[0].split("-", 2)[2] for line in copies} == COPIES and len(copies) == len(COPIES) * count
    train, test = noises([data / "train_noisy"]), noises(list(data.glob("test_snr*[0-9]")))
    assert train and test and not train & test
    log = next((exp_of(work) / "log").glob("train_mfcc-tdnn_clean+noise.*.1.log")).read_text()
    assert f"{7 * count} utterances" in log
    best = load_checkpoint(exp_of(work) / "mfcc-tdnn_clean+noise_none_random_short" / "seed0" / "best.pt")
    assert torch.isfinite(best["model"]["embedding.weight"]).all()


def test_copies_of_several_kinds_are_trained_on_and_stand_in_the_tables(whole) -> None:
    work, _, _ = whole
    data, options = data_of(work), ("--stage", "2", "--train-data", "clean+vtlp+speed", "--scheme", "none")
    printed = run(work, *options)
    utterances = set(read_table(data / "train" / "utt2spk"))
    speed, vtlp = (read_table(data / f"train_{kind}_voiced" / "utt2uniq") for kind in ("speed", "vtlp"))
    assert set(speed) == {f"{utt}-sp{factor}" for utt in utterances for factor in ("0.9", "1.1")}
    assert set(vtlp) == {f"{utt}-vtlp" for utt in utterances}
    assert set(speed.values()) == set(vtlp.values()) == utterances
    frames = read_table(data / "train_speed_voiced" / "utt2num_frames")
    assert all(int(frames[f"{utt}-sp0.9"]) > int(frames[f"{utt}-sp1.1"]) for utt in utterances), "a VAD of their own"
    log = next((exp_of(work) / "log").glob("train_mfcc-tdnn_clean+speed+vtlp.*.1.log")).read_text()
    assert f"{4 * len(utterances)} utterances" in log
    for model in ("functionals-svm", "mfcc-tdnn"):
        titles = [line.split()[1] for line in printed.splitlines() if line.startswith(f"{model} ")]
        assert titles[0] == "Clean" and "Clean+Speed+VTLP" in titles, "a row of the tables"
    before = {path: path.stat().st_mtime_ns for kind in ("*.ark", "*.pt") for path in work.rglob(kind)}
    assert "speed copy of" in run(work, *options)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())


def test_the_config_of_a_run_makes_it_again(whole) -> None:
    work, _, _ = whole
    folder = exp_of(work) / "mfcc-tdnn_clean_n+se-cp_random_tiny" / "seed0"
    printed = run(work, "--stage", "3", "--stop-stage", "4", "--config", str(folder / "config.yaml"))
    jobs = [line for line in printed.splitlines() if line.startswith("  job ")]
    assert len(jobs) == 2 and all(line.endswith(f": {folder.relative_to(work)}") for line in jobs)
    assert "epoch" not in printed


def test_another_front_end_leaves_the_features_of_the_first(whole) -> None:
    work, _, _ = whole
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.ark")}
    options = ("--mfcc-config", str(ROOT / "conf" / "mfcc_16k.conf"), "--copy-vad", "own", "--snr", "15",
               "--noise-kinds", "music", "--test-snr", "5", "--train-data", "clean+noise", "--stage", "1",
               "--stop-stage", "2")
    run(work, *options)
    data = data_of(work)
    for name in ("train_mfcc16k-ownvad_voiced", "train_noisy-music-15_mfcc16k-ownvad_voiced",
                 "test_snr5_mfcc16k-ownvad_voiced"):
        assert (data / name / "feats.scp").is_file()
    assert "--sample-frequency=16000" in (data / "dev_mfcc16k-ownvad_voiced" / "conf" / "mfcc.conf").read_text()
    stamps = {path: path.stat().st_mtime_ns for path in work.rglob("*.ark")}
    assert before.items() <= stamps.items()
    run(work, "--stage", "1", "--stop-stage", "2")
    run(work, *options)
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*.ark")} == stamps


def short_config(folder: Path) -> Path:
    path = folder / "short.yaml"
    path.write_text("epochs: 1\nbatch_size: 128\ncrop: 40\nprecise_bn: 1\n")
    return path
