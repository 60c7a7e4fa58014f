"""The noise mix-up paper's tables, from hand-made scores whose answers are known."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import report_noise_mixup
from conftest import ROOT
from sklearn.metrics import precision_recall_fscore_support
from test_report import same, write_run

from ser.base.errors import SerError
from ser.base.kaldi_tables import write_table
from ser.data.arks import ArkWriter
from ser.data.random_split import leak, split_at_random
from ser.data.segments import count_blocks
from ser.scoring.metrics import accuracy, count_confusion, weighted_precision, weighted_recall
from ser.scoring.noise_figure import draw_clean_and_noisy
from ser.scoring.noise_mixup_tables import read_paper

PAPER = ROOT / "conf" / "noise-mixup_tables.json"


def test_weighted_precision_and_recall_are_sklearns() -> None:
    draw = np.random.default_rng(5)
    reference, hypothesis = draw.integers(0, 4, 200), draw.integers(0, 3, 200)  # one class is never chosen
    precision, recall, _, _ = precision_recall_fscore_support(
        reference, hypothesis, average="weighted", labels=range(4), zero_division=0
    )
    confusion = count_confusion(reference, hypothesis, 4)
    assert weighted_precision(confusion) == pytest.approx(precision, abs=1e-12)
    assert weighted_recall(confusion) == pytest.approx(recall, abs=1e-12)
    assert weighted_recall(confusion) == pytest.approx(accuracy(confusion), abs=1e-12)


def test_the_papers_numbers_agree_with_themselves(tmp_path: Path) -> None:
    paper = read_paper(PAPER)
    for counts, total in ((paper["counts"]["iemocap-ahsn"], 8694), (paper["counts"]["iemocap-aesn"], 9887)):
        assert sum(blocks for _, blocks, _ in counts["classes"].values()) == total
    for table in paper["results"]:
        for figures in table["figures"].values():
            assert list(figures) == ["test", "test_snr15", "test_snr20", "test_snr40"]
            assert all(uacc == recall for uacc, _, recall, _ in figures.values())
    (tmp_path / "paper.json").write_text("[]")
    with pytest.raises(SerError, match=r"paper\.json: not the paper's tables"):
        read_paper(tmp_path / "paper.json")


def test_blocks_of_the_improvised_part_of_iemocap(shared: Path) -> None:
    code = {"ang": "angry", "hap": "happy", "exc": "excited", "sad": "sad", "neu": "neutral"}
    labels, blocks = {}, {}
    for line in (shared / "metadata" / "iemocap_lengths.tsv").read_text().splitlines()[1:]:
        turn, label, samples = line.split("\t")
        if "_impro" in turn:
            labels[turn] = code[label]
            for number in range(int(samples) // 16000):
                blocks[f"{turn}-{100 * number:08d}-{100 * number + 100:08d}"] = code[label]
    assert count_blocks(labels, blocks) == [
        ("angry", 289, 289, 1183), ("excited", 663, 661, 2206), ("happy", 284, 282, 1040),
        ("neutral", 1099, 1088, 3935), ("sad", 608, 606, 2712),
    ]
    # AHSN and AESN: 80 % of the blocks to train on, 20 % to test on, most of which share their utterance with training.
    for left_out, train, test in (("excited", 7096, 1774), ("happy", 8028, 2008)):
        own = {block: block[:6] for block, label in blocks.items() if label != left_out}
        tested, parts = split_at_random(own, 5, 0)
        trained = {block: own[block] for part in parts for block in part}
        assert (len(trained), len(tested)) == (train, test)
        utterances, _ = leak({block: own[block] for block in tested}, trained)
        assert utterances == pytest.approx(0.92, abs=0.02)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Two folds of a random split, of which the second is better on its dev set, and one of a split by speaker."""
    for split, folds in (("-segment", {"fold1": 2, "fold2": 3}), ("", {"fold1": 5})):
        data, exp = tmp_path / f"data_1s{split}", tmp_path / f"exp_1s{split}"
        (data / "noise").mkdir(parents=True)
        (data / "counts.tsv").write_text("class\tutterances\twith_blocks\tblocks\nangry\t9\t8\t20\nsad\t7\t7\t10\n")
        (data / "leak").write_text("leak: 92% of test blocks share an utterance with training, 100% a speaker\n")
        (data / "noise" / "about").write_text("noise: babble of 3 to 7 speakers\n")
        for condition in ("spectrogram-alexnet_clean_none_imagenet_paper",
                          "spectrogram-alexnet_clean+noise-noise-40-20-15_none_imagenet_paper",
                          "mfcc-resnet_clean_n+se-cp_random_paper", "spectrogram-alexnet_clean_none_imagenet"):
            for fold, wrong in folds.items():
                for test in ("test", "test_snr15"):
                    errors = same(wrong + (test != "test"))
                    score = write_run(exp, condition, f"{fold}/seed0", errors, test) / "score.json"
                    record = json.loads(score.read_text())
                    record["checkpoint"]["dev_accuracy"] = 0.5 + 0.1 * int(fold[-1])
                    score.write_text(json.dumps(record))
    return tmp_path


