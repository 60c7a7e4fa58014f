"""Trial lists, cosine scores, EER and minDCF against scikit-learn, brute force and closed forms; the tables."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import score_trials
from sklearn.metrics import roc_curve

from ser.base.errors import SerError
from ser.data.arks import ArkWriter
from ser.scoring.verification import cosine_scores, eer, min_dcf, read_trials


def random_trials(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.random(random.integers(20, 400)) < random.uniform(0.1, 0.9)
    labels[:2] = True, False
    scores = random.normal(size=len(labels)) + random.uniform(-0.5, 3) * labels
    return (np.round(scores) if ties else scores), labels


@pytest.mark.parametrize("ties", (False, True))
@pytest.mark.parametrize("seed", range(20))
def test_error_rates_agree_with_independent_computations(seed: int, ties: bool) -> None:
    scores, labels = random_trials(seed, ties)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    # The crossing of the piecewise linear ROC with tpr = 1 − fpr, by bisection along the curve's own parameter.
    low, high, place = 0.0, len(fpr) - 1.0, np.arange(len(fpr))
    for _ in range(60):
        middle = (low + high) / 2
        if 1 - np.interp(middle, place, tpr) > np.interp(middle, place, fpr):
            low = middle
        else:
            high = middle
    assert eer(scores, labels) == pytest.approx(np.interp(low, place, fpr), abs=1e-9)
    for p in (0.01, 0.05, 0.5):
        costs = [
            p * np.mean(scores[labels] < threshold) + 10 * (1 - p) * np.mean(scores[~labels] >= threshold)
            for threshold in [*np.unique(scores), np.inf]
        ]
        expected = min(costs) / min(p, 10 * (1 - p))
        assert min_dcf(scores, labels, p, c_fa=10) == pytest.approx(expected, abs=1e-12)
    shuffled = np.random.default_rng(seed).permutation(len(scores))
    assert eer(scores[shuffled], labels[shuffled]) == eer(scores, labels)
    assert eer(3 * scores - 7, labels) == eer(scores, labels)


def test_closed_forms() -> None:
    """Quantiles of two normal distributions d apart: EER = Φ(−d/2), and the cost is least where the likelihood ratio
    is (1 − p) / p.
    """
    normal, count, p = NormalDist(), 200_000, 0.01
    grid = np.array([normal.inv_cdf((i + 0.5) / count) for i in range(count)])
    for d in (0.5, 2, 3.5):
        scores, labels = np.concatenate([grid + d, grid]), np.repeat([1, 0], count)
        assert eer(scores, labels) == pytest.approx(normal.cdf(-d / 2), abs=1e-5)
        threshold = d / 2 + np.log((1 - p) / p) / d
        cost = p * normal.cdf(threshold - d) + (1 - p) * normal.cdf(-threshold)
        assert min_dcf(scores, labels) == pytest.approx(cost / p, abs=1e-3)


def test_extremes() -> None:
    labels = np.array([1, 1, 0, 0, 0])
    perfect = np.array([5, 4, 3, 2, 1])
    assert eer(perfect, labels) == 0 and min_dcf(perfect, labels) == 0
    assert eer(-perfect, labels) == 1 and min_dcf(-perfect, labels) == 1
    assert eer(np.zeros(5), labels) == 0.5 and min_dcf(np.zeros(5), labels) == 1
    assert eer(np.array([np.inf, np.inf, -np.inf, -np.inf, 0]), labels) == 0
    # One of two targets ties with one of three others: whichever comes first in the list.
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0]):
        assert eer(np.array([2, 1, 1, 0, 0])[order], labels[order]) == pytest.approx(0.2)


@pytest.mark.parametrize("scores, labels, message", [
    ([1.0, 2.0], [1, 1], "2 target and 0 non-target trials"),
    ([1.0, 2.0], [0, 0], "0 target and 2 non-target trials"),
    ([], [], "0 target and 0 non-target trials"),
    ([1.0, np.nan], [1, 0], "1 of 2 scores are NaN"),
    ([1.0, 2.0], [1, -1], "labels of trials are 1"),
    ([1.0, 2.0], [1], "shape"),
])
def test_what_has_no_error_rate_is_an_error(scores: list[float], labels: list[int], message: str) -> None:
    for figure in (eer, min_dcf):
        with pytest.raises(SerError, match=message):
            figure(np.array(scores), np.array(labels))


def test_reads_trials(tmp_path: Path) -> None:
    path = tmp_path / "trials"
    path.write_text("1 a b\n0 a  c\r\n1\tb a\n0 a c\n")  # twice in a list is twice in the figures
    trials = read_trials(path)
    assert trials.targets.tolist() == [True, False, True, False]
    assert ["".join(trials.utterances[i] for i in pair) for pair in trials.pairs] == ["ab", "ac", "ba", "ac"]


@pytest.mark.parametrize("text, message", [
    ("", "is empty"),
    ("1 a b\n1 a\n", ":2: expected"),
    ("1 a b\n\n1 a c\n", ":2: expected"),
    ("a b target\n", ":1: expected"),
    ("1 a b\n0 a a\n", ":2: a is compared with itself"),
    ("1 a b\n1 a c\n1 c b\n0 b a\n", ":4: says the opposite of line 1"),
    (b"1 a \xff\n", "not a UTF-8"),
])
def test_a_bad_list_is_named_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "trials"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SerError, match=f"trials.*{message}"):
        read_trials(path)
    with pytest.raises(SerError, match="no such trial list"):
        read_trials(tmp_path / "absent")


def test_cosines_of_more_trials_than_a_block() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(50, 400)).astype(np.float32) * 10.0 ** random.integers(-3, 4, (50, 1))
    pairs = random.integers(0, 50, (40_000, 2))
    expected = np.corrcoef(np.concatenate([vectors, -vectors], 1))  # mean 0, so that correlations are cosines
    assert np.allclose(cosine_scores(vectors, pairs), expected[pairs[:, 0], pairs[:, 1]], atol=1e-6)


@pytest.fixture
def xvectors(tmp_path: Path) -> Path:
    """Speakers s0 to s3, three utterances each around their speaker's direction."""
    random = np.random.default_rng(1)
    folder = tmp_path / "xvectors"
    folder.mkdir()
    with ArkWriter(folder / "x.ark", folder / "xvector.scp") as writer:
        for speaker in range(4):
            centre = random.normal(size=400)
            for number in range(3):
                writer.write(f"s{speaker}-{number}", (centre + 3 * random.normal(size=400)).astype(np.float32))
    (folder / "xvectors.json").write_text('{"checkpoint": {"epoch": 7, "digest": "abc", "path": "best.pt"}}')
    return folder


