"""Tables, intervals and tests from hand-made scores whose answers are known."""

from __future__ import annotations

import csv
import itertools
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import report
from conftest import ROOT
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from ser.augment.copypaste import SCHEMES
from ser.base.errors import SerError
from ser.scoring import significance
from ser.scoring.collect import collect
from ser.scoring.paper_tables import paper_marks, paper_tables, read_paper
from ser.scoring.predictions import write_no_score, write_score
from ser.scoring.result_tables import summary_table
from ser.scoring.results import Condition, test_title

PAPER = ROOT / "conf" / "copypaste_tables.json"
CLASSES = ["angry", "happy", "neutral", "sad"]
ONE_EACH = 10  # utterances of each class and speaker


def write_run(
    exp: Path, condition: str, run: str, errors: dict[str, int], test: str = "test", dropped: int = 0,
    normalised_over: int = 0, **options: object,
) -> Path:
    """A run in which each speaker has, of each class, `errors[speaker]` of 10 utterances taken for the next class.

    All rows and columns of the confusion matrix then have equal sums, so that weighted F1, UAR, accuracy and the F1 of
    each class are all equal to the share of right answers.
    """
    utterances, speakers, reference, columns = [], [], [], []
    for speaker, wrong in errors.items():
        for number, name in enumerate(CLASSES):
            for take in range(ONE_EACH):
                utterances.append(f"{speaker}-{name}-{take}")
                speakers.append(speaker)
                reference.append(name)
                columns.append((number + 1) % 4 if take < wrong else number)
    folder = exp / condition / run
    checkpoint = {"path": folder / "best.pt", "epoch": 3, "dev_weighted_f1": 0.25, "options": options}
    write_score(folder, test, utterances, speakers, reference, np.eye(4)[columns], CLASSES, checkpoint, dropped,
                normalised_over=dict.fromkeys(errors, normalised_over) if normalised_over else None)
    return folder / f"score_{test}"


def same(wrong: int, speakers: int = 4) -> dict[str, int]:
    return {f"s{number:02d}": wrong for number in range(speakers)}


TESTS = ("test", "test_diluted", "test_snr10", "test_snr0")


@pytest.fixture
def exp(tmp_path) -> Path:
    """Clean training, random initialisation: No CP 60 ± 10 over seeds, N-CP 80 for all of them, N+SE-CP lacks a run.

    Diluted, No CP has 20, N-CP 70.
    """
    exp = tmp_path / "corpus" / "exp"
    for seed, wrong in enumerate([5, 4, 3]):
        for test in TESTS:
            diluted = test == "test_diluted"
            write_run(exp, "mfcc-resnet_clean_none_random", f"seed{seed}", same(8 if diluted else wrong), test)
            write_run(exp, "mfcc-resnet_clean_n-cp_random", f"seed{seed}", same(3 if diluted else 2), test)
            if seed < 2:
                write_run(exp, "mfcc-resnet_clean_n+se-cp_random", f"seed{seed}", same(seed), test)
    return exp


