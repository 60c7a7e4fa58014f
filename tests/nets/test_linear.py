"""The linear layer on pooled frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ser.nets.linear import Linear


@pytest.mark.parametrize("pooling", ["mean", "mean+deviation"])
def test_logits_are_a_linear_layer_on_the_pooled_frames_of_each_utterance_alone(pooling: str) -> None:
    torch.manual_seed(0)
    net = Linear(5, 3, pooling, "none").eval()
    lengths = torch.tensor([7, 1, 4])
    frames = torch.randn(12, 5) + 2
    expected = []
    for piece in frames.split(lengths.tolist()):
        pooled = [piece.mean(0)] + ([piece.std(0, correction=0)] if pooling == "mean+deviation" else [])
        expected.append(torch.cat(pooled) @ net.classifier.weight.T + net.classifier.bias)
    torch.testing.assert_close(net(frames, lengths), torch.stack(expected), atol=5e-3, rtol=0)


def test_pooled_norm_takes_the_training_utterances_mean_and_variance() -> None:
    torch.manual_seed(0)
    net = Linear(4, 2, "mean", "batch")
    frames, lengths = 50 + 3 * torch.randn(640, 4), torch.full((64,), 10)
    embeddings = net.train().embed(frames, lengths).numpy()
    assert np.allclose(embeddings.mean(0), 0, atol=1e-4) and np.allclose(embeddings.std(0), 1, atol=1e-2)
