"""The grid runner on replicas of a corpus with folds and of one without: killed, restarted, and more.

The noisy tests are stand-ins, the clean test's features under other names: how noise is mixed is tested elsewhere.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from tiny_encoder import save_encoder

from ser.training.options import TrainOptions

REPLICAS = {"cremad": 0.015, "iemocap": 0.02}
TAG = "tiny"  # of the runs: the name of the file of options
RUNS = [
    f"cremad/exp/mfcc-resnet_clean_none_random_{TAG}/seed0", f"cremad/exp/mfcc-resnet_clean_n+se-cp_random_{TAG}/seed0",
    f"iemocap/exp/mfcc-resnet_clean_none_random_{TAG}/fold1/seed0",
    f"iemocap/exp/mfcc-resnet_clean_n+se-cp_random_{TAG}/fold1/seed0",
]


class Grid:
    """A grid of four small trainings in one work directory."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.work = folder, folder / "work"
        self.corpora = [f"cremad={folder}/cremad --allow-partial true --baseline false",
                        f"iemocap={folder}/iemocap --allow-partial true --baseline false --folds '1'"]
        self.config = folder / "tiny.yaml"
        self.config.write_text("epochs: 2\npatience: 0\nbatch_size: 32\ncrop: 40\nprecise_bn: 1\nprecision: fp32\n")

    def command(self, *options: str) -> list[str]:
        return [
            str(ROOT / "local" / "run_grid.sh"), "--work-dir", str(self.work), "--config", str(self.config),
            "--nj", "2", "--ngpu", "0", "--train-threads", "1", "--seeds", "0", "--scheme", "none n+se-cp",
            "--train-data", "clean", *options,
        ]

    def run(self, *options: str, corpora: list[str] | None = None, ok: bool = True) -> str:
        line = [*self.command(*options), *(self.corpora if corpora is None else corpora)]
        done = subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done.stdout + done.stderr

    def tables(self) -> dict[str, bytes]:
        """What a user keeps: the tables of each corpus and over all, and the predictions that they come from."""
        files = [path for name in ("cremad/exp/results", "iemocap/exp/results", "grid/results")
                 for path in (self.work / name).iterdir() if path.suffix in (".md", ".csv")]
        files += [path for name in RUNS for path in (self.work / name).rglob("predictions.tsv")]
        return {str(path.relative_to(self.work)): path.read_bytes() for path in files}

    def checkpoints(self) -> dict[str, int]:
        return {name: (self.work / name / "best.pt").stat().st_mtime_ns for name in RUNS}


def test_each_training_data_has_one_baseline_that_waits_for_nothing(tmp_path: Path) -> None:
    grid, donor = Grid(tmp_path), tmp_path / "seed0"
    donor.mkdir()
    (donor / "best.pt").write_bytes(b"weights")
    corpora = [f"cremad={tmp_path}/cremad"]
    options = ("--dry-run", "true", "--train-data", "clean clean+noise")
    waiting = grid.run(*options, corpora=corpora)
    assert "0 of 6 runs are finished" in waiting and waiting.count("functionals-svm_clean") == 2
    assert "4 runs wait for a pre-trained model" in waiting
    started = grid.run(*options, "--init", str(donor), corpora=corpora)
    assert "0 of 10 runs are finished" in started and started.count("functionals-svm_clean") == 2


TABLE_4 = {  # the noise mix-up paper's, and the layers that it trains
    "optimiser": "sgd", "momentum": 0.9, "batch_size": 128, "weight_decay": 0.0004, "epochs": 6,
    "learning_rate": 0.0004, "rates": "classifier.1=0.01", "schedule": "step", "step_epochs": 2, "step_factor": 0.2,
    "select": "accuracy", "warmup_epochs": 0, "min_updates": 0,
}  # fmt: skip