def run_report(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
    report.main()


def test_training_data_are_sorted_by_their_kinds_and_titled() -> None:
    order = {"clean": "Clean", "clean+noise": "Clean+Noise", "clean+noise-music-20": "clean+noise-music-20",
             "clean+noise+speed": "Clean+Noise+Speed", "clean+speed": "Clean+Speed",
             "clean+speed+vtlp": "Clean+Speed+VTLP", "clean+pitch": "Clean+Pitch", "clean+emoaug2": "Clean+EmoAug2",
             "clean+emoaug4": "Clean+EmoAug4", "clean+emoaug4-balanced": "clean+emoaug4-balanced",
             "clean+else": "clean+else",
             "clean@cremad": "Clean"}
    conditions = [Condition("mfcc-tdnn", name, "none", "random") for name in order]
    assert sorted(set(conditions), key=Condition.order) == conditions
    assert [condition.train_title for condition in conditions] == list(order.values())


def test_printed_tables_are_exact(exp, monkeypatch, capsys):
    run_report(monkeypatch, "--exp-dir", exp)
    out = capsys.readouterr().out
    table = """\
Training data  Init    Scheme         clean test      diluted test        10 dB test         0 dB test                WA                UA
------------------------------------------------------------------------------------------------------------------------------------------
Clean          random  No CP         60.0 ± 10.0        20.0 ± 0.0       60.0 ± 10.0       60.0 ± 10.0       60.0 ± 10.0       60.0 ± 10.0
Clean          random  N-CP           80.0 ± 0.0        70.0 ± 0.0        80.0 ± 0.0        80.0 ± 0.0        80.0 ± 0.0        80.0 ± 0.0
Clean          random  N+SE-CP  95.0 (2/3 runs)*  95.0 (2/3 runs)*  95.0 (2/3 runs)*  95.0 (2/3 runs)*  95.0 (2/3 runs)*  95.0 (2/3 runs)*
WA is the accuracy on the clean test, UA the mean recall of its classes.
"""  # noqa: E501
    assert out.startswith("corpus: mean ± standard deviation over seeds 0 1 2\n\nWeighted F1 (%)\n" + table)
    assert f"* mfcc-resnet_clean_n+se-cp_random on {', '.join(TESTS)} lacks seed2\n" in out


def test_tests_of_whole_utterances_come_after_those_of_their_blocks(tmp_path):
    for blocks in ("test_snr20", "test", "test_snr40"):
        for test in (f"{blocks}_utterances", blocks):
            write_run(tmp_path / "exp", "spectrogram-alexnet_clean_none_imagenet", "seed0", same(2), test)
    assert [test_title(test) for test in collect(tmp_path / "exp", "blocks").tests] == [
        "clean test", "40 dB test", "20 dB test",
        "clean test, utterances", "40 dB test, utterances", "20 dB test, utterances",
    ]


def test_the_first_table_has_wa_ua_and_how_much_was_trained_on(tmp_path):
    reference = [*["angry"] * 6, *["happy"] * 3, "neutral", "sad"]
    columns = np.array([0, 0, 0, 0, 0, 1, 1, 0, 0, 2, 0])
    names = [f"u{number:02d}" for number in range(len(columns))]
    for fold, utterances in ((1, 300), (2, 310)):
        folder = tmp_path / "encoder-w-linear_clean+speed_none_random" / f"fold{fold}" / "seed0"
        write_score(folder, "test", names, names, reference, np.eye(4)[columns], CLASSES,
                    {"path": folder / "best.pt", "epoch": 1, "train_utterances": utterances})
    table = summary_table(collect(tmp_path, "corpus"))
    hypothesis = [CLASSES[column] for column in columns]
    scores = [f1_score(reference, hypothesis, average="weighted"), accuracy_score(reference, hypothesis),
              balanced_accuracy_score(reference, hypothesis)]
    assert table.header[3:] == ("Utterances", "clean test", "WA", "UA")
    assert table.rows == [("Clean+Speed", "random", "No CP", "305", *(f"{100 * score:.1f}" for score in scores))]
    assert table.notes[-1].endswith("Utterances are those trained on, with all copies (mean over folds).")


def test_intervals_and_p_of_identical_speakers(exp):
    found = collect(exp, "corpus").significance("test")
    assert [condition.scheme for condition in found] == ["none", "n-cp"]  # the cell that lacks a run has none
    none, ncp = found.values()
    assert none.speakers == 4 and none.f1 == pytest.approx(60) and none.to_none is None and none.to_baseline is None
    assert none.f1_interval == pytest.approx((60, 60))
    assert ncp.f1_interval == pytest.approx((80, 80))
    assert ncp.to_none.points == pytest.approx(20) and ncp.to_none.interval == pytest.approx((20, 20))
    assert ncp.to_none.p == 2 / 2**4  # of 16 exchanges only none and all give a difference of 20


def test_written_files(exp, monkeypatch, tmp_path):
    out = tmp_path / "out"
    run_report(monkeypatch, "--exp-dir", exp, "--out", out)
    rows = list(csv.DictReader((out / "summary.csv").open()))
    assert len(rows) == 4 * 3 * 7
    first = {key: rows[0][key] for key in ("test", "scheme", "measure", "mean", "standard_deviation", "runs")}
    assert first == {
        "test": "test", "scheme": "none", "measure": "weighted_f1", "mean": "60.0000", "standard_deviation": "10.0000",
        "runs": "3",
    }
    partial = [row for row in rows if row["scheme"] == "n+se-cp"]
    assert all((row["runs"], row["expected_runs"], row["standard_deviation"]) == ("2", "3", "") for row in partial)
    runs = list(csv.DictReader((out / "runs.csv").open()))
    assert len(runs) == 32 and runs[0]["checkpoint"] == "best.pt" and runs[0]["epoch"] == "3"
    markdown = (out / "report.md").read_text()
    assert "| Clean | random | N-CP | 80.0 ± 0.0 | 70.0 ± 0.0 | 80.0 ± 0.0 | 80.0 ± 0.0 |" in markdown
    assert "| Clean | random | N-CP | 80.0 [80.0, 80.0] | +20.0 [+20.0, +20.0] | 0.125 |" in markdown
    assert ("**Against No CP, diluted test**\n\n| Training data | Init | Scheme | Weighted F1 [95 %] | Difference to "
            "No CP [95 %] | p |") in markdown
    assert "| Clean | random | N-CP | 70.0 [70.0, 70.0] | +50.0 [+50.0, +50.0] | 0.125 |" in markdown
    assert "neutral ones are joined too, so that length tells nothing" in markdown
    assert "| Clean | random | N+SE-CP | lacks runs | — | — |" in markdown
    images = re.findall(r"\]\((.*\.png)\)", markdown)
    assert len(images) == 5
    for image in images:
        assert (out / image).read_bytes().startswith(b"\x89PNG")
    assert not list(out.glob(".*"))


def test_equal_scores_give_equal_bytes(exp, monkeypatch, tmp_path):
    for out in ("one", "two"):
        run_report(monkeypatch, "--exp-dir", exp, "--out", tmp_path / out, "--paper-corpus", "cremad")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert "paper.csv" in names and names == sorted(path.name for path in (tmp_path / "two").iterdir())
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_folds_are_averaged_within_a_seed_first(tmp_path):
    # Seed 0: folds 50 and 90, mean 70; seed 1: folds 80 and 80, mean 80; so 75 ± 7.07, not the spread of four runs.
    for fold, seed, wrong in [(1, 0, 5), (2, 0, 1), (1, 1, 2), (2, 1, 2)]:
        write_run(tmp_path, "mfcc-resnet_clean_none_random", f"fold{fold}/seed{seed}", {f"f{fold}": wrong})
    results = collect(tmp_path, "corpus")
    cell = results.cell(Condition("mfcc-resnet", "clean", "none", "random"), "test")
    estimate = cell.estimate(lambda record: record["weighted_f1"])
    assert estimate.mean == pytest.approx(75) and estimate.std == pytest.approx(50**0.5)
    assert results.significance("test")[Condition("mfcc-resnet", "clean", "none", "random")].f1 == pytest.approx(75)
    assert cell.confusion().sum() == 160


def test_expected_runs_from_the_command_line(exp):
    condition = Condition("mfcc-resnet", "clean", "none", "random")
    estimate = collect(exp, "corpus", seeds=[0, 1, 2, 3]).cell(condition, "test").estimate(lambda r: r["accuracy"])
    assert estimate.text() == "60.0 (3/4 runs)*"
    results = collect(exp, "corpus", seeds=[1])
    assert results.cell(condition, "test").estimate(lambda record: record["accuracy"]).text() == "60.0"
    assert results.notes == ("left out because they were not asked for: seed0 seed2",)


def test_run_without_score_is_missing_not_ignored(exp):
    (exp / "mfcc-resnet_clean_none_random/seed3").mkdir()  # training, not yet scored
    notes = collect(exp, "corpus").notes
    assert f"* mfcc-resnet_clean_none_random on {', '.join(TESTS)} lacks seed3" in notes
    assert f"* mfcc-resnet_clean_n-cp_random on {', '.join(TESTS)} lacks seed3" in notes


def test_damaged_scores_are_all_named_with_the_remedy(exp):
    one = exp / "mfcc-resnet_clean_none_random/seed1/score_test/score.json"
    one.write_text(one.read_text()[:-20])
    other = exp / "mfcc-resnet_clean_n-cp_random/seed0/score_test_snr10/predictions.tsv"
    other.unlink()
    with pytest.raises(SerError) as caught:
        collect(exp, "ravdess")
    message = str(caught.value)
    assert message.startswith("2 of 32 scores cannot be used") and str(one) in message and str(other) in message
    assert f"./run.sh --recipe ravdess --stage 4 --config {one.parent.parent}/config.yaml" in message


def test_runs_on_different_utterances_are_refused(exp):
    folder = write_run(exp, "mfcc-resnet_clean_n-cp_random", "seed1", same(2, speakers=3))
    with pytest.raises(SerError, match=r"not tested on the same.* 40 entries.*'s03-angry-0 s03 angry'") as caught:
        collect(exp, "corpus")
    assert str(folder) in str(caught.value)


def test_runs_trained_otherwise_are_pointed_out(tmp_path):
    for scheme, rate in (("none", 0.001), ("n-cp", 0.01)):
        write_run(tmp_path, f"mfcc-resnet_clean_{scheme}_random", "seed0", same(2), scheme=scheme, learning_rate=rate,
                  crop=400)
    (note,) = collect(tmp_path, "corpus").notes
    assert note.startswith("BEWARE: runs differ in learning_rate") and "'0.01' in" in note and "crop" not in note


def test_folders_that_are_no_conditions(exp):
    (exp / "results").mkdir()
    (exp / "tmp_none_random/seed0").mkdir(parents=True)
    notes = collect(exp, "corpus").notes
    assert [note for note in notes if "results" in note or "tmp_none" in note] == [
        "left out because the name is no condition's (<features>-<network>_<train data>_<scheme>_<init>[_<tag>]): "
        f"{exp}/tmp_none_random"
    ]


def test_folders_of_before_models_had_names(exp, tmp_path):
    """They are named, with the name that brings them back; one that holds nothing else says so too."""
    (exp / "mfcc-resnet_clean_n-cp_random").rename(exp / "clean_n-cp_random")
    (note,) = [note for note in collect(exp, "corpus").notes if "before" in note]
    assert note == (f"{exp}: left out clean_n-cp_random: made before folders named their model; rename it to "
                    "mfcc-resnet_clean_n-cp_random to keep it in the tables")
    old = tmp_path / "old"
    for name in ("clean_none_random", "clean+noise_n+se-cp_xvector-vox_2"):
        write_run(old, name, "seed0", same(1))
    with pytest.raises(SerError, match="no scores of the runs asked for") as caught:
        collect(old, "corpus")
    new = "mfcc-resnet_clean+noise_n+se-cp_xvector-vox-2"
    assert f"rename each to {new}, mfcc-resnet_clean_none_random to keep" in str(caught.value)
    for path in list(old.iterdir()):
        path.rename(old / (new if "vox" in path.name else f"mfcc-resnet_{path.name}"))
    assert len(collect(old, "corpus").conditions) == 2


def test_models_and_tags_stand_side_by_side(exp):
    """In rows of their own, each with its own No CP; what they do not have in common needs no warning."""
    def row_starts() -> list[tuple[str, ...]]:
        table = summary_table(collect(exp, "corpus"))
        return [tuple(table.header[:table.labels]), *(tuple(row[:table.labels + 1]) for row in table.rows)]

    for seed in range(3):
        for scheme, wrong in (("none", 4), ("n-cp", 1)):
            write_run(exp, f"mfcc-resnet_clean_{scheme}_random_my_tag", f"seed{seed}", same(wrong), crop=99)
    assert row_starts() == [
        ("Training data", "Init", "Tag", "Scheme"), ("Clean", "random", "", "No CP", "60.0 ± 10.0"),
        ("Clean", "random", "", "N-CP", "80.0 ± 0.0"), ("Clean", "random", "", "N+SE-CP", "95.0 (2/3 runs)*"),
        ("Clean", "random", "my_tag", "No CP", "60.0 ± 0.0"), ("Clean", "random", "my_tag", "N-CP", "90.0 ± 0.0"),
    ]
    for seed in range(3):
        write_run(exp, "mfcc16k-resnet_reverb_n-cp_random", f"seed{seed}", same(0), crop=300)
    starts = row_starts()
    assert starts[0] == ("Model", "Training data", "Init", "Tag", "Scheme")
    assert starts[4] == ("mfcc-resnet", "Clean", "random", "my_tag", "No CP", "60.0 ± 0.0")
    assert starts[6:] == [("mfcc16k-resnet", "reverb", "random", "", "N-CP", "100.0 ± 0.0")]
    results = collect(exp, "corpus")
    found = results.significance("test")
    assert not [note for note in results.notes if "BEWARE" in note]
    assert found[Condition("mfcc-resnet", "clean", "n-cp", "random")].to_none.points == pytest.approx(20)
    assert found[Condition("mfcc-resnet", "clean", "n-cp", "random", "my_tag")].to_none.points == pytest.approx(30)
    assert found[Condition("mfcc16k-resnet", "reverb", "n-cp", "random")].to_none is None  # no No CP of its own


def test_copies_are_compared_with_clean_training(exp, monkeypatch, tmp_path):
    for seed in range(3):
        write_run(exp, "mfcc-resnet_clean+noise_none_random", f"seed{seed}", same(0))
    found = collect(exp, "corpus").significance("test")
    noisy = found[Condition("mfcc-resnet", "clean+noise", "none", "random")]
    assert noisy.to_none is None and noisy.to_clean.points == pytest.approx(40) and noisy.to_clean.p == 2 / 2**4
    assert found[Condition("mfcc-resnet", "clean", "n-cp", "random")].to_clean is None
    run_report(monkeypatch, "--exp-dir", exp, "--out", tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "**Against No CP and clean training, clean test**" in text
    assert "| Clean+Noise | random | No CP | 100.0 [100.0, 100.0] | — | — | +40.0 [+40.0, +40.0] | 0.125 |" in text
    rows = list(csv.DictReader((tmp_path / "significance.csv").open()))
    assert next(row["difference_to_clean"] for row in rows if row["train_data"] == "clean+noise") == "40.0000"


def test_the_baseline_stands_beside_what_has_to_beat_it(exp, monkeypatch, capsys, tmp_path):
    """Each of 4 speakers has 70 % right by the baseline, which has one seed whatever the others have."""
    for test in TESTS:
        write_run(exp, "functionals-svm_clean_none_random", "seed0", same(3), test)
    results = collect(exp, "corpus")
    found = results.significance("test")
    none, ncp = (found[Condition("mfcc-resnet", "clean", scheme, "random")] for scheme in ("none", "n-cp"))
    assert none.to_baseline.points == pytest.approx(-10) and ncp.to_baseline.points == pytest.approx(10)
    assert ncp.to_baseline.interval == pytest.approx((10, 10)) and ncp.to_baseline.p == 2 / 2**4
    assert found[Condition("functionals-svm", "clean", "none", "random")].to_baseline is None
    assert not [note for note in results.notes if "functionals" in note]
    run_report(monkeypatch, "--exp-dir", exp, "--out", tmp_path, "--seeds", "0 1 2")
    out = capsys.readouterr().out
    assert re.search(r"functionals-svm +Clean +random +No CP( +70\.0){6}\n", out)
    assert (
        "Clean test: mfcc-resnet_clean_none_random does not beat the baseline functionals-svm_clean_none_random: "
        "weighted F1 60.0, difference -10.0 [-10.0, -10.0], p 0.125.\n" in out
    )
    text = (tmp_path / "report.md").read_text()
    assert "**Against No CP and the baseline, 10 dB test**" in text and "+10.0 [+10.0, +10.0] | 0.125 |" in text
    rows = list(csv.DictReader((tmp_path / "significance.csv").open()))
    assert [row["difference_to_baseline"] for row in rows[:3]] == ["", "-10.0000", "10.0000"]


def test_a_baseline_is_of_the_same_features_and_training_data(exp):
    for name in ("functionals-svm_clean_none_random", "functionals-speaker-svm_clean_none_random",
                 "functionals-svm_clean+noise_none_random", "functionals-svm_clean_none_random_machines-rbf-1"):
        write_run(exp, name, "seed0", same(3))
    results = collect(exp, "corpus")
    for name, baseline in {
        "mfcc-resnet_clean_n-cp_random": "functionals-svm_clean_none_random",
        "mfcc-resnet_clean+noise_none_random_tag": "functionals-svm_clean+noise_none_random",
        "mfcc-speaker-tdnn_clean_none_random": "functionals-speaker-svm_clean_none_random",
        "encoder-wavlm-linear_clean_none_random": "functionals-svm_clean_none_random",
    }.items():
        assert results.baseline_of(Condition.parse(name)).name == baseline
    assert results.baseline_of(Condition.parse("mfcc16k-resnet_clean_none_random")) is None


def test_models_tested_on_other_utterances_are_pointed_out(exp):
    for seed in range(3):
        write_run(exp, "spec-alexnet_clean_none_random", f"seed{seed}", same(2, speakers=3))
    notes = [note for note in collect(exp, "corpus").notes if "BEWARE" in note]
    assert notes == ["BEWARE: clean test: mfcc and spec were not tested on the same utterances, so their scores do not "
                     "compare"]


def test_dropped_utterances_are_said(tmp_path, monkeypatch, capsys):
    exp = tmp_path / "corpus/exp"
    for fold, dropped in ((1, 2), (2, 1)):
        for seed in (0, 1):
            write_run(exp, "mfcc-resnet_clean_none_random", f"fold{fold}/seed{seed}", {f"f{fold}": 1}, dropped=dropped)
            write_run(exp, "mfcc-resnet_clean_none_random", f"fold{fold}/seed{seed}", {f"f{fold}": 1}, "test_snr0")
    run_report(monkeypatch, "--exp-dir", exp)
    line = "clean test: 3 of 83 utterances were dropped by the front end\n"
    assert capsys.readouterr().out.count("were dropped") == 1 and line in (exp / "results/report.md").read_text()
    assert {row["dropped"] for row in csv.DictReader((exp / "results/runs.csv").open())} == {"0", "1", "2"}


def test_normalisation_by_speaker_is_said_under_every_table(tmp_path, monkeypatch, capsys):
    exp = tmp_path / "corpus" / "exp"
    for test in ("test", "test_snr0"):
        write_run(exp, "mfcc-speaker-vars-resnet_clean_none_random", "seed0", same(2), test, normalised_over=36)
    write_run(exp, "mfcc-resnet_clean_none_random", "seed0", same(4))
    run_report(monkeypatch, "--exp-dir", exp)
    printed = capsys.readouterr().out
    note = ("mfcc-speaker-vars-resnet: features are normalised over the test speakers' own recordings, without labels "
            "(36 of each of 4 speakers). ")
    assert f"80.0\n{note}mfcc-resnet is with sliding means, which need none.\n" in printed
    markdown = (exp / "results" / "report.md").read_text()
    assert markdown.count(f"|\n\n{note}") == markdown.count("\n| --- ") == 5
    noisy = markdown.split("**Against No CP, 0 dB test**", 1)[1]
    assert f"|\n\n{note}No runs with sliding means, which need none, stand beside it (--cmn sliding).\n" in noisy
    rows = list(csv.DictReader((exp / "results" / "summary.csv").open()))
    assert {(row["model"], row["normalised_over"]) for row in rows if row["test"] == "test"} == {
        ("mfcc-resnet", ""), ("mfcc-speaker-vars-resnet", "36.0000"),
    }
    by_speaker = Condition.parse("mfcc16k-speaker-ownvad-tdnn_clean_none_random")
    assert by_speaker.not_by_speaker.model == "mfcc16k-ownvad-tdnn"


def test_the_remedy_is_a_command_that_makes_the_score(tmp_path):
    folder = write_run(tmp_path, "mfcc-tdnn_clean_n-cp_xvector-vox_my_tag", "fold2/seed7", same(1))
    (folder / "predictions.tsv").unlink()
    with pytest.raises(SerError) as caught:
        collect(tmp_path, "iemocap")
    assert str(caught.value).endswith(
        f"remove {folder} and score again: ./run.sh --recipe iemocap --stage 4 --config {folder.parent}/config.yaml"
    )


def test_empty_and_mixed_experiments(tmp_path, exp):
    with pytest.raises(SerError, match="no such folder"):
        collect(tmp_path / "nowhere", "corpus")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SerError, match=r"empty: no scores.*stages 3 and 4"):
        collect(tmp_path / "empty", "corpus")
    write_run(exp, "mfcc-resnet_clean_none_random", "fold1/seed0", same(1))
    with pytest.raises(SerError, match="with folds and runs without"):
        collect(exp, "corpus")
    assert collect(exp, "corpus", folds=[]).folds == ()


def test_condition_names():
    for name, condition in {
        "mfcc-resnet_clean_none_random": Condition("mfcc-resnet", "clean", "none", "random"),
        "mfcc16k-resnet_clean+noise_n+se-cp_xvector-vox": Condition(
            "mfcc16k-resnet", "clean+noise", "n+se-cp", "xvector-vox"),
        "a-b-c_x_se-cp_y_my_tag_2": Condition("a-b-c", "x", "se-cp", "y", "my_tag_2"),
    }.items():
        assert Condition.parse(name) == condition and condition.name == name
    assert Condition.parse("a-b-c_x_se-cp_y").features == "a-b"
    for name in ("results", "mfcc-resnet_clean_none", "mfcc_clean_none_random", "-resnet_clean_none_random",
                 "mfcc-resnet_clean_cp_random", "mfcc-resnet__none_random", "mfcc-resnet_clean_none_random_"):
        assert Condition.parse(name) is None


# ---- resampling


def confusion(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 9, shape)


def sklearn_f1(counts: np.ndarray) -> float:
    pairs = [pair for pair, count in np.ndenumerate(counts) for _ in range(count)]
    return f1_score(*zip(*pairs, strict=True), average="weighted")


def test_bootstrap_equals_all_samples_of_three_speakers():
    counts = confusion(0, 3, 3, 3)
    found = significance.bootstrap_f1(counts)
    assert found.shape == (significance.RESAMPLES,)
    expected = [sklearn_f1(counts[list(drawn)].sum(axis=0)) for drawn in itertools.product(range(3), repeat=3)]
    values, frequency = np.unique(np.round(expected, 9), return_counts=True)
    seen, times = np.unique(np.round(found, 9), return_counts=True)
    assert seen == pytest.approx(values)
    assert times / len(found) == pytest.approx(frequency / 27, abs=0.015)  # 3 standard errors of the rarest


def test_bootstrap_draws_the_same_speakers_for_what_is_stacked():
    counts = confusion(1, 5, 4, 4)
    found = significance.bootstrap_f1(np.stack([[counts, counts], [counts, 2 * counts]]))
    assert found.shape == (significance.RESAMPLES, 2, 2)
    assert np.ptp(found.reshape(len(found), 4), axis=1).max() < 1e-12


def test_interval_of_one_good_and_one_bad_speaker(tmp_path):
    # Both right (1/4), one of each (1/2), both wrong (1/4): the 95 % interval is the whole range.
    write_run(tmp_path, "mfcc-resnet_clean_none_random", "seed0", {"good": 0, "poor": 10})
    found = collect(tmp_path, "corpus").significance("test")[Condition("mfcc-resnet", "clean", "none", "random")]
    assert found.f1 == pytest.approx(50) and found.f1_interval == (0, 100)


@pytest.mark.parametrize("speakers", [1, 5])
def test_randomisation_equals_all_exchanges(speakers):
    one, other = confusion(2, 2, speakers, 3, 3), confusion(3, 2, speakers, 3, 3)
    other[..., 0] += one.sum(axis=-1) - other.sum(axis=-1)  # the same references for both
    other = np.where(other < 0, 0, other)
    differences = []
    for exchanged in itertools.product([False, True], repeat=speakers):
        pick = np.array(exchanged)[None, :, None, None]
        a, b = np.where(pick, other, one).sum(axis=1), np.where(pick, one, other).sum(axis=1)
        differences.append(np.mean([sklearn_f1(x) - sklearn_f1(y) for x, y in zip(a, b, strict=True)]))
    extreme = sum(abs(difference) >= abs(differences[0]) - 1e-9 for difference in differences)
    assert significance.randomisation_p(one, other) == extreme / 2**speakers


def test_randomisation_of_many_speakers_approaches_the_exact_one(monkeypatch):
    one = confusion(4, 1, 16, 3, 3)
    other = np.concatenate([one[:, :10], one[:, 10:, :, ::-1]], axis=1)
    sampled = significance.randomisation_p(one, other)
    monkeypatch.setattr(significance, "_EXACT_SPEAKERS", 16)
    assert sampled == pytest.approx(significance.randomisation_p(one, other), abs=0.02)


def test_randomisation_of_equal_conditions_is_one():
    counts = confusion(5, 3, 20, 4, 4)
    assert significance.randomisation_p(counts, counts) == 1


def test_large_numbers_of_speakers_go_in_blocks(monkeypatch):
    counts = confusion(6, 6, 3, 3)
    whole = significance.bootstrap_f1(counts)
    monkeypatch.setattr(significance, "_BLOCK_ENTRIES", 60)
    assert np.array_equal(whole, significance.bootstrap_f1(counts))


# ---- the paper


def test_paper_numbers_are_the_papers(shared):
    text = (shared / "papers/copypaste.md").read_text()
    for table in read_paper(PAPER)["tables"]:
        after = text[text.index(f"\nTable {table['table']}: "):]
        lines = list(itertools.takewhile(lambda line: "\t" in line, after.split("\n\n", 1)[1].splitlines()))
        printed = re.findall(r"[+]?\d+\.\d+", "\n".join(lines))
        ours = [value for row in table["rows"] for value in row["f1"].values()]
        gains = [value for row in table["rows"] for value in row.get("improvement", {}).values()]
        assert sorted(float(number) for number in printed if number[0] != "+") == sorted(ours)
        assert sorted(float(number) for number in printed if number[0] == "+") == sorted(gains)
        for row in table["rows"]:  # which row and column: the gains, within rounding
            for scheme, gain in row.get("improvement", {}).items():
                assert row["f1"][scheme] - row["f1"]["none"] == pytest.approx(gain, abs=0.011)
                assert row["f1"][scheme] == max(row["f1"].values())


def test_paper_tables_are_exact(exp):
    for seed in range(3):
        write_run(exp, "mfcc-resnet_clean_none_xvector", f"seed{seed}", same(3))
    tables, cells = paper_tables(read_paper(PAPER), {"cremad": collect(exp, "cremad")})
    assert [table.title.split(":")[0] for table in tables] == [
        *(f"Table {number}" for number in (2, 3, 4, 5, 6)), "Not in the paper", "Not in the paper"
    ]
    assert tables[-2].title == "Not in the paper: weighted F1 (%), random initialisation, diluted test"
    assert [list(row) for row in tables[-2].rows] == [
        ["Crema-D", "Clean", "ours", "20.00 ± 0.00", "—", "70.00 ± 0.00", "95.00 (2/3 runs)*"],
        ["Crema-D", "Clean+Noise", "ours", "—", "—", "—", "—"],
    ]
    assert [list(row) for row in tables[0].rows[:4]] == [
        ["Crema-D", "Clean", "ours", "60.00 ± 10.00", "—", "80.00 ± 0.00", "95.00 (2/3 runs)*"],
        ["", "", "paper", "71.46", "71.80", "74.34 (+2.88)", "73.79"],
        ["", "", "difference", "-11.46", "—", "+5.66", "+21.21*"],
        ["Crema-D", "Clean+Noise", "ours", "—", "—", "—", "—"],
    ]
    assert [list(row) for row in tables[2].rows[:3]] == [
        ["Sad", "ours", "70.00 ± 0.00", "—", "—", "—"],
        ["", "paper", "20.48", "20.59", "21.11", "22.37"],
        ["", "difference", "+49.52", "—", "—", "—"],
    ]
    found = [cell for cell in cells if (cell.table, cell.row, cell.condition.scheme) == (3, 3, "none")]
    assert len(found) == 1 and found[0].paper == 77.86 and found[0].difference == pytest.approx(70 - 77.86)


def test_paper_tables_take_the_papers_model_and_tag(exp):
    write_run(exp, "mfcc16k-resnet_clean_none_random", "seed0", same(0))
    write_run(exp, "mfcc-resnet_clean_none_random_wide", "seed0", same(0))
    paper = read_paper(PAPER)

    def none_of_table_2() -> tuple[str, str | None, list[Condition]]:
        results = collect(exp, "cremad")
        tables, cells = paper_tables(paper, {"cremad": results})
        marked = [condition for test, condition in paper_marks(paper, "cremad", results) if test == "test"]
        return tables[0].rows[0][3], cells[0].condition.tag, [condition for condition in marked if
                                                             condition.scheme == "none"]

    untagged = Condition("mfcc-resnet", "clean", "none", "random")
    assert none_of_table_2() == ("60.00 ± 10.00", "", [untagged])
    for seed in range(3):
        write_run(exp, "mfcc-resnet_clean_none_random_paper", f"seed{seed}", same(1))
    assert none_of_table_2() == ("90.00 ± 0.00", "paper", [replace(untagged, tag="paper")])


def test_best_scheme_shows_its_gain_when_all_runs_are_there(exp):
    write_run(exp, "mfcc-resnet_clean_n+se-cp_random", "seed2", same(2))  # 100, 90, 80
    tables, _ = paper_tables(read_paper(PAPER), {"cremad": collect(exp, "cremad")})
    assert list(tables[0].rows[0][3:]) == ["60.00 ± 10.00", "—", "80.00 ± 0.00", "90.00 ± 10.00 (+30.00)"]


def test_overall_report(exp, monkeypatch, tmp_path, capsys):
    iemocap = tmp_path / "iemocap/exp"
    for fold in (1, 2):
        write_run(iemocap, "mfcc-resnet_clean_none_random", f"fold{fold}/seed0", {f"f{fold}": 4})
    out = tmp_path / "out"
    run_report(
        monkeypatch, "--corpora", f"other={exp}", f"iemocap={iemocap}", "--out", out, "--seeds", "0", "--folds", "1 2"
    )
    printed = capsys.readouterr().out
    assert re.search(r"IEMOCAP +Clean +ours +60\.00", printed) and re.search(r"other +Clean +ours +50\.00", printed)
    rows = list(csv.DictReader((out / "overall.csv").open()))
    [row] = [
        row for row in rows
        if (row["table"], row["corpus"], row["train_data"], row["scheme"]) == ("2", "iemocap", "clean", "none")
    ]
    assert (row["row"], row["ours"], row["paper"], row["difference"]) == ("5", "60.0000", "43.0300", "16.9700")
    assert (out / "overall.png").stat().st_size > 10_000 and "Table 6" in (out / "overall.md").read_text()


def test_a_scheme_added_to_copypaste_is_in_every_table(exp, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(SCHEMES, "x-cp", "X-CP")
    for seed in range(3):
        write_run(exp, "mfcc-resnet_clean_x-cp_random", f"seed{seed}", same(0))
    run_report(monkeypatch, "--exp-dir", exp, "--out", tmp_path, "--paper-corpus", "cremad")
    assert re.search(r"\n *Clean +random +X-CP +100.0 ± 0.0 ", capsys.readouterr().out)
    markdown = (tmp_path / "report.md").read_text()
    assert "| Clean | random | X-CP | 100.0 [100.0, 100.0] | +40.0 [+40.0, +40.0] | 0.125 |" in markdown
    assert "| N-CP | N+SE-CP |\n| --- | --- | --- | ---: |" in markdown  # the paper's own tables have its schemes


def test_wrong_command_lines(exp, monkeypatch, capsys):
    for arguments in (["--seeds", "0,1"], ["--paper-corpus", "emodb"], ["--corpora", "nowhere"]):
        with pytest.raises(SystemExit):
            run_report(monkeypatch, "--exp-dir", exp, *arguments)
    errors = capsys.readouterr().err
    assert "expected whole numbers" in errors and "expected NAME=FOLDER, found 'nowhere'" in errors
    assert "the paper has msp_podcast, cremad, iemocap, not emodb" in errors
    with pytest.raises(SerError, match="names a corpus twice"):
        run_report(monkeypatch, "--corpora", f"a={exp}", f"a={exp}")


def test_damaged_paper_file_is_named(tmp_path):
    whole = json.loads(PAPER.read_text())
    del whole["tables"][0]["rows"][0]["f1"]["n-cp"]
    (tmp_path / "paper.json").write_text(json.dumps(whole))
    with pytest.raises(SerError, match=r"paper\.json: not the paper's tables .*table 2 row 1"):
        read_paper(tmp_path / "paper.json")


def test_schemes_without_any_run_have_no_row(exp):
    assert [row[2] for row in summary_table(collect(exp, "corpus")).rows] == ["No CP", "N-CP", "N+SE-CP"]


def test_a_test_left_empty_is_said_and_has_no_column(exp):
    for run in exp.glob("*/seed*"):
        write_no_score(run, "test_diluted", "there is no class neutral")
    results = collect(exp, "corpus")
    assert "diluted test" not in summary_table(results).header
    assert [note for note in results.notes if "diluted" in note] == [
        "diluted test: left empty, since there is no class neutral"
    ]
    for score in exp.glob("*/seed*/score_test*"):
        if score.name != "score_test_diluted":
            (score / "score.json").unlink()
    with pytest.raises(SerError, match="no scores of the runs asked for"):
        collect(exp, "corpus")


def test_one_system_without_a_diluted_test_stands_beside_others(exp):
    for seed in range(3):
        folder = write_run(exp, "spec-alexnet_clean_none_random", f"seed{seed}", same(1))
        write_no_score(folder.parent, "test_diluted", "examples without a length cannot be joined")
    results = collect(exp, "corpus")
    assert [row[-5] for row in summary_table(results).rows if "spec-alexnet" in row] == ["—"]
    notes = [note for note in results.notes if "diluted" in note and "n+se-cp" not in note]
    assert notes == ["diluted test: left empty of spec, since examples without a length cannot be joined"]


def test_runs_diluted_otherwise_are_refused(exp):
    """Beside other runs of a test, the same utterances joined to others are another test."""
    score = exp / "mfcc-resnet_clean_none_random/seed0/score_test_diluted"
    names = [line.split("\t")[:3] for line in (score / "predictions.tsv").read_text().splitlines()[1:]]
    utterances, speakers, reference = zip(*names, strict=True)
    write_score(score.parent, "test_diluted", utterances, speakers, reference, np.full((len(names), 4), 0.25), CLASSES,
                {"path": score.parent / "best.pt", "epoch": 1}, parts=[f"{name} other" for name in utterances])
    with pytest.raises(SerError, match="not tested on the same utterances"):
        collect(exp, "corpus")


def test_utterances_left_out_are_said(tmp_path):
    folder = write_run(tmp_path, "mfcc-resnet_clean_none_random", "seed0", same(1), "test_diluted")
    record = json.loads((folder / "score.json").read_text())
    (folder / "score.json").write_text(json.dumps(record | {"left_out": 40}))
    assert collect(tmp_path, "corpus").notes == (
        "diluted test: 40 of 200 utterances were left out, whose speakers have no second neutral utterance",
    )
