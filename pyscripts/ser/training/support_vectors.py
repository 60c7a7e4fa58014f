"""Training the baseline: support vector machines on functionals, the best of which the dev set chooses."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor

from ser.augment.copypaste import BatchPlan, CopyPaste
from ser.base.errors import SerError
from ser.base.progress import say
from ser.data.labels import Labels
from ser.training.classification import Classification
from ser.training.evaluation import embeddings


class SupportVectors(Classification):
    """Support vector machines on the functionals of whole utterances.

    The machines of the option `machines` are the epochs of this training, each fitted from nothing to all utterances,
    its one batch. So the best on dev is kept, and an interrupted training goes on with the next, as with any network.
    """

    def make_network(self, labels: Labels) -> None:
        """Make the network without its machine, and compute the functionals that all machines are fitted to."""
        if len(labels.classes) < 2:
            raise SerError(f"{self.run.train[0]}: has the class {labels.classes[0]} only; a choice needs two")
        self.network = self.best = self.system.networks[self.options.network].build(
            self.train.dim, len(labels.classes), self.options).to(self.device)
        self.functionals = embeddings(self.network, self.train)
        self.machines = self.options.listed_machines()
        self.epochs = len(self.machines)
        count, longest = len(labels.indices), int(self.train.lengths.max())
        self.plans = CopyPaste(labels.indices, self.train.lengths, "none", None, batch_size=count, crop=longest)

    def step(self, plan: BatchPlan, epoch: float) -> Tensor:
        """Fit the machine of an epoch to all utterances; return the sum of their losses, as `evaluate` has them."""
        kernel, cost = self.machines[int(epoch)]
        say(f"machine {int(epoch) + 1}: kernel {kernel}, C {cost:g}")
        functionals = self.functionals[plan.utterances[:, 0]]
        weights = "balanced" if self.options.class_weights == "balanced" else None
        self.network.adopt(**fit(functionals, plan.labels, kernel, cost, weights))
        with torch.no_grad():
            scores = self.network.classify(torch.from_numpy(functionals).to(self.device))
        return F.cross_entropy(scores, torch.from_numpy(plan.labels).to(self.device), reduction="sum")

    def training_state(self) -> dict[str, object]:
        """Return nothing: the next machine owes nothing to the last."""
        return {}

    def resume(self, last: dict[str, object]) -> None:
        """Take up what `state` returned."""
        self.best.load_state_dict(last["model"])


def fit(
    functionals: np.ndarray, labels: np.ndarray, kernel: str, cost: float, class_weight: str | None
) -> dict[str, np.ndarray | float]:
    """Fit a support vector machine to standardised functionals; return what `FunctionalsSvm.adopt` takes.

    Args:
        functionals: (N, E).
        labels: (N,) class indices, each class at least once.
        kernel: linear or rbf; the width of rbf is scikit-learn's "scale", which is 1 / E of standardised numbers.
        cost: C.
        class_weight: of scikit-learn: balanced, or None.
    """
    scaler = StandardScaler().fit(functionals.astype(np.float64))
    scaled = scaler.transform(functionals.astype(np.float64))
    gamma = 1 / (scaled.shape[1] * (scaled.var() or 1))
    machine = SVC(kernel=kernel, C=cost, gamma=gamma, class_weight=class_weight).fit(scaled, labels)
    return {
        "mean": scaler.mean_, "deviation": scaler.scale_, "vectors": machine.support_vectors_,
        "gamma": gamma if kernel == "rbf" else 0.0, **_by_pair(machine),
    }


def _by_pair(machine: SVC) -> dict[str, np.ndarray]:
    """Return coefficients (V, C·(C-1)/2) and intercepts of a fitted machine, by pair of classes; positive: the first.

    scikit-learn keeps, for a support vector of class i, the coefficients against the C-1 other classes, and has the
    signs of two classes the other way round.
    """
    classes = len(machine.classes_)
    of_class = np.repeat(np.arange(classes), machine.n_support_)
    pairs = list(combinations(range(classes), 2))
    coefficients = np.zeros((len(of_class), len(pairs)))
    for column, (one, other) in enumerate(pairs):
        coefficients[of_class == one, column] = machine.dual_coef_[other - 1, of_class == one]
        coefficients[of_class == other, column] = machine.dual_coef_[one, of_class == other]
    sign = -1 if classes == 2 else 1
    return {"coefficients": sign * coefficients, "intercepts": sign * machine.intercept_}
