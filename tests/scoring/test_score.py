"""`score.py`: whole utterances, nothing missing, nothing that does not fit."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import score as program
import torch
from conftest import ROOT
from tiny_data import SMALL, make_data

from ser.augment.dilution import DILUTED_TEST
from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table
from ser.data.arks import ArkWriter, read_arks
from ser.data.labels import Labels
from ser.scoring.predictions import read_score, reason_for_no_score
from ser.training.options import TrainOptions
from ser.training.run_folder import FINISHED
from ser.training.runs import Run
from ser.training.systems import SYSTEMS
from ser.training.trainer import Trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with train, dev and a finished run."""
    folder = tmp_path_factory.mktemp("score")
    train, dev = make_data(folder / "train", 32, 1), make_data(folder / "dev", 16, 2)
    options = TrainOptions(**{**SMALL, "epochs": 1, "precise_bn": 1})
    Trainer(Run(str(folder), "run", (str(train),), str(dev), options=options), torch.device("cpu")).train()
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


@pytest.fixture
def score(trained: Path, run: Path, monkeypatch, capsys) -> Callable[..., str]:
    """Score the run on a test set, by default dev; what that prints. In this process: imports take longer than it."""

    def score(*options: str, test: Path = trained / "dev", name: str = "test") -> str:
        words = ["score.py", "--run", str(run), "--device", "cpu", "--tests", f"{name}={test}", *options]
        monkeypatch.setattr(sys, "argv", words)
        program.main()
        return capsys.readouterr().out

    return score


def test_writes_predictions_of_every_utterance(trained: Path, run: Path, score) -> None:
    assert "test: weighted F1" in score()
    written = read_score(run / "score_test")
    utterances = [line.split()[0] for line in (trained / "dev" / "utt2emo").read_text().splitlines()]
    assert list(written.predictions.utterances) == utterances
    truth = Labels.read([trained / "dev"], utterances)
    assert list(written.predictions.reference) == [truth.classes[index] for index in truth.indices]
    assert written.record["checkpoint"]["options"]["scheme"] == "none"
    assert np.allclose(written.predictions.posteriors.sum(1), 1, atol=1e-5)
    before = (run / "score_test" / "score.json").stat().st_mtime_ns
    assert "up to date" in score()
    assert (run / "score_test" / "score.json").stat().st_mtime_ns == before


def test_a_continued_training_is_scored_as_what_it_became(trained: Path, run: Path, score) -> None:
    """Whether or not a later epoch was better, the score is of a training of two epochs."""
    score()
    assert read_score(run / "score_test").record["checkpoint"]["options"]["epochs"] == 1
    (run / FINISHED).unlink()
    options = TrainOptions(**{**SMALL, "epochs": 2, "precise_bn": 1})
    again = Run(str(run.parent), run.name, (str(trained / "train"),), str(trained / "dev"), options=options)
    Trainer(again, torch.device("cpu")).train()
    score()
    assert read_score(run / "score_test").record["checkpoint"]["options"]["epochs"] == 2


def test_a_missing_utterance_is_an_error(trained: Path, run: Path, tmp_path: Path, score) -> None:
    test = Path(shutil.copytree(trained / "dev", tmp_path / "dev"))
    for name in ("feats.scp", "utt2num_frames"):
        lines = (test / name).read_text().splitlines(keepends=True)
        (test / name).write_text("".join(lines[:-1]))
    lost = lines[-1].split()[0]
    with pytest.raises(SerError, match=lost):
        score(test=test)
    assert not (run / "score_test" / "score.json").exists()


def test_an_unfinished_training_is_not_scored_by_mistake(trained: Path, run: Path, score) -> None:
    (run / FINISHED).unlink()
    with pytest.raises(SerError, match="has not finished"):
        score()
    score("--allow-unfinished")


def test_another_front_end_is_refused(trained: Path, run: Path, tmp_path: Path, score) -> None:
    test = Path(shutil.copytree(trained / "dev", tmp_path / "dev"))
    (test / "conf" / "cmn.conf").write_text("--cmn=none\n")
    with pytest.raises(SerError, match="made with other options"):
        score(test=test)


def test_the_recordings_that_normalisation_by_speaker_took_are_recorded(
    trained: Path, run: Path, tmp_path: Path, score
) -> None:
    """Or, where a directory of such features does not say how many they were, that is an error."""
    checkpoint = torch.load(run / "best.pt", weights_only=True)
    checkpoint["front_end"] = "\n".join(sorted([*checkpoint["front_end"].splitlines(), "--cmn=speaker"]))
    torch.save(checkpoint, run / "best.pt")
    test = Path(shutil.copytree(trained / "dev", tmp_path / "dev"))
    (test / "conf" / "cmn.conf").write_text("--cmn=speaker\n")
    with pytest.raises(SerError, match="utt2num_cmvn: no such file"):
        score(test=test)
    utt2spk = dict(line.split() for line in (test / "utt2spk").read_text().splitlines())
    numbers = {speaker: 7 + number for number, speaker in enumerate(sorted(set(utt2spk.values())))}
    (test / "utt2num_cmvn").write_text("".join(f"{utt} {numbers[utt2spk[utt]]}\n" for utt in sorted(utt2spk)))
    assert "without labels (7 to 10 of each of 4 speakers)" in score(test=test)
    assert read_score(run / "score_test").record["normalised_over"] == numbers


