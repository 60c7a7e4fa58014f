"""A run of one corpus scored on another's tests: `./run.sh --score-run`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_driver import call, plan
from test_table import ROOT, example, run, table  # noqa: F401 – a fixture

from ser.base.kaldi_tables import read_table
from ser.scoring.predictions import read_score
from ser.training.options import TrainOptions
from ser.training.run_folder import FINISHED, write_config
from ser.training.runs import Run


def finished(folder: Path, **of_run: object) -> Path:
    """A folder that looks like a finished run's."""
    values = {"recipe": "ravdess", "features": "mfcc-speaker", "train_data": "clean", "fold": 2, "init": "random",
              "given": ("--cmn", "speaker", "--test-snr", "5"), "options": TrainOptions(network="tdnn", seed=3)}
    run = Run(str(folder / "ravdess"), "exp/seed3", ("data/train",), "data/dev", **values | of_run)
    run.folder.mkdir(parents=True, exist_ok=True)
    write_config(run)
    for name in ("best.pt", FINISHED):
        (run.folder / name).touch()
    return run.folder


def test_plan_has_the_runs_features_and_says_what_it_was_trained_on(tmp_path: Path) -> None:
    source = finished(tmp_path)
    (planned,) = plan(tmp_path, "--score-run", str(source))
    assert planned["out"] == "exp/mfcc-speaker-tdnn_clean@ravdess-fold2_none_random/seed3"
    assert planned["source"] == str(source) and planned["options"] == {"network": "tdnn", "seed": 3}
    assert planned["tests"]["test"] == "data/test_speaker_voiced" and set(planned["tests"]) == {
        "test", "test_diluted", "test_snr10", "test_snr0"}  # the tests are this corpus's, not the run's
    assert planned["train"] == [] and planned["recipe"] == "mini" and planned["work"] == str(tmp_path / "work")
    folds = plan(tmp_path, "--recipe", "iemocap", "--score-run", str(source), "--folds", "1 4", "--tag", "mine")
    assert [run["out"].removeprefix("exp/mfcc-speaker-tdnn_clean@ravdess-fold2_") for run in folds] == [
        "none_random_mine/fold1/seed3", "none_random_mine/fold4/seed3"]


@pytest.mark.parametrize("of_run, words, message", [
    ({}, ["--epochs", "3"], "trains nothing; leave out --epochs"),
    ({}, ["--cmn", "utterance"], "reads the features mfcc-speaker, not mfcc-utterance"),
    ({}, ["--recipe", "librispeech"], "--score-run scores emotions; librispeech has speakers"),
    ({"options": TrainOptions(system="spectrogram", network="squeezenet"), "given": (), "features": "spectrogram"}, [],
     "a run of the system spectrogram; those of mfcc, functionals, encoder, encoder-finetune can be scored"),
    ({"options": TrainOptions(labels="utt2spk", network="tdnn")}, [], "a run that was trained on emotions"),
    ({"source": "/else"}, [], "a run that was trained on emotions"),
])
def test_what_cannot_be_scored_is_said(tmp_path: Path, of_run: dict, words: list[str], message: str) -> None:
    source = finished(tmp_path, **of_run)
    assert message in call("--work-dir", str(tmp_path / "work"), "--plan", str(tmp_path / "runs"), "--score-run",
                           str(source), *words, ok=False)


def test_a_folder_without_a_finished_run_is_said(tmp_path: Path) -> None:
    words = ["--work-dir", str(tmp_path / "work"), "--plan", str(tmp_path / "runs"), "--score-run"]
    assert "no config.yaml there" in call(*words, str(tmp_path), ok=False)
    source = finished(tmp_path)
    (source / FINISHED).unlink()
    assert "no finished training there" in call(*words, str(source), ok=False)
    own = finished(tmp_path / "own")
    words = ["--recipe", "ravdess", "--work-dir", str(tmp_path / "own/ravdess"), *words[2:], str(own)]
    assert "a run of this corpus" in call(*words, ok=False)


def test_a_run_of_one_table_scored_on_another(table: Path, tmp_path: Path) -> None:  # noqa: F811
    """Over angry and neutral, which both have; sad is the run's alone, and calm the other table's."""
    _, command = example()
    run(table, command, "--system", "functionals", "--folds", "1", "--machines", "linear=1", "--stop-stage", "3")
    source = table.parent / "work/exp/functionals-svm_clean_none_random_machines-linear-1/fold1/seed0"
    other = table.with_name("other.csv")
    other.write_text(table.read_text().replace(",sad,", ",calm,"))
    words = ("--recipe", "table", "--corpus-dir", str(other), "--work-dir", str(tmp_path / "other"), "--nj", "2",
             "--folds", "1", "--score-run", str(source))
    printed = call(*words)
    assert "trained on table-work-fold1: it does not know calm (1), whose utterances are left out" in printed
    assert re.search("Trained on +Training data +Init +Scheme +Utterances +clean test", printed)
    assert "table-work-fold1  Clean          random  No CP  " in printed
    condition = tmp_path / "other/exp/functionals-svm_clean@table-work-fold1_none_random_machines-linear-1"
    score = read_score(condition / "fold1/seed0/score_test")
    assert score.record["classes"] == ["angry", "calm", "neutral"] and score.record["utterances"] == 2
    assert score.record["unknown_classes"] == {"calm": 1} and score.record["other_classes"] == ["sad"]
    # The same network by itself, its answers given that it is one of the two.
    recording = read_table(tmp_path / "other/data/fold1/test/wav.scp")[score.predictions.utterances[0]]
    program = [sys.executable, ROOT / "pyscripts/predict.py", "--model", source, "--format", "json"]
    done = subprocess.run([*program, recording], capture_output=True, text=True, check=True)
    alone = json.loads(done.stdout.splitlines()[0])["probabilities"]
    expected = np.array([alone["angry"], 0, alone["neutral"]]) / (alone["angry"] + alone["neutral"])
    assert np.allclose(score.predictions.posteriors[0], expected, atol=2e-6)
    shown = subprocess.run([sys.executable, ROOT / "pyscripts/status.py", tmp_path / "other/exp"], capture_output=True,
                           text=True, check=True).stdout
    assert "1 runs: 1 finished" in shown
