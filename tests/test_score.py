"""`score.py`: whole utterances, nothing missing, nothing that does not fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import SMALL, make_data

from ser.checkpoint import FINISHED
from ser.labels import Labels
from ser.options import TrainOptions
from ser.scoring import read_score
from ser.training import Trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with train, dev and a finished run."""
    folder = tmp_path_factory.mktemp("score")
    train, dev = make_data(folder / "train", 32, 1), make_data(folder / "dev", 16, 2)
    options = TrainOptions(**{**SMALL, "epochs": 1, "precise_bn": 1})
    Trainer([str(train)], str(dev), folder / "run", options, "none", 0, torch.device("cpu")).run()
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


def test_writes_predictions_of_every_utterance(trained: Path, run: Path, shell) -> None:
    line = f"pyscripts/score.py --run {run} --device cpu --tests test={trained}/dev"
    assert "test: weighted F1" in shell(line).stdout
    score = read_score(run / "score_test")
    utterances = [line.split()[0] for line in (trained / "dev" / "utt2emo").read_text().splitlines()]
    assert list(score.predictions.utterances) == utterances
    truth = Labels.read([trained / "dev"], utterances)
    assert list(score.predictions.reference) == [truth.classes[index] for index in truth.indices]
    assert score.record["checkpoint"]["options"]["scheme"] == "none"
    assert np.allclose(score.predictions.posteriors.sum(1), 1, atol=1e-5)
    before = (run / "score_test" / "score.json").stat().st_mtime_ns
    assert "up to date" in shell(line).stdout
    assert (run / "score_test" / "score.json").stat().st_mtime_ns == before


def test_a_continued_training_is_scored_as_what_it_became(trained: Path, run: Path, shell) -> None:
    """Whether or not a later epoch was better, the score is of a training of two epochs."""
    line = f"pyscripts/score.py --run {run} --device cpu --tests test={trained}/dev"
    shell(line)
    assert read_score(run / "score_test").record["checkpoint"]["options"]["epochs"] == 1
    options = TrainOptions(**{**SMALL, "epochs": 2, "precise_bn": 1})
    Trainer([str(trained / "train")], str(trained / "dev"), run, options, "none", 0, torch.device("cpu")).run()
    shell(line)
    assert read_score(run / "score_test").record["checkpoint"]["options"]["epochs"] == 2


def test_a_missing_utterance_is_an_error(trained: Path, run: Path, tmp_path: Path, shell) -> None:
    test = Path(shutil.copytree(trained / "dev", tmp_path / "dev"))
    for name in ("feats.scp", "utt2num_frames"):
        lines = (test / name).read_text().splitlines(keepends=True)
        (test / name).write_text("".join(lines[:-1]))
    lost = lines[-1].split()[0]
    done = shell(f"pyscripts/score.py --run {run} --device cpu --tests test={test}", ok=False)
    assert lost in done.stderr
    assert not (run / "score_test" / "score.json").exists()


def test_an_unfinished_training_is_not_scored_by_mistake(trained: Path, run: Path, shell) -> None:
    (run / FINISHED).unlink()
    line = f"pyscripts/score.py --run {run} --device cpu --tests test={trained}/dev"
    assert "has not finished" in shell(line, ok=False).stderr
    shell(f"{line} --allow-unfinished")


def test_another_front_end_is_refused(trained: Path, run: Path, tmp_path: Path, shell) -> None:
    test = Path(shutil.copytree(trained / "dev", tmp_path / "dev"))
    (test / "conf" / "cmn.conf").write_text("--cmn=none\n")
    done = shell(f"pyscripts/score.py --run {run} --device cpu --tests test={test}", ok=False)
    assert "made with other options" in done.stderr


def test_a_truncated_checkpoint_is_named(trained: Path, run: Path, shell) -> None:
    (run / "best.pt").write_bytes((run / "best.pt").read_bytes()[:3000])
    done = shell(f"pyscripts/score.py --run {run} --device cpu --tests test={trained}/dev", ok=False)
    assert "best.pt: truncated, damaged or not a checkpoint" in done.stderr
