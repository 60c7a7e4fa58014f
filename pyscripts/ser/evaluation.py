"""Running the network over whole utterances."""

from __future__ import annotations

import numpy as np
import torch

from ser.model import ResNet34
from ser.store import FeatureStore

# Padded frames a batch: enough to fill the device, little enough for its memory.
_FRAMES = {"cuda": 200_000, "cpu": 16_000}


@torch.inference_mode()
def log_posteriors(model: ResNet34, store: FeatureStore) -> np.ndarray:
    """Log class posteriors (N, classes), float32, of every utterance of the store, taken whole, in its order.

    Computed in float32 whatever the precision of training, in batches of like lengths; no utterance's result depends
    on the others'. The model is left in evaluation mode.
    """
    model.eval()
    rows, order = [], []
    for indices in store.in_length_order(_FRAMES[store.device.type]):
        rows.append(model(*store.whole(indices)).log_softmax(1))
        order.append(indices)
    result = np.empty((len(store.utterances), rows[0].shape[1]), np.float32)
    result[np.concatenate(order)] = torch.cat(rows).cpu().numpy()
    return result
