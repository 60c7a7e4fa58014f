"""Kaldi's x-vector network against PyTorch's own convolutions, and whatever it is batched with."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ser.nets.tdnn import CONTEXTS, Tdnn


def test_it_is_dilated_convolutions_with_zeros_around_each_utterance() -> None:
    torch.manual_seed(0)
    model, lengths = Tdnn(23, 4, 16).eval(), torch.tensor([40, 3, 1])
    frames = torch.randn(44, 23)
    with torch.no_grad():
        together = model(frames, lengths)
        for row, alone in enumerate(frames.split(lengths.tolist())):
            x = alone.T[None]
            for layer, context in zip(model.frame_layers, CONTEXTS, strict=True):
                size, dilation = len(context), max(1, (context[-1] - context[0]) // max(1, len(context) - 1))
                weight = layer.linear.weight.view(len(layer.linear.weight), size, -1).transpose(1, 2)
                x = F.conv1d(x, weight, layer.linear.bias, padding=context[-1], dilation=dilation).relu()
                x = layer.norm(x)
            pooled = torch.cat([x.mean(2), x.var(2, correction=0).clamp_min(0).sqrt()], 1)
            expected = model.classifier(model.embedding(pooled).relu())[0]
            assert torch.allclose(together[row], expected, atol=2e-3)
            assert torch.allclose(together[row], model(alone, lengths[row : row + 1])[0], atol=1e-5)


def test_sizes_are_those_of_snyder_et_al() -> None:
    """Table 1 of the paper: 512 in all frame layers but the last of 1500, which is 3 times 512 here."""
    shapes = [tuple(layer.linear.weight.shape) for layer in Tdnn(24, 4, 512).frame_layers]
    assert shapes == [(512, 120), (512, 1536), (512, 1536), (512, 512), (1536, 512)]
