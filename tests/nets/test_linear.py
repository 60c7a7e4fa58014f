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


def test_the_mean_of_layers_side_by_side_is_learnt() -> None:
    """Logits of layers with equal weights are those of their mean; training moves weight to the layer that tells."""
    torch.manual_seed(0)
    net, plain = Linear(4, 2, "mean", "none", layers=3), Linear(4, 2, "mean", "none")
    plain.load_state_dict({name: value for name, value in net.state_dict().items() if name != "layer_weights"})
    lengths, labels = torch.full((40,), 5), torch.arange(40) % 2
    layers = torch.randn(200, 3, 4)
    layers[:, 1] += 2 * labels.repeat_interleave(5)[:, None] - 1
    torch.testing.assert_close(net(layers.flatten(1), lengths), plain(layers.mean(1), lengths))
    optimiser = torch.optim.Adam(net.parameters(), 0.05)
    for _ in range(30):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(layers.flatten(1), lengths), labels).backward()
        optimiser.step()
    assert net.layer_weights.softmax(0)[1] > 0.5


def test_pooled_norm_takes_the_training_utterances_mean_and_variance() -> None:
    torch.manual_seed(0)
    net = Linear(4, 2, "mean", "batch")
    frames, lengths = 50 + 3 * torch.randn(640, 4), torch.full((64,), 10)
    embeddings = net.train().embed(frames, lengths).numpy()
    assert np.allclose(embeddings.mean(0), 0, atol=1e-4) and np.allclose(embeddings.std(0), 1, atol=1e-2)
