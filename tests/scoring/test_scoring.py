"""Metrics and the files that hold them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support, recall_score

from ser.base.errors import SerError
from ser.scoring.collect import collect
from ser.scoring.metrics import MEASURES, Measure, accuracy, count_confusion, metrics, weighted_f1
from ser.scoring.predictions import check_complete, read_predictions, read_score, write_predictions, write_score
from ser.scoring.report import write_corpus_report

CLASSES = ["angry", "happy", "neutral", "sad"]
CHECKPOINT = {"epoch": 7, "dev_weighted_f1": 0.5}


def labels(seed: int, count: int, names=CLASSES) -> list[str]:
    return [names[number] for number in np.random.default_rng(seed).integers(0, len(names), count)]


def naive(reference, hypothesis, classes):
    """Precision, recall and F1 of each class by counting, in the textbook's words."""
    figures = {}
    for name in classes:
        pairs = list(zip(reference, hypothesis, strict=True))
        hits = sum(r == h == name for r, h in pairs)
        relevant, retrieved = reference.count(name), hypothesis.count(name)
        precision = hits / retrieved if retrieved else 0.0
        recall = hits / relevant if relevant else 0.0
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        figures[name] = (precision, recall, f1, relevant)
    return figures


@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [
        (labels(0, 200), labels(1, 200)),
        (labels(2, 50), ["angry"] * 50),  # three classes are never recognised
        (labels(3, 50, ["angry", "sad"]), labels(4, 50)),  # two classes do not occur
        (["sad"], ["sad"]),
    ],
)
def test_metrics_equal_counting(reference, hypothesis):
    found = metrics(reference, hypothesis, CLASSES)
    expected = naive(reference, hypothesis, CLASSES)
    for name, (precision, recall, f1, support) in expected.items():
        assert found["per_class"][name] == pytest.approx(
            {"precision": precision, "recall": recall, "f1": f1, "support": support}
        )
    assert found["weighted_f1"] == pytest.approx(sum(f * n for _, _, f, n in expected.values()) / len(reference))
    present = [recall for _, recall, _, support in expected.values() if support]
    assert found["uar"] == pytest.approx(sum(present) / len(present))
    assert found["accuracy"] == sum(r == h for r, h in zip(reference, hypothesis, strict=True)) / len(reference)
    for row, one in enumerate(CLASSES):
        for column, other in enumerate(CLASSES):
            pairs = zip(reference, hypothesis, strict=True)
            assert found["confusion"][row][column] == sum((r, h) == (one, other) for r, h in pairs)
    assert weighted_f1(np.array(found["confusion"])) == pytest.approx(found["weighted_f1"])


def test_weighted_f1_of_many_matrices():
    reference = labels(5, 60)
    many = [labels(seed, 60) for seed in range(6, 10)]
    confusion = np.array([metrics(reference, hypothesis, CLASSES)["confusion"] for hypothesis in many])
    expected = [f1_score(reference, hypothesis, average="weighted") for hypothesis in many]
    assert weighted_f1(confusion.reshape(2, 2, 4, 4)).ravel() == pytest.approx(expected)


@pytest.mark.parametrize("present", [CLASSES, CLASSES[:2]])
@pytest.mark.parametrize("guessed", [CLASSES, CLASSES[1:], ["sad"]])
def test_measures_equal_scikit_learn(present, guessed):
    reference, hypothesis = labels(10, 90, present), labels(11, 90, guessed)
    found = metrics(reference, hypothesis, CLASSES)
    assert found["weighted_f1"] == pytest.approx(
        f1_score(reference, hypothesis, average="weighted", labels=CLASSES, zero_division=0), abs=1e-15)
    recall = recall_score(reference, hypothesis, average="macro", labels=sorted(set(reference)), zero_division=0)
    assert found["uar"] == pytest.approx(recall, abs=1e-15)
    assert found["accuracy"] == accuracy_score(reference, hypothesis)
    expected = precision_recall_fscore_support(reference, hypothesis, labels=CLASSES, zero_division=0)
    for name, figures in zip(CLASSES, zip(*expected, strict=True), strict=True):
        assert tuple(found["per_class"][name].values()) == pytest.approx(figures, abs=1e-15)
    confusion = count_confusion(*(np.array([CLASSES.index(name) for name in names])
                                  for names in (reference, hypothesis)), len(CLASSES))
    assert confusion.tolist() == found["confusion"]
    stacked = np.stack([[confusion, 2 * confusion], [confusion, np.eye(4, dtype=int)]])
    for name, measure in MEASURES.items():  # any axes before the counts
        assert measure(confusion) == found[name]
        assert measure(stacked).ravel() == pytest.approx([found[name]] * 3 + [1])


