"""The EmoAug paper's Table 1, from hand-made scores whose answers are known."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import report_emoaug
from conftest import ROOT
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from tiny_encoder import save_encoder

from ser.base.errors import SerError
from ser.scoring.collect import collect
from ser.scoring.emoaug_tables import Encoder, emoaug_table, read_paper
from ser.scoring.predictions import write_score

PAPER = ROOT / "conf" / "emoaug_tables.json"
CLASSES = ["angry", "happy", "neutral", "sad"]
MODEL = "encoder-tiny-finetune-linear"


def write_fold(exp: Path, condition: str, fold: int, seed: int, train_utterances: int) -> tuple[np.ndarray, np.ndarray]:
    """Score a run on utterances of unequal classes, fold 2 of more than fold 1; return reference and hypothesis."""
    draw = np.random.default_rng([fold, seed])
    reference = np.random.default_rng(fold).choice(4, 20 * fold, p=[0.1, 0.2, 0.3, 0.4])
    reference[:4] = range(4)
    hypothesis = np.where(draw.random(len(reference)) < 0.6, reference, draw.integers(0, 4, len(reference)))
    names = [f"f{fold}-{number:02d}" for number in range(len(reference))]
    folder = exp / condition / f"fold{fold}" / f"seed{seed}"
    write_score(folder, "test", names, [f"s{fold}"] * len(names), [CLASSES[index] for index in reference],
                np.eye(4)[hypothesis], CLASSES,
                {"path": folder / "best.pt", "epoch": 1, "train_utterances": train_utterances})
    return reference, hypothesis


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    """Two folds and seeds on clean data, of which SE-CP lacks one run, and one on copies at other speeds."""
    exp = tmp_path / "exp"
    for seed in (0, 1):
        for fold in (1, 2):
            write_fold(exp, f"{MODEL}_clean_none_pretrained", fold, seed, 100 + fold)
            write_fold(exp, f"{MODEL}_clean+speed_none_pretrained", fold, seed, 300 + fold)
            if (seed, fold) != (1, 2):
                write_fold(exp, f"{MODEL}_clean_se-cp_pretrained", fold, seed, 100 + fold)
    write_fold(exp, "encoder-wavlm-finetune-linear_clean_none_pretrained", 1, 0, 101)
    return exp


def test_the_papers_numbers_are_whole(tmp_path: Path) -> None:
    paper = read_paper(PAPER)
    printed = {row["method"]: (row["wa"], row["ua"]) for row in paper["rows"]}
    assert len(printed) == 14 and printed["HuBERT Large EmoAug"] == (72.66, 73.75) == max(
        numbers for numbers in printed.values() if None not in numbers)
    for row in paper["rows"]:
        assert ("why" in row) != ("train_data" in row)
    (tmp_path / "cut.json").write_text(json.dumps({**paper, "rows": [{"method": "x"}]}))
    with pytest.raises(SerError, match="restore it with git"):
        read_paper(tmp_path / "cut.json")


def test_ours_stand_beside_the_papers(exp: Path) -> None:
    results = collect(exp, "iemocap")
    table, _ = emoaug_table(read_paper(PAPER), results, [Encoder(MODEL, "hubert"),
                                                        Encoder("encoder-wavlm-finetune-linear", "wavlm")])
    rows = {row[1]: row[2:] for row in table.rows}
    by_seed, pooled = [], []
    for seed in (0, 1):
        answers = [write_fold(exp.parent / "again", "x", fold, seed, 0) for fold in (1, 2)]
        by_seed.append([np.mean([100 * score(*answer) for answer in answers])
                        for score in (accuracy_score, balanced_accuracy_score)])
        whole = [np.concatenate(column) for column in zip(*answers, strict=True)]
        pooled.append([100 * score(*whole) for score in (accuracy_score, balanced_accuracy_score)])
    means, deviations = np.mean(by_seed, 0), np.std(by_seed, 0, ddof=1)
    ours = [f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in zip(means, deviations, strict=True)]
    assert rows["HuBERT Large"] == [MODEL, "102", *ours, *(f"{value:.2f}" for value in np.mean(pooled, 0)), "70.24",
                                    "71.13"]
    assert rows["HuBERT Large Speed Perturbation"][:2] == [MODEL, "302"]
    assert "(3/4 runs)*" in rows["HuBERT Large CopyPaste"][2] and rows["HuBERT Large CopyPaste"][4] == "—"
    assert rows["WavLM Large"][:2] == ["encoder-wavlm-finetune-linear", "101"]
    assert rows["WavLM Large"][-2:] == ["70.62", "—"]
    assert rows["Data2Vec Large"][0] == "quoted: no folder of data2vec-audio given"
    assert rows["CNN-ELM+STC attention"] == ["quoted from another paper", *["—"] * 5, "61.32", "60.43"]
    assert rows["HuBERT Large StarGAN"][0] == "missing: no runs on clean+stargan, No CP"
    assert rows["HuBERT Large EmoAug"][0] == "missing: no runs on clean+emoaug4, No CP"
    assert len(table.notes) == 1


def test_a_stand_in_and_another_corpus_are_named(exp: Path) -> None:
    table, rows = emoaug_table(read_paper(PAPER), collect(exp, "ravdess"), [Encoder(MODEL, "whisper")])
    assert any("with Whisper (encoder-tiny-finetune-linear), which stands in for the paper's HuBERT Large" in note
               for note in table.notes)
    assert {row[-1] for row in table.rows} == {"—"} and all(row.paper("WA") is None for row in rows)
    assert any("The paper's figures are of iemocap" in note for note in table.notes)


def test_the_report(exp: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    encoder = save_encoder(tmp_path / "tiny")
    monkeypatch.setattr(sys, "argv", ["report_emoaug.py", "--set", "iemocap", str(exp), "--encoder", MODEL,
                                      str(encoder), "--seeds", "0 1", "--out", str(tmp_path / "out")])
    report_emoaug.main()
    said = capsys.readouterr().out
    assert "Table 1: iemocap (%)" in said and f"{MODEL}_clean_se-cp_pretrained on test lacks fold2/seed1" in said
    with open(tmp_path / "out" / "emoaug.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 14
    speed = next(row for row in rows if row["train_data"] == "clean+speed" and row["measure"] == "UA")
    assert speed["paper"] == "71.1900" and speed["runs"] == "4" and float(speed["ours_pooled"]) > 0
    assert speed["why_missing"] == "" and float(speed["train_utterances"]) == 301.5
    assert (tmp_path / "out" / "emoaug.md").read_text().startswith("# EmoAug: results")
