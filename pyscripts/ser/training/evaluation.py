"""Running a network over whole utterances."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ser.augment.copypaste import BatchPlan
from ser.features.store import FeatureStore, in_length_order
from ser.training.distributed import World
from ser.training.systems import Store

_BATCHES_AHEAD = 10  # read at a time from a stream, so that there are utterances of like lengths among them


def log_posteriors(model: nn.Module, store: Store, plan: BatchPlan | None = None) -> np.ndarray:
    """Return log class posteriors (N, classes), float32, of every utterance of the store, taken whole, in its order.

    With a plan they are of its examples, (B, classes), in its order. Computed in float32 whatever the precision of
    training, in batches of like lengths; no result depends on the others. The model is left in evaluation mode.
    """
    return _of_each(lambda frames, lengths, _: model(frames, lengths).log_softmax(1), model, store, plan)


def posteriors(model: nn.Module, store: Store, plan: BatchPlan | None = None) -> np.ndarray:
    """Return class posteriors, float64, of what `log_posteriors` returns them of, computed as it does.

    Each row sums to 1 as well as float64 can: that of a float32 softmax does only to 1e-7 times the classes.
    """
    values = np.exp(log_posteriors(model, store, plan).astype(np.float64))
    return values / values.sum(1, keepdims=True)


def losses_and_choices(
    model: nn.Module, store: Store, labels: np.ndarray, world: World
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cross-entropy (N,) of each utterance's label, in nats, and its most probable class (N,).

    Computed as `log_posteriors` does. Each process of the world computes its share, and all get the whole.
    """
    truth = torch.from_numpy(labels).to(store.device)

    def of_batch(frames: Tensor, lengths: Tensor, indices: Tensor) -> Tensor:
        scores = model(frames, lengths).log_softmax(1)
        return torch.stack([-scores.gather(1, truth[indices, None])[:, 0], scores.argmax(1)], 1)

    losses, choices = world.sum(_of_each(of_batch, model, store, None, world.rank, world.world_size)).T
    return losses, choices.astype(np.int64)


def embeddings(model: nn.Module, store: Store) -> np.ndarray:
    """Return the embedding (N, E), float32, of every utterance of the store, computed as `log_posteriors` does."""
    return _of_each(lambda frames, lengths, _: model.embed(frames, lengths), model, store)


def xvectors(
    model: nn.Module, features: Iterable[tuple[str, np.ndarray]], device: torch.device
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (utterance, x-vector (E,) float32) of a stream of (utterance, (frames, D) float32), in its order.

    Computed as `log_posteriors` does. Holds a few batches of features at a time, however long the stream is.
    """
    for read in _of_about(_BATCHES_AHEAD * FeatureStore.BATCH_ROWS[device.type], features):
        utterances = [utterance for utterance, _ in read]
        lengths = np.array([len(matrix) for _, matrix in read])
        frames = torch.from_numpy(np.concatenate([matrix for _, matrix in read]))
        vectors = embeddings(model, FeatureStore(utterances, lengths, frames, device))
        yield from zip(utterances, vectors, strict=True)


def _of_about(
    frames: int, features: Iterable[tuple[str, np.ndarray]]
) -> Iterator[list[tuple[str, np.ndarray]]]:
    """Yield a stream in pieces of at least `frames` frames, but for the last."""
    piece: list[tuple[str, np.ndarray]] = []
    held = 0
    for utterance, matrix in features:
        piece.append((utterance, matrix))
        held += len(matrix)
        if held >= frames:
            yield piece
            piece, held = [], 0
    if piece:
        yield piece


@torch.inference_mode()
def _of_each(
    function: Callable[[Tensor, Tensor, Tensor], Tensor],
    model: nn.Module,
    store: Store,
    plan: BatchPlan | None = None,
    part: int = 0,
    parts: int = 1,
) -> np.ndarray:
    """Return what a function of a batch's rows, lengths and indices gives, (N, …), in the store's order or the plan's.

    Of several parts of the work only one is done; other results are 0.
    """
    def of_batch(indices: np.ndarray) -> Tensor:
        batch = store.whole(indices) if plan is None else store.batch(plan.select(indices))
        return function(*batch, torch.from_numpy(indices).to(store.device))

    model.eval()
    total = store.lengths if plan is None else plan.filled.sum(1)
    rows, order = [], []
    for number, indices in enumerate(in_length_order(total, store.BATCH_ROWS[store.device.type])):
        if number % parts == part:
            rows.append(of_batch(indices))
            order.append(indices)
    if not rows:
        indices = np.arange(1)  # one whole utterance says how wide rows are
        rows, order = [0 * of_batch(indices)], [indices]
    result = np.zeros((len(total), rows[0].shape[1]), np.float32)
    result[np.concatenate(order)] = torch.cat(rows).cpu().numpy()
    return result