def report(work: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    sets = [word for name in names for split, end in (("segment", "-segment"), ("speaker", ""))
            for word in ("--set", name, split, str(work / f"exp_1s{end}"))]
    monkeypatch.setattr(sys, "argv", ["report_noise_mixup.py", *sets, "--out", str(work / "out")])
    report_noise_mixup.main()


def test_ours_stand_beside_the_papers(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report(work, monkeypatch, "iemocap-ahsn")
    text = (work / "out" / "noise_mixup.md").read_text()
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert ["angry", "9", "8", "20", "40", "292", "1197", "4788"] in rows, "Table 2: two tests, so two copies"
    assert ["total", "16", "15", "30", "60", "2246", "8694", "34776"] in rows
    best = ["AHSN", "segment", "spectrogram-alexnet", "imagenet", "clean test", "ours, best fold", *["70.00"] * 4]
    found = rows.index(best)
    assert rows[found + 1][-5:] == ["ours, mean", *["75.00 ± 7.07"] * 4]
    assert rows[found + 2][-5:] == ["paper", "65.27", "61.18", "65.27", "61.57"]
    assert ["AHSN", "speaker", "spectrogram-alexnet", "imagenet", "15 dB test", "ours, mean", *["40.00"] * 4] in rows
    assert ["AHSN", "segment", "mfcc-resnet, n+se-cp (random)", "Clean", "75.00 ± 7.07", "65.00 ± 7.07"] in rows
    assert ["AHSN", "segment", "paper", "Clean+Noise", "63.66", "61.21"] in rows
    assert ["AHSN", "spectrogram-alexnet", "Clean", "clean test", "75.00 ± 7.07", "50.00", "+25.00", "+25.00"] in rows
    assert "Tiwari" in text and "it is not built" in text and "babble of 3 to 7 speakers" in text
    assert text.count("leak: 92% of test blocks share an utterance") == 2
    assert (work / "out" / "wavgf1_iemocap-ahsn_segment.png").stat().st_size > 1000
    lines = (work / "out" / "noise_mixup.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 3 * 2 * 4, "splits, conditions of the tag paper, tests, figures"


def make_images(data: Path, change: dict[str, int], noise: bool = True, conf: str = "") -> Path:
    """Images of several blocks, each drawn at random with some of its points set to 255."""
    (data / "conf").mkdir(parents=True)
    (data / "conf" / "spectrogram.conf").write_text(f"{conf}\n")
    draw = np.random.default_rng(3)
    with ArkWriter(data / "feats.ark", data / "feats.scp") as writer:
        for block, changed in change.items():
            image = draw.integers(0, 250, (259, 257)).astype(np.uint8)
            image.ravel()[:changed] = 255
            writer.write(block, image)
    if noise:
        write_table(data / "utt2noise", dict.fromkeys(change, "12.5 0 noise.wav"))
    return data


def test_figure_2_is_of_the_median_block(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = make_images(work / "data_1s" / "all_spec", dict.fromkeys("abc", 0), noise=False)
    noisy = make_images(work / "data_1s" / "test_snr15_spec", {"a": 9000, "b": 0, "c": 500})
    make_images(work / "data_1s" / "test_snr40_spec", {"a": 1})
    report(work, monkeypatch, "ravdess")
    assert "![Figure 2: ravdess, block c, clean" in (work / "out" / "noise_mixup.md").read_text()
    assert (work / "out" / "images_ravdess.png").stat().st_size > 10_000
    assert draw_clean_and_noisy(tmp_path / "a.svg", clean, noisy, "a") == "a"
    assert "noisy, 12.5 dB" in re.sub(r"<!-- (.*?) -->", r"\1", (tmp_path / "a.svg").read_text())
    with pytest.raises(SerError, match="has no image of d of"):
        draw_clean_and_noisy(tmp_path / "d.png", clean, noisy, "d")
    with pytest.raises(SerError, match="no noisy copies"):
        draw_clean_and_noisy(tmp_path / "d.png", noisy, clean)
    with pytest.raises(SerError, match="made with other options"):
        draw_clean_and_noisy(tmp_path / "d.png", clean, make_images(tmp_path / "x", {"a": 1}, conf="--hop=60"))


def test_a_corpus_that_the_paper_has_not_stands_alone(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report(work, monkeypatch, "ravdess")
    text = (work / "out" / "noise_mixup.md").read_text()
    assert "As Tables 2 and 3: ravdess" in text and not re.search(r"\| paper \|", text)
    (work / "data_1s" / "leak").unlink()
    with pytest.raises(SerError, match="data_1s/leak: no such file"):
        report(work, monkeypatch, "ravdess")