def test_a_truncated_checkpoint_is_named(trained: Path, run: Path, shell) -> None:
    (run / "best.pt").write_bytes((run / "best.pt").read_bytes()[:3000])
    done = shell(f"pyscripts/score.py --run {run} --device cpu --tests test={trained}/dev", ok=False)
    assert "best.pt: truncated, damaged or not a checkpoint" in done.stderr


def test_utterances_that_the_front_end_dropped_are_counted(trained: Path, run: Path, tmp_path: Path, shell) -> None:
    """Those still in the list of a fold, and those that make_mfcc.sh took out of the list that it was given."""
    listed = tmp_path / "listed"
    listed.mkdir()
    utt2spk = (trained / "dev" / "utt2spk").read_text()
    (listed / "utt2spk").write_text(utt2spk + "zz-1 zz\n")
    (listed / ".backup").mkdir()
    (listed / ".backup" / "dropped_utterances").write_text("zz-2 feats.scp\nzz-2 vad.scp\n")
    record = Run(str(run.parent), run.name, ("-",), "-", {"test": str(trained / "dev")}, test_list=str(listed))
    (tmp_path / "runs.jsonl").write_text(record.line() + "\n")
    shell(f"OMP_NUM_THREADS=1 {ROOT}/pyscripts/score.py --runs {tmp_path}/runs.jsonl --job 1 --device cpu")
    assert read_score(run / "score_test").record["dropped"] == 2


def test_the_diluted_test_equals_one_joined_by_hand(trained: Path, run: Path, tmp_path: Path, score) -> None:
    """Features are joined end to end in a data directory of their own, as `parts` says, and scored as any other."""
    test = trained / "train"  # has two neutral utterances of each speaker
    assert "test_diluted: weighted F1" in score(test=test, name=DILUTED_TEST)
    diluted = read_score(run / "score_test_diluted")
    predictions, emotion, speaker = diluted.predictions, read_table(test / "utt2emo"), read_table(test / "utt2spk")
    assert predictions.utterances == tuple(sorted(emotion)) and diluted.record["left_out"] == 0
    assert predictions.reference == tuple(emotion[utterance] for utterance in predictions.utterances)
    assert (run / "score_test_diluted/predictions.tsv").read_text().split("\t")[4] == "parts"

    features = dict(read_arks(test / "feats.scp"))
    joined = Path(shutil.copytree(test, tmp_path / "joined"))
    frames = {}
    with ArkWriter(joined / "feats.ark", joined / "feats.scp") as writer:
        for utterance, parts in zip(predictions.utterances, map(str.split, predictions.parts), strict=True):
            (partner,) = set(parts) - {utterance}
            assert emotion[partner] == "neutral" and speaker[partner] == speaker[utterance]
            writer.write(utterance, np.concatenate([features[part] for part in parts]))
            frames[utterance] = sum(len(features[part]) for part in parts)
    (joined / "utt2num_frames").write_text("".join(f"{name} {count}\n" for name, count in frames.items()))
    score(test=joined)
    by_hand = read_score(run / "score_test").predictions
    assert np.abs(by_hand.posteriors - predictions.posteriors).max() <= 2e-6  # of 6 decimals
    assert by_hand.hypothesis == predictions.hypothesis
    score(test=test, name="other")
    assert np.abs(read_score(run / "score_other").predictions.posteriors - predictions.posteriors).max() > 1e-3


def test_a_diluted_test_counts_and_names_whom_it_leaves_out(trained: Path, run: Path, tmp_path: Path, score) -> None:
    test = Path(shutil.copytree(trained / "train", tmp_path / "test"))
    emotions = read_table(test / "utt2emo")
    lost = [name for name in emotions if name.startswith("s11-")]
    one = next(name for name in lost if emotions[name] == "neutral")
    (test / "utt2emo").write_text("".join(f"{name} {'sad' if name == one else emotion}\n"
                                          for name, emotion in emotions.items()))
    assert f"left out 8 utterances, whose speakers have no second neutral one: {' '.join(lost)}\n" in score(
        test=test, name=DILUTED_TEST)
    record = read_score(run / "score_test_diluted").record
    assert (record["utterances"], record["left_out"], record["dropped"]) == (24, 8, 0)


def test_a_diluted_test_that_cannot_be_made_says_why(trained: Path, run: Path, score, monkeypatch) -> None:
    assert "left empty, since no speaker has two neutral utterances" in score(name=DILUTED_TEST)  # dev: one of each
    assert reason_for_no_score(run / "score_test_diluted") == "no speaker has two neutral utterances"
    assert "up to date" in score(name=DILUTED_TEST)
    monkeypatch.setitem(SYSTEMS, "mfcc", replace(SYSTEMS["mfcc"], can_join=False))
    shutil.rmtree(run / "score_test_diluted")
    assert "left empty, since examples without a length cannot be joined" in score(name=DILUTED_TEST)
