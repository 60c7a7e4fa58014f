"""The view of an experiment while it runs."""

from __future__ import annotations

import math
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

from ser.base.lock import FolderLock
from ser.jobs.watch import curve, view
from ser.training.history import add_epoch
from ser.training.options import TrainOptions
from ser.training.run_folder import at_work
from ser.training.runs import Run

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"mfcc-tdnn_clean_none_random/seed{seed}" for seed in range(4)]


def test_curve_has_the_lowest_and_the_highest_block_and_means_of_what_does_not_fit() -> None:
    assert curve([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"
    assert curve([0.5] * 40, 10) == "▁" * 10 and curve([]) == ""
    assert curve([0, 0, math.nan, 7, 7]) == "▁▁ ██"
    assert curve([0, 2, 8, 8, 3, 5], 3) == "▁█▄"
    assert len(curve(range(1000), 16)) == 16


def write_experiment(work: Path) -> Path:
    """Four runs of 10 epochs: one finished, one in epoch 5, one that has failed, one not begun."""
    exp = work / "exp"
    (exp / "runs").mkdir(parents=True)
    options = TrainOptions(network="tdnn", epochs=10)
    runs = [Run(str(work), f"exp/{name}", ("data/train",), "data/dev", {"test": "data/test"}, options)
            for name in NAMES]
    (exp / "runs/x.jsonl").write_text("".join(f"{run.line()}\n" for run in runs))
    for name, epochs in zip(NAMES, (10, 4, 0), strict=False):
        (exp / name).mkdir(parents=True)
        for epoch in range(1, epochs + 1):
            add_epoch(exp / name, {"epoch": epoch, "epochs": 10, "dev_weighted_f1": epoch / 20, "seconds": 3.0})
    for file in ("best.pt", ".train.done", "score_test/score.json"):
        (exp / NAMES[0] / file).parent.mkdir(exist_ok=True)
        (exp / NAMES[0] / file).touch()
    (exp / NAMES[2] / "failed.json").write_text('{"error": "no good"}')
    return exp


def test_view_of_stages_runs_curves_and_time_left(tmp_path: Path) -> None:
    exp = write_experiment(tmp_path)
    log = tmp_path / "data/train/log/make_mfcc_train.2.log"
    log.parent.mkdir(parents=True)
    log.write_text("progress: 1/9 utt of audio, 80 s left\nprogress: 3/9 utt of audio, 61 s left\n")
    with at_work(exp / NAMES[1], "is being trained"), FolderLock(tmp_path, "lists are being made"):
        lines, done = view(exp, 30, 200)
    text = "\n".join(lines)
    assert not done
    assert re.search(r"lists, features +being made by process \d+ .*, make_mfcc_train 3/9 utt, 1 min 1 s left", text)
    assert "1 of 4 runs trained, 1 running, 1 failed" in text and "1 of 4 runs scored" in text
    assert re.search(r"tables +not yet", text)
    # 6 epochs of 3 s here, and 10 for each of two that have not begun
    assert "time left            1 min 18 s of training; 1 min 18 s with 1 at a time" in text
    runs = [line.split()[:2] for line in lines if "seed" in line]
    assert runs == [["running", NAMES[1]], ["failed", NAMES[2]], ["missing", NAMES[3]], ["finished", NAMES[0]]]
    assert re.search(r"epoch 4/10  ▁▃▆█ +dev weighted F1 20.00, best 20.00 at 4  about 18 s left", text)
    assert re.search(r"failed .*  no good", text)
    few, _ = view(exp, 10, 60)
    assert len(few) <= 10 and max(map(len, few)) <= 60 and re.match(r"and .*1 finished", few[-1])


def test_all_is_done_once_there_are_tables_of_all_scores(tmp_path: Path) -> None:
    exp = write_experiment(tmp_path)
    (exp / "runs/x.jsonl").unlink()
    for name in NAMES[1:3]:
        (exp / name / "config.yaml").unlink(missing_ok=True)
    (exp / NAMES[0] / "config.yaml").write_text("network: tdnn\n")
    assert not view(exp, 30, 100)[1]
    (exp / "results").mkdir()
    (exp / "results/report.html").touch()
    lines, done = view(exp, 30, 100)
    assert done and "1 of 1 runs scored" in "\n".join(lines)
    os.utime(exp / "results/report.html", (0, 0))
    assert not view(exp, 30, 100)[1]


def test_a_terminal_is_refreshed_and_a_file_gets_one_view(tmp_path: Path) -> None:
    exp = write_experiment(tmp_path)
    command = [sys.executable, ROOT / "pyscripts/status.py", "--watch", exp]
    once = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "\x1b" not in once and once.count("3 training") == 1
    own, theirs = pty.openpty()
    watching = subprocess.Popen(command, stdout=theirs, stdin=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    said, until = b"", time.monotonic() + 60
    try:
        while said.count(b"3 training") < 2 and time.monotonic() < until:
            said += os.read(own, 65536)
        add_epoch(exp / NAMES[1], {"epoch": 5, "epochs": 10, "dev_weighted_f1": 0.25, "seconds": 3.0})
        while b"epoch 5/10" not in said and time.monotonic() < until:
            said += os.read(own, 65536)
    finally:
        watching.send_signal(2)
        assert watching.wait(10) == 0  # Ctrl-C is how it ends
        os.close(own)
    assert b"epoch 5/10" in said