def test_a_measure_added_to_the_registry_is_everywhere(score, monkeypatch, tmp_path):
    """In score.json, also where it was written before, the tables and the CSV files."""
    folder = tmp_path / "exp" / "mfcc-resnet_clean_none_random"
    folder.mkdir(parents=True)
    score.parent.rename(folder / "seed0")
    monkeypatch.setitem(MEASURES, "errors", Measure("error rate", lambda counts: 1 - accuracy(counts)))
    results = collect(tmp_path / "exp", "corpus")
    write_corpus_report(results, tmp_path / "out", {"tables": [], "model": ""}, None)
    assert "| Error rate |" in (tmp_path / "out/report.md").read_text()
    assert "errors,12.5000" in (tmp_path / "out/summary.csv").read_text()
    assert metrics(["sad", "sad"], ["sad", "angry"], CLASSES)["errors"] == 0.5


def test_metrics_refuse_what_cannot_be_scored():
    with pytest.raises(SerError, match="0 references"):
        metrics([], [], CLASSES)
    with pytest.raises(SerError, match="calm"):
        metrics(["calm"], ["sad"], CLASSES)


def test_incomplete_score_names_the_utterances():
    check_complete(["a", "b"], ["b", "a"])
    with pytest.raises(SerError, match="1 of 2 utterances have no score: b"):
        check_complete(["a", "b"], ["a"])
    with pytest.raises(SerError, match="not in the test set: c"):
        check_complete(["a", "b"], ["a", "b", "c"])
    with pytest.raises(SerError, match="twice"):
        check_complete(["a", "b"], ["a", "b", "b"])


def test_predictions_round_trip(tmp_path):
    path = tmp_path / "predictions.tsv"
    # Equal after rounding to 6 decimals; before it, the second class is ahead by 4e-8.
    posteriors = np.array([[0.0, 0.0, 0.25, 0.75], [0.49999998, 0.50000002, 0.0, 0.0]])
    write_predictions(path, ["s2-b", "s1-a"], ["s2", "s1"], ["sad", "angry"], posteriors, CLASSES)
    assert path.read_text() == (
        "utterance\tspeaker\treference\thypothesis\tangry\thappy\tneutral\tsad\n"
        "s1-a\ts1\tangry\thappy\t0.500000\t0.500000\t0.000000\t0.000000\n"
        "s2-b\ts2\tsad\tsad\t0.000000\t0.000000\t0.250000\t0.750000\n"
    )
    read = read_predictions(path)
    assert read.utterances == ("s1-a", "s2-b") and read.speakers == ("s1", "s2")
    assert read.reference == ("angry", "sad") and read.hypothesis == ("happy", "sad")
    assert read.posteriors.tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.25, 0.75]]


def test_float32_softmax_is_accepted(tmp_path):
    logits = np.random.default_rng(0).normal(scale=8, size=(500, 5)).astype(np.float32)
    posteriors = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classes = [*CLASSES, "disgust"]
    names = [f"u{number:03d}" for number in range(500)]
    write_predictions(tmp_path / "p", names, names, ["sad"] * 500, posteriors, classes)
    read = read_predictions(tmp_path / "p")
    assert abs(read.posteriors - posteriors).max() < 1e-6
    assert list(read.hypothesis) == [classes[column] for column in posteriors.argmax(axis=1)]


@pytest.mark.parametrize(
    ("values", "reference", "utterances", "message"),
    [
        ([[np.nan, 1], [0, 1]], ["a", "b"], ["u", "v"], "u: a posterior is not a number"),
        ([[0.5, 0.4], [0, 1]], ["a", "b"], ["u", "v"], "u: its posteriors sum to 0.9"),
        ([[1.5, -0.5], [0, 1]], ["a", "b"], ["u", "v"], "from 0 to 1"),
        ([[1, 0], [0, 1]], ["a", "c"], ["u", "v"], "v: c is not one of the classes a b"),
        ([[1, 0], [0, 1]], ["a", "b"], ["u", "u"], "u scored twice"),
        ([[1, 0]], ["a", "b"], ["u", "v"], "do not fit together"),
    ],
)
def test_bad_predictions_are_not_written(tmp_path, values, reference, utterances, message):
    path = tmp_path / "predictions.tsv"
    with pytest.raises(SerError, match=message):
        write_predictions(path, utterances, ["s", "s"], reference, np.array(values), ["a", "b"])
    assert not list(tmp_path.iterdir())


HEADER = "utterance\tspeaker\treference\thypothesis\ta\tb\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the header"),
        ("utterance\treference\thypothesis\ta\tb\n", "1: expected the header"),
        (HEADER, "holds no utterances"),
        (HEADER + "u\ts\ta\ta\t1.000000\t0.000000\nv\ts\ta\ta\t1.0000", "3: the last line is cut short"),
        (HEADER + "u\ts\ta\ta\t1.000000\n", "2: 5 columns, not 6"),
        (HEADER + "u\ts\ta\tz\t1.000000\t0.000000\n", "2: u: z is not one of the classes a b"),
        (HEADER + "u\ts\ta\ta\tnan\t0.000000\n", "2: u: a posterior is not a number from 0 to 1"),
        (HEADER + "u\ts\ta\ta\tx\t0.000000\n", "2: a posterior of u is not a number"),
        (HEADER + "u\ts\ta\ta\t0.900000\t0.000000\n", "2: u: its posteriors sum to 0.9"),
        (HEADER + "u\ts\ta\tb\t0.900000\t0.100000\n", "2: u: the hypothesis b is not the class of the highest"),
        (HEADER + 2 * "u\ts\ta\ta\t1.000000\t0.000000\n", "3: u occurs twice"),
        (HEADER + "u\t\ta\ta\t1.000000\t0.000000\n", "2: u: an empty field"),
    ],
)
def test_bad_predictions_are_not_read(tmp_path, text, message):
    path = tmp_path / "predictions.tsv"
    path.write_text(text)
    with pytest.raises(SerError, match=message) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value)


