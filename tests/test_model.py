"""The network against the paper's Table 1 and equations, and against itself without padding."""

from __future__ import annotations

import pytest
import torch

from ser.model import AttentionPooling, BasicBlock, Padding, ResNet34


@pytest.mark.parametrize(("classes", "parameters"), [(4, 2_978_212), (5, 2_978_613)])
def test_parameters(classes: int, parameters: int) -> None:
    assert sum(p.numel() for p in ResNet34(classes).parameters()) == parameters


def test_output_sizes_are_those_of_table_1() -> None:
    model, frames = ResNet34(4).eval(), 104
    sizes: list[tuple[int, ...]] = []

    def note(module, inputs, output) -> None:
        sizes.append(tuple((output[0] if isinstance(output, tuple) else output).shape[1:]))

    for module in (model.stem, model.blocks[2], model.blocks[6], model.blocks[12], model.blocks[15], model.pooling,
                   model.embedding, model.classifier):
        module.register_forward_hook(note)
    model(torch.randn(1, frames, 23))
    assert sum(isinstance(block, BasicBlock) for block in model.blocks) == 3 + 4 + 6 + 3
    assert sizes == [
        (16, frames, 23), (16, frames, 23), (32, frames // 2, 12), (64, frames // 4, 6), (128, frames // 8, 3),
        (32 * 128,), (400,), (4,),
    ]


def test_pooling_is_equations_1_and_2() -> None:
    torch.manual_seed(0)
    heads, dim, frames = 32, 128, 37
    pooling = AttentionPooling(dim, heads)
    torch.nn.init.uniform_(pooling.scales, 0.1, 2)
    x = torch.randn(2, frames, dim)
    x[1, 0] = pooling.centres[3].detach()  # a distance of zero
    expected = torch.zeros(2, heads, dim, dtype=torch.float64)
    centres, scales, frame = pooling.centres.double(), pooling.scales.double(), x.double()
    for b in range(2):
        for h in range(heads):
            weights = []
            for t in range(frames):
                weights.append(torch.exp(-scales[h] * torch.sqrt(((frame[b, t] - centres[h]) ** 2).sum())))
            for t in range(frames):
                expected[b, h] += weights[t] / sum(weights) * frame[b, t]
    assert torch.allclose(pooling(x).double(), expected.flatten(1), atol=1e-5)


def padded_batch(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(len(lengths), max(lengths), 23)
    for row, length in enumerate(lengths):
        x[row, length:] = 0
    return x, torch.tensor(lengths)


def test_padding_makes_no_difference_to_logits() -> None:
    torch.manual_seed(1)
    model = ResNet34(4)
    x, lengths = padded_batch([150, 149, 83, 16, 1])
    model.train()
    for _ in range(3):  # running statistics that are not those of initialisation
        model(x, lengths)
    model.eval()
    with torch.no_grad():
        together = model(x, lengths)
        for row, length in enumerate(lengths):
            alone = model(x[row : row + 1, :length])
            assert torch.allclose(together[row], alone[0], atol=1e-4)


def test_padding_makes_no_difference_to_training() -> None:
    """Batch-norm statistics and gradients: a batch padded by 30 more frames is the same batch."""
    torch.manual_seed(2)
    x, lengths = padded_batch([60, 41, 23])
    longer = torch.nn.functional.pad(x, (0, 0, 0, 30))
    results = []
    for batch in (x, longer):
        torch.manual_seed(3)
        model = ResNet34(4).double().train()
        model(batch.double(), lengths).square().sum().backward()
        results.append([p.grad for p in model.parameters()] + [b.double() for b in model.buffers()])
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, atol=1e-9, rtol=1e-7)


def test_batch_norm_sees_real_frames_only() -> None:
    torch.manual_seed(4)
    lengths = torch.tensor([9, 4, 6])
    padding = Padding(lengths, 9, torch.device("cpu"))
    x = torch.randn(3, 5, 9, 7)
    packed = padding.pack(x)
    real = torch.cat([x[row, :, :length] for row, length in enumerate(lengths)], 1)
    assert torch.equal(packed[0], real)
    restored = padding.unpack(packed)
    for row, length in enumerate(lengths):
        assert torch.equal(restored[row, :, :length], x[row, :, :length])
        assert not restored[row, :, length:].any()


def test_packing_gradients() -> None:
    padding = Padding(torch.tensor([3, 1, 2]), 3, torch.device("cpu"))
    x = torch.randn(3, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: padding.unpack(padding.pack(t).square()), x)