def all_pairs() -> str:
    names = [f"s{speaker}-{number}" for speaker in range(4) for number in range(3)]
    return "".join(f"{int(a[:2] == b[:2])} {a} {b}\n" for i, a in enumerate(names) for b in names[:i])


def score(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["score_trials.py", *map(str, arguments)])
    score_trials.main()


def test_scores_a_list(xvectors: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    trials, out = tmp_path / "trials", tmp_path / "seed0" / "score_test"
    trials.write_text(all_pairs())
    arguments = ("--trials", trials, "--xvectors", xvectors, "--out", out)
    score(monkeypatch, *arguments)
    printed = capsys.readouterr().out
    record = json.loads((out / "trials.json").read_text())
    assert printed == (f"{out}: EER {100 * record['eer']:.2f} %, minDCF(0.01) {record['min_dcf']:.4f} over 12 target "
                       "and 54 non-target trials\n")
    assert record["checkpoint"]["epoch"] == 7 and record["targets"] == 12 and record["nontargets"] == 54
    # The file of scores alone gives the figures again.
    lines = [line.split() for line in (out / "scores").read_text().splitlines()]
    assert [line[:2] for line in lines] == [line.split()[1:] for line in all_pairs().splitlines()]
    scores = np.array([float(line[2]) for line in lines])
    labels = np.array([line[0] == "1" for line in all_pairs().splitlines()])
    assert eer(scores, labels) == record["eer"] and min_dcf(scores, labels) == record["min_dcf"]

    before = (out / "trials.json").stat().st_mtime_ns
    score(monkeypatch, *arguments)
    assert "(up to date)" in capsys.readouterr().out and (out / "trials.json").stat().st_mtime_ns == before
    trials.write_text(all_pairs() + "1 s0-1 s0-0\n")
    score(monkeypatch, *arguments)
    assert "13 target" in capsys.readouterr().out


def test_x_vectors_of_features_that_know_the_speaker_are_not_scored(
    xvectors: Path, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "trials").write_text(all_pairs())
    made_by = xvectors / "xvectors.json"
    made_by.write_text(json.dumps(json.loads(made_by.read_text()) | {"front_end": "--cmn=speaker\n--num-ceps=23"}))
    with pytest.raises(SerError, match="normalised by speaker"):
        score(monkeypatch, "--trials", tmp_path / "trials", "--xvectors", xvectors, "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "scores").exists()


def test_a_missing_utterance_is_an_error_and_nothing_looks_scored(
    xvectors: Path, tmp_path: Path, monkeypatch
) -> None:
    trials, out = tmp_path / "trials", tmp_path / "out"
    trials.write_text(all_pairs())
    arguments = ("--trials", trials, "--xvectors", xvectors, "--out", out)
    score(monkeypatch, *arguments)
    trials.write_text(all_pairs() + "1 s0-0 s9-9\n0 s8-8 s0-0\n")
    with pytest.raises(SerError, match=r"trials:67: s9-9 has no x-vector in .*xvector.scp \(2 utterances"):
        score(monkeypatch, *arguments)
    assert not (out / "trials.json").exists()
    trials.write_text("1 s0-0 s0-1\n")
    with pytest.raises(SerError, match="1 target and 0 non-target trials"):
        score(monkeypatch, *arguments)
    (xvectors / "xvector.scp").unlink()
    with pytest.raises(SerError, match=r"xvector\.scp: no such file"):
        score(monkeypatch, *arguments)


def test_a_vector_that_cannot_be_compared_is_named(xvectors: Path, tmp_path: Path, monkeypatch) -> None:
    trials = tmp_path / "trials"
    trials.write_text("1 a b\n0 a c\n")
    for bad in (np.zeros(400), np.full(400, np.nan), np.ones(20)):
        with ArkWriter(xvectors / "x.ark", xvectors / "xvector.scp") as writer:
            for name, vector in (("a", np.ones(400)), ("b", bad), ("c", np.ones(400))):
                writer.write(name, vector.astype(np.float32))
        with pytest.raises(SerError, match=r"xvector\.scp: b has no usable x-vector"):
            score(monkeypatch, "--trials", trials, "--xvectors", xvectors, "--out", tmp_path / "out")


def test_table_of_everything_scored(tmp_path: Path, shell) -> None:
    exp = tmp_path / "exp"
    for run, seed, rate, cost in (("untrained", None, 0.4, 0.99), ("aam", 0, 0.10, 0.5), ("aam", 10, 0.14, 0.7),
                                  ("aam", 2, 0.12, 0.6)):
        folder = exp / run / (f"seed{seed}" if seed is not None else "") / "score_test"
        folder.mkdir(parents=True)
        (folder / "trials.json").write_text(json.dumps({
            "eer": rate, "min_dcf": cost, "p_target": 0.01, "targets": 5, "nontargets": 6, "checkpoint": {"epoch": 3},
        }))
    printed = shell(f"pyscripts/report_verification.py --exp-dir {exp}").stdout
    assert "12.00 ± 2.00" in printed and "0.6000 ± 0.1000" in printed
    rows = [line.strip("|").split("|") for line in (exp / "results/verification.md").read_text().splitlines()[4:]]
    assert [[cell.strip() for cell in row][:5] for row in rows] == [
        ["aam", "test", "0", "10.00", "0.5000"], ["aam", "test", "2", "12.00", "0.6000"],
        ["aam", "test", "10", "14.00", "0.7000"], ["aam", "test", "mean", "12.00 ± 2.00", "0.6000 ± 0.1000"],
        ["untrained", "test", "", "40.00", "0.9900"],
    ]
    table = (exp / "results/verification.csv").read_text().splitlines()
    assert table[0].startswith("run,test,seed,eer,min_dcf") and len(table) == 5 and table[4] == (
        "untrained,test,,40.0,0.99,0.01,5,6,3")
    (exp / "aam/seed0/score_test/trials.json").write_text("{")
    assert "seed0/score_test/trials.json: no record" in shell(
        f"pyscripts/report_verification.py --exp-dir {exp}", ok=False).stderr
    assert "no trials.json" in shell(f"pyscripts/report_verification.py --exp-dir {tmp_path}/none", ok=False).stderr