def test_the_noise_mixup_grid_is_on_both_splits_with_copypaste_beside_it(tmp_path: Path) -> None:
    weights = tmp_path / "squeezenet.npz"
    weights.write_bytes(b"weights")
    command = [str(ROOT / "local" / "run_grid.sh"), "--paper", "noise-mixup", "--dry-run", "true", "--network",
               "squeezenet", "--weights", str(weights), "--work-dir", str(tmp_path), "--ngpu", "0", "--seeds", "0",
               "--train-data", "clean+noise", "iemocap=/nowhere --folds 1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "0 of 8 runs are finished" in done.stdout, done.stdout + done.stderr
    for dataset, lists in (("ahsn", "scenario-improvised"), ("aesn", "scenario-improvised-dataset-aesn")):
        for split, end in (("segment", "-segment"), ("speaker", "")):
            runs = [json.loads(line) for line in (tmp_path / f"grid/iemocap-{dataset}-{split}.jsonl").open()]
            assert [run["out"] for run in runs] == [
                f"exp_{lists}_1s{end}/{model}_paper/fold1/seed0" for model in (
                    "spectrogram-squeezenet_clean+noise-noise-40-20-15_none_imagenet",
                    "mfcc-resnet_clean+noise-noise-40-20-15_n+se-cp_random")
            ]
            options = TrainOptions(**runs[0]["options"])
            assert {name: getattr(options, name) for name in TABLE_4} == TABLE_4
            assert runs[1]["options"].get("optimiser", "adam") == "adam"
    failed = subprocess.run([command[0], "--init", "random/x", *command[1:]], capture_output=True, text=True)
    assert "--init of --paper noise-mixup is random or imagenet, not 'random/x'" in failed.stderr


def test_the_emoaug_grid_has_the_papers_conditions_and_other_encoders_on_clean_data(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_encoder(tmp_path / name)

    def run(*options: str, ok: bool = True) -> str:
        done = subprocess.run(
            [str(ROOT / "local" / "run_grid.sh"), "--paper", "emoaug", "--dry-run", "true", "--work-dir",
             str(tmp_path / "work"), "--ngpu", "0", "--seeds", "0", *options, "iemocap=/nowhere --folds 1"],
            capture_output=True, text=True)
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done.stdout + done.stderr

    encoders = ("--encoder", f"{tmp_path}/one {tmp_path}/two")
    assert "0 of 8 runs are finished" in run(*encoders)
    runs = [json.loads(line) for line in (tmp_path / "work/grid/iemocap.jsonl").open()]
    names = [f"encoder-one-finetune-linear_{condition}_pretrained" for condition in (
        "clean_none", "clean_se-cp", "clean+speed_none", "clean+pitch_none", "clean+vtlp_none", "clean+cyclegan_none",
        "clean+stargan_none")]
    assert [run["out"] for run in runs] == [f"exp_merge-excited/{name}/fold1/seed0" for name in (
        *names, "encoder-two-finetune-linear_clean_none_pretrained")]
    assert [list(run["tests"]) for run in runs] == [["test", "test_diluted"]] * 8
    said = run("--encoder", f"{tmp_path}/one", "--encoder-mode", "frozen", "--encoder-layer", "1", "--train-data",
               "clean+speed+vtlp")
    assert "encoder-one-layer1-linear_clean+speed+vtlp_none_random/fold1/seed0" in said
    for options, message in (
        ((), "--encoder: name the folder of a pretrained encoder"),
        (("--encoder", f"{tmp_path}/one /elsewhere/one"), "two folders have the same name"),
        ((*encoders, "--init", "random"), "--init is not of --paper emoaug"),
        ((*encoders, "--network", "alexnet"), "--network is of --paper noise-mixup"),
        ((*encoders, "--paper", "copypaste"), "--encoder is of --paper emoaug"),
    ):
        assert message in run(*options, ok=False)


@pytest.fixture(scope="module")
def grid(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """Lists and features of both corpora."""
    grid = Grid(tmp_path_factory.mktemp("grid"))
    for corpus, fraction in REPLICAS.items():
        subprocess.run(
            [sys.executable, shared / "tools" / "make_replica.py", corpus, grid.folder / corpus,
             "--fraction", str(fraction)], check=True, capture_output=True,
        )
    before = grid.run("--dry-run", "true")
    assert len(re.findall("seed0 +missing", before)) == len(RUNS) and "time left" not in before
    assert sorted(path.name for path in grid.work.rglob("*.*")) == ["cremad.jsonl", "iemocap.jsonl"]
    grid.run("--stop-stage", "1")
    for data in (grid.work / "cremad" / "data", grid.work / "iemocap" / "data" / "fold1"):
        for noisy in ("test_snr10", "test_snr0"):
            shutil.copytree(data / "test_voiced", data / f"{noisy}_voiced")
    return grid


@pytest.fixture(scope="module")
def undisturbed(grid: Grid) -> tuple[dict[str, bytes], float, str]:
    """The tables of a grid that was left alone, how long it took, and what it printed."""
    started = time.monotonic()
    printed = grid.run("--stage", "3")
    return grid.tables(), time.monotonic() - started, printed


def test_all_runs_and_tables_are_there(grid: Grid, undisturbed) -> None:
    tables, _, printed = undisturbed
    assert "0 of 4 runs are finished, to do:" in printed
    assert "4 runs wait for a pre-trained model (--init DIR)" in printed
    overall = tables["grid/results/overall.md"].decode()
    assert "IEMOCAP: seed 0, fold 1." in overall
    lines = [line for line in overall.splitlines() if "| ours |" in line]
    crema = next(line for line in lines if line.startswith("| Crema-D | Clean |"))
    assert crema.count("—") == 2  # the two schemes that were not asked for
    assert lines[-1].count("—") == 4  # x-vector initialisation waits
    assert len([name for name in tables if name.endswith("predictions.tsv")]) == 4 * 2 + 3 * 2
    assert "diluted test: left empty, since no speaker has two neutral utterances" in overall  # of CREMA-D's replica


def test_again_does_nothing(grid: Grid, undisturbed) -> None:
    before = grid.checkpoints()
    printed = grid.run("--stage", "3", "--stop-stage", "3")
    assert "4 of 4 runs are finished" in printed and "epoch" not in printed
    assert grid.checkpoints() == before


def test_dry_run_judges_by_what_was_measured(grid: Grid, undisturbed) -> None:
    config = grid.folder / "longer.yaml"
    config.write_text(grid.config.read_text().replace("epochs: 2", "epochs: 200"))
    printed = grid.run("--dry-run", "true", "--config", str(config), "--init", f"{grid.work}/{RUNS[0]}")
    assert "0 of 8 runs are finished" in printed
    assert len(re.findall(r"_longer/\S+ +missing", printed)) == 8 and printed.count("_xvector-seed0-") == 4
    assert "waits" not in printed and "time left" not in printed, "no run like these has an epoch yet"
    assert not list(grid.work.rglob("*xvector*")) and not list(grid.work.rglob("*longer*/"))
    run = shutil.copytree(grid.work / RUNS[0], grid.work / RUNS[0].replace(TAG, "longer"))
    (run / ".train.done").unlink()
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("epochs: 2\n", "epochs: 200\n"))
    history = run / "history.jsonl"
    history.write_text("".join(re.sub(r'"seconds": [^,]+', '"seconds": 10', line) + "\n"
                               for line in history.read_text().splitlines()))
    printed = grid.run("--dry-run", "true", "--config", str(config))
    assert re.search(r"cremad/\S+_none_random_longer/seed0 +stopped, epoch 2/200; .* about 33 min 0 s", printed)
    assert "time left: 33 min 0 s of jobs for 1 of 4 runs" in printed
    shutil.rmtree(run.parent)


def test_deleted_scores_are_made_again_alone_and_a_failure_stops_nothing_else(grid: Grid, undisturbed) -> None:
    before = grid.checkpoints()
    good, bad = grid.work / RUNS[2] / "score_test_diluted", grid.work / RUNS[3] / "score_test"
    for folder in (good, bad):
        shutil.rmtree(folder)
    bad.write_text("in the way")
    printed = grid.run("--stage", "3", ok=False)
    assert "2 of 4 runs are finished, to do:" in printed
    assert re.search(rf"iemocap/\S+_none_random_{TAG}/fold1/seed0 +trained, no scores on test_diluted", printed)
    log = max(grid.work.glob("grid/*/run.1.log")).read_text()
    assert "seed0 is up to date" in log and "epoch" not in log
    assert "score_test/score.json is up to date" in log and "test_diluted: weighted F1" in log
    log = max(grid.work.glob("grid/*/run.2.log"))
    assert f"1 of 2 runs failed:\n  {RUNS[3].replace('/exp', '')}: log {log}" in printed
    overall = (grid.work / "grid" / "results" / "overall.md").read_text()
    assert re.search(rf"mfcc-resnet_clean_n\+se-cp_random_{TAG} on test(, .*)? lacks fold1/seed0", overall)
    assert (good / "score.json").exists()
    bad.unlink()
    grid.run("--stage", "3")
    assert grid.checkpoints() == before and grid.tables() == undisturbed[0]


def test_killed_twice_it_ends_with_the_same_tables(grid: Grid, undisturbed) -> None:
    """kill -9 at random moments, of all processes and of the grid runner alone."""
    expected, seconds, _ = undisturbed
    for lost in ("cremad/exp", "iemocap/exp/results", "grid"):
        shutil.rmtree(grid.work / lost)
    chance = random.Random()
    for everything in (True, False):
        process = subprocess.Popen(
            [*grid.command("--stage", "3"), *grid.corpora], start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(0.1, 0.4) * seconds)
        if everything:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.send_signal(signal.SIGKILL)
        process.wait()
    grid.run("--stage", "3")
    ours = grid.tables()
    assert ours.keys() == expected.keys()
    assert [name for name in expected if ours[name] != expected[name]] == []


@pytest.mark.parametrize(
    ("options", "corpora", "message"),
    [
        ([], [], "name at least one corpus"),
        ([], ["nowhere=/corpora/x"], "no recipe 'nowhere'; there are: cremad"),
        ([], ["cremad=/a", "cremad=/b"], "cremad is named twice"),
        (["--scheme", "cp"], ["cremad"], "'cp' is none of none, se-cp, n-cp, n+se-cp"),
        (["--train-data", "noise"], ["cremad"], "--train-data is clean, or a sum"),
        (["--init", "/nowhere"], ["cremad"], "no best.pt there"),
        (["--seeds", ""], ["cremad"], "cannot be empty"),
        ([], ["cremad --merge-excited true"], "unknown option --merge-excited"),
        ([], ["iemocap=/nowhere/at all --folds '1 9'"], "not '9'"),
    ],
)
def test_what_cannot_work_is_said_at_once(tmp_path: Path, options: list[str], corpora: list[str], message: str) -> None:
    assert message in Grid(tmp_path).run(*options, corpora=corpora, ok=False)


def test_a_corpus_that_is_not_there_does_not_stop_the_others(grid: Grid) -> None:
    corpora = ["msp_podcast=/nowhere at all", grid.corpora[0]]
    printed = grid.run("--stop-stage", "0", corpora=corpora, ok=False)
    assert "/nowhere at all" in printed and "failed: msp_podcast: stages 0 to 0, see above" in printed
    assert "3 of 3 data directories are up to date" in printed


def test_help_lists_the_options() -> None:
    done = subprocess.run([str(ROOT / "local" / "run_grid.sh"), "--help"], capture_output=True, text=True, check=True)
    for word in ("--dry-run", "--scheme", "--train-data", "--init", "--seeds", "--musan-dir", "--work-dir", "--ngpu"):
        assert word in done.stdout