@pytest.fixture
def score(tmp_path):
    run = tmp_path / "seed0"
    checkpoint = {"path": run / "best.pt", "sha256": "0" * 64, **CHECKPOINT}
    names = [f"s{number % 2}-{number}" for number in range(8)]
    posteriors = np.eye(4)[[0, 1, 2, 3, 0, 1, 2, 0]]
    write_score(run, "test_snr10", names, [n[:2] for n in names], CLASSES * 2, posteriors, CLASSES, checkpoint)
    return run / "score_test_snr10"


def test_score_round_trip(score):
    record = read_score(score).record
    assert record["accuracy"] == 7 / 8 and record["utterances"] == 8 and record["test_set"] == "test_snr10"
    assert record["checkpoint"] == {"path": "best.pt", "sha256": "0" * 64, **CHECKPOINT}
    assert record["confusion"] == [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [1, 0, 0, 1]]
    # F1: angry 4/5, happy and neutral 1, sad 2/3; two utterances each.
    assert record["weighted_f1"] == pytest.approx((4 / 5 + 1 + 1 + 2 / 3) / 4)


def alter(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "score.json").unlink(), "score.json: no such file"),
        (lambda f: (f / "score.json").write_text((f / "score.json").read_text()[:300]), "score.json: not a whole"),
        (lambda f: alter(f / "score.json", '"confusion"', '"confused"'), "score.json: not a whole"),
        (lambda f: alter(f / "score.json", '"epoch"', '"epic"'), "score.json: not a whole"),
        (lambda f: alter(f / "score.json", '"uar": 0.8', '"uar": 0.9'), "do not follow"),
        (lambda f: alter(f / "score.json", '"weighted_f1": 0.8', '"weighted_f1": 0.9'), "do not follow"),
        (lambda f: alter(f / "score.json", '"weighted_f1": 0.8', '"weighted_f1": NaN, "x": 0.8'), "do not follow"),
        (lambda f: (f / "predictions.tsv").unlink(), "predictions.tsv: no such file"),
        (lambda f: alter(f / "predictions.tsv", "s0-0", "s0-9"), "predictions.tsv: is not the file"),
        (lambda f: alter(f / "score.json", "test_snr10", "test"), "says it scores test"),
    ],
)
def test_damaged_score_is_named(score, damage, message):
    damage(score)
    with pytest.raises(SerError, match=message) as caught:
        read_score(score)
    assert str(score) in str(caught.value)


def test_score_of_an_earlier_version_is_completed(score):
    record = json.loads((score / "score.json").read_text())
    for name in ("uar", "per_class", "dropped"):
        del record[name]
    del record["checkpoint"]["dev_weighted_f1"]
    (score / "score.json").write_text(json.dumps(record))
    read = read_score(score).record
    assert read["uar"] == 7 / 8 and read["per_class"]["sad"]["recall"] == 1 / 2 and read["dropped"] == 0


def test_dropped_utterances_are_recorded(tmp_path):
    checkpoint = {"path": tmp_path / "best.pt", **CHECKPOINT}
    write_score(tmp_path, "test", ["u"], ["s"], ["sad"], np.eye(4)[[3]], CLASSES, checkpoint, dropped=3)
    assert read_score(tmp_path / "score_test").record["dropped"] == 3
    alter(tmp_path / "score_test/score.json", '"dropped": 3', '"dropped": -3')
    with pytest.raises(SerError, match="not a whole score file"):
        read_score(tmp_path / "score_test")


def test_score_moved_to_another_test_set_is_refused(score):
    shutil.move(score, score.parent / "score_test")
    with pytest.raises(SerError, match="says it scores test_snr10, but lies in score_test"):
        read_score(score.parent / "score_test")


def test_failed_rescoring_leaves_no_score(score):
    with pytest.raises(SerError):
        write_score(score.parent, "test_snr10", ["u"], ["s"], ["sad"], np.full((1, 4), np.nan), CLASSES, CHECKPOINT)
    assert not (score / "score.json").exists()


def test_scores_are_read_without_scikit_learn(shell, score):
    """Its import takes a second, which status and grid would pay for every time."""
    shell(f"""python -c 'import sys; from ser.scoring.predictions import read_score; read_score("{score}")
assert "sklearn" not in sys.modules'""")


def test_score_is_json_for_anyone(score):
    assert json.loads((score / "score.json").read_text())["per_class"]["sad"]["support"] == 2
