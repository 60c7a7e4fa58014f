"""The network against the paper's Table 1 and equations, and against itself without padding."""

from __future__ import annotations

import pytest
import torch

from ser.nets.frame_norm import FrameNorm
from ser.nets.layout import EqualLengths, Layout
from ser.nets.pooling import AttentionPooling
from ser.nets.resnet import BasicBlock, Convolution, ResNet34


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
    model(torch.randn(frames, 23), torch.tensor([frames]))
    assert sum(isinstance(block, BasicBlock) for block in model.blocks) == 3 + 4 + 6 + 3
    assert sizes == [
        (16, 23, frames), (16, 23, frames), (32, 12, frames // 2), (64, 6, frames // 4), (128, 3, frames // 8),
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


def batch(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(sum(lengths), 23), torch.tensor(lengths)


LENGTHS = [150, 149, 83, 16, 1, 400, 7, 8, 9, 64, 65, 3, 2, 31, 33, 100, 90, 80, 1, 5]


def test_logits_do_not_depend_on_the_batch() -> None:
    """Beside others of any length, on any row: the same as alone, where there is no padding of any kind."""
    torch.manual_seed(1)
    model = ResNet34(4)
    frames, lengths = batch(LENGTHS)
    model.train()
    for _ in range(3):  # running statistics that are not those of initialisation
        model(frames, lengths)
    model.eval()
    with torch.no_grad():
        together = model(frames, lengths)
        for row, alone in enumerate(frames.split(LENGTHS)):
            assert torch.allclose(together[row], model(alone, torch.tensor([len(alone)]))[0], atol=1e-4)
        # Equal lengths take another path, a row each.
        equal = model(frames[:800], torch.full((8,), 100))
        for row, alone in enumerate(frames[:800].split(100)):
            assert torch.allclose(equal[row], model(alone, torch.tensor([100]))[0], atol=1e-4)


def test_training_does_not_depend_on_the_layout(monkeypatch) -> None:
    """Logits, batch-norm statistics and gradients are the same however utterances are laid on rows."""
    torch.manual_seed(2)
    lengths = [60, 41, 23, 48, 60]
    frames = torch.randn(sum(lengths), 23, dtype=torch.float64)
    results = []
    for per_row in (1, 3, 100):
        monkeypatch.setattr("ser.nets.layout.UTTERANCES_PER_ROW", per_row)
        torch.manual_seed(3)
        model = ResNet34(4).double().train()
        logits = model(frames, torch.tensor(lengths))
        logits.square().sum().backward()
        results.append([logits, *(p.grad for p in model.parameters()), *(b.double() for b in model.buffers())])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.allclose(a, b, atol=1e-9, rtol=1e-7)


def test_batch_norm_sees_every_frame_once_and_nothing_else() -> None:
    """Against PyTorch's own batch norm of the first convolution of utterances that stand alone."""
    torch.manual_seed(4)
    model = ResNet34(4).double().train()
    lengths = [9, 40, 16]
    frames = torch.randn(sum(lengths), 23, dtype=torch.float64)
    model(frames, torch.tensor(lengths))
    alone = torch.cat([model.stem(part.T[None, None]) for part in frames.split(lengths)], 3)
    mean, variance = alone.mean((0, 2, 3)), alone.var((0, 2, 3))
    assert torch.allclose(model.stem_norm.running_mean, 0.1 * mean)
    assert torch.allclose(model.stem_norm.running_var, 0.9 + 0.1 * variance)


@pytest.mark.parametrize("lengths", [LENGTHS, [5], [8, 8], [1, 2, 3], list(range(1, 60))])
def test_layout_keeps_utterances_apart(lengths: list[int]) -> None:
    layout = Layout(torch.tensor(lengths), 23, torch.device("cpu"))
    for level, bands in enumerate((23, 12, 6, 3)):
        count = int(layout.lengths.sum())
        x = torch.arange(1, count + 1, dtype=torch.float32)[:, None] + torch.arange(bands) / 32
        spread = layout.spread(x)
        assert spread.shape == (layout.rows, 1, bands, layout.width)
        assert torch.equal(spread.transpose(2, 3).reshape(-1, bands)[layout.places], x)
        assert int((spread > 0).sum()) == count * bands
        assert not spread.view(-1)[layout.gaps].any() and len(layout.gaps) + x.numel() == spread.numel()
        # Between two utterances of a row, and after the last, there are zeros for the convolutions to read.
        reach = 3 if level == 0 else 1
        for row in spread[:, 0, 0].tolist():
            text = "".join("x" if value else " " for value in row)
            assert text.endswith(" " * reach)
            assert all(len(gap) >= reach for gap in text.replace("x", "|").split("|") if gap)
        ends = layout.lengths.cumsum(0)
        for begin, end in zip((ends - layout.lengths).tolist(), ends.tolist(), strict=True):
            places = layout.places[begin:end]
            assert torch.equal(places, torch.arange(int(places[0]), int(places[0]) + end - begin))
            assert int(places[0]) // layout.width == int(places[-1]) // layout.width  # on one row
        padded, mask = layout.pad(spread[:, 0].transpose(1, 2))
        assert torch.equal(padded[mask], x) and not padded[~mask].any()
        layout = layout.halved()


def test_layout_gradients() -> None:
    layout = Layout(torch.tensor([3, 1, 2]), 2, torch.device("cpu"))
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: layout.pad(layout.spread(t).square()[:, 0].transpose(1, 2))[0], x)


def end_to_end(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The frames of (rows, C, bands, width) at these places, (1, C, bands, n), which any batch norm takes."""
    return x.permute(1, 2, 0, 3).flatten(2)[None, :, :, places]


@pytest.mark.parametrize("gaps", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_norm_is_pytorchs_of_the_frames_alone(training: bool, gaps: bool) -> None:
    """Values, gradients and running statistics, with a shortcut that is normalised too, against three ordinary layers
    on the frames end to end; what is in the gaps, before and on the way back, does not matter."""
    torch.manual_seed(5)
    layout = Layout(torch.tensor([60, 9, 33, 24] if gaps else [120, 120]), 5, torch.device("cpu"))
    size = (layout.rows, 3, 5, layout.width)
    missing = layout.gaps if gaps else None
    places = layout.places if gaps else torch.arange(layout.rows * layout.width)

    def frames(x: torch.Tensor) -> torch.Tensor:
        return end_to_end(x, places)

    def between(x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).reshape(-1, 3)[layout.gaps]

    x, side = (torch.randn(size, dtype=torch.float64).add_(2).requires_grad_() for _ in range(2))
    weight = torch.randn(size, dtype=torch.float64)
    ours = [FrameNorm(3).double().train(training) for _ in range(2)]
    plain = [torch.nn.BatchNorm2d(3).double().train(training) for _ in range(2)]
    for norm in ours + plain:
        torch.nn.init.uniform_(norm.weight, -1, 1, torch.Generator().manual_seed(6))
        torch.nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(7))

    left = ours[1](side * 1, missing, relu=False)
    mine = ours[0](x * 1, missing, left)
    (mine * weight).sum().backward()
    found = [frames(mine), frames(x.grad), frames(side.grad)]
    if gaps:
        assert not between(mine).any() and not between(x.grad).any()
    x.grad = side.grad = None
    theirs = torch.relu(plain[0](frames(x)) + plain[1](frames(side)))
    (theirs * frames(weight)).sum().backward()
    for a, b in zip(found, [theirs, frames(x.grad), frames(side.grad)], strict=True):
        assert torch.allclose(a, b, atol=1e-12)
    for a, b in zip(ours, plain, strict=True):
        assert torch.allclose(a.weight.grad, b.weight.grad) and torch.allclose(a.bias.grad, b.bias.grad)
        assert torch.allclose(a.running_mean, b.running_mean) and torch.allclose(a.running_var, b.running_var)
        assert a.num_batches_tracked == b.num_batches_tracked


def test_weights_are_in_the_order_time_frequency() -> None:
    """Which is that of the networks that have been trained, whatever the order of an image's axes."""
    torch.manual_seed(8)
    convolution, image = Convolution(2, 3, 3, 2), torch.randn(1, 2, 40, 23)
    expected = torch.nn.functional.conv2d(image, convolution.weight, None, 2, 1)
    assert torch.allclose(convolution(image.transpose(2, 3)).transpose(2, 3), expected, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_block_is_figure_5_of_he_et_al(stride: int) -> None:
    torch.manual_seed(9)
    block, x = BasicBlock(4, 4, stride).double(), torch.randn(2, 4, 5, 16, dtype=torch.float64)

    def norm(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.batch_norm(x, None, None, training=True)

    shortcut = norm(block.shortcut(x)) if stride == 2 else x
    expected = torch.relu(norm(block.conv2(torch.relu(norm(block.conv1(x))))) + shortcut)
    assert torch.allclose(block(x, EqualLengths(2))[0], expected, atol=1e-10)


@pytest.mark.parametrize("gaps", [True, False])
def test_norm_of_nearly_constant_channels(gaps: bool) -> None:
    """Where the mean is far from zero, float32 loses no more of the variance than can be lost, and nothing to NaN."""
    torch.manual_seed(10)
    layout = Layout(torch.tensor([60, 9, 33, 24]), 5, torch.device("cpu"))
    places = layout.places if gaps else torch.arange(layout.rows * layout.width)
    norm = FrameNorm(16)
    means, deviations = torch.rand(16, 1, 1) + 1, torch.logspace(-6, 0, 16)[:, None, None]

    x = means + deviations * torch.randn(layout.rows, 16, 5, layout.width)
    values = end_to_end(x, places).double()
    found = end_to_end(norm(x, layout.gaps if gaps else None), places).double()
    variance, mean = torch.var_mean(values, (0, 2, 3), correction=0, keepdim=True)
    assert torch.allclose(norm.running_mean.double(), 0.1 * mean.flatten(), rtol=1e-5)
    assert torch.allclose(norm.running_var.double(), 0.9 + 0.1 * values.var((0, 2, 3)), rtol=1e-5)
    assert torch.allclose(found, ((values - mean) / (variance + norm.eps).sqrt()).relu(), atol=0.02)


def test_bf16_is_near_float32_and_nan_is_not_hidden() -> None:
    torch.manual_seed(11)
    model = ResNet34(4).train()
    frames, lengths = batch([60, 41, 23, 48, 60])
    exact = model.embed(frames, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.embed(frames, lengths)
    assert torch.nn.functional.cosine_similarity(exact, rounded).min() > 0.98
    frames[70] = torch.nan
    assert model(frames, lengths).isnan().all()
