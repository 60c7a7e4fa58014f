"""Functionals against NumPy, the support vector machine in buffers against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ser.nets.functionals import FUNCTIONALS, PERCENTILES, FunctionalsSvm
from ser.training import options


def expected(matrix: np.ndarray) -> np.ndarray:
    """All functionals of one utterance by NumPy alone."""
    time = np.arange(len(matrix))
    slope = np.polyfit(time, matrix, 1)[0] if len(matrix) > 1 else np.zeros(matrix.shape[1])
    change = np.diff(matrix, axis=0).std(0) if len(matrix) > 1 else np.zeros(matrix.shape[1])
    return np.concatenate([matrix.mean(0), matrix.std(0), *np.percentile(matrix, PERCENTILES, axis=0), slope, change])


def test_functionals_are_numpys_whatever_is_beside_an_utterance() -> None:
    random = np.random.default_rng(0)
    matrices = [random.normal(3, 2, (length, 5)) for length in (40, 1, 7, 2, 100)]
    found = FunctionalsSvm(4, tuple(FUNCTIONALS)).embed(
        torch.from_numpy(np.concatenate(matrices)), torch.tensor([len(matrix) for matrix in matrices]))
    np.testing.assert_allclose(found, [expected(matrix) for matrix in matrices], rtol=1e-5, atol=1e-5)


def test_options_know_the_functionals() -> None:
    assert tuple(FUNCTIONALS) == options.FUNCTIONALS


@pytest.mark.parametrize("machines", ["linear=0.1", "rbf=0.3", "rbf=30"])
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_choice_is_scikit_learns(machines: str, classes: int, weights: str, fitted) -> None:
    random = np.random.default_rng(classes)
    x = random.normal(0, 1, (150, 12)).astype(np.float32) * np.logspace(-1, 2, 12, dtype=np.float32)
    labels = (x / x.std(0)).dot(random.normal(0, 1, (12, classes))).argmax(1)
    labels[:30] = random.integers(0, classes, 30)  # overlapping classes
    network = fitted(x, labels, machines, weights)
    others = random.normal(0, 1, (2000, 12)).astype(np.float32) * x.std(0)
    kernel, cost = machines.split("=")
    reference = make_pipeline(StandardScaler(), SVC(
        kernel=kernel, C=float(cost), break_ties=True, class_weight=None if weights == "none" else weights
    )).fit(x.astype(np.float64), labels)
    scores = network.classify(torch.from_numpy(others))
    assert (scores.argmax(1).numpy() == reference.predict(others.astype(np.float64))).all()
    if classes > 2:
        np.testing.assert_allclose(scores, reference.decision_function(others.astype(np.float64)), atol=1e-6)

    again = FunctionalsSvm(classes, ("mean",))
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.classify(torch.from_numpy(others)), scores)


@pytest.fixture
def fitted():
    """A function that fits the project's machine to functionals (N, E) and labels (N,)."""
    from ser.training.options import TrainOptions
    from ser.training.support_vectors import fit

    def fit_network(x: np.ndarray, labels: np.ndarray, machines: str, weights: str) -> FunctionalsSvm:
        chosen = TrainOptions(system="functionals", network="svm", machines=machines)
        network = FunctionalsSvm(labels.max() + 1, ("mean",))
        network.adopt(**fit(x, labels, *chosen.listed_machines()[0], None if weights == "none" else weights))
        return network

    return fit_network
