"""Networks of emotional voice conversion: shapes, generators side by side, and the statistics of emotions."""

from __future__ import annotations

import numpy as np
import torch

from ser.nets.conversion import CycleGan, Discriminator, Generator, StarGan
from ser.nets.world_columns import COLUMNS, CONVERTED, LEVEL, VOICED


def test_generators_side_by_side_know_nothing_of_each_other() -> None:
    torch.manual_seed(0)
    generator, critic = Generator(5, 4, groups=3), Discriminator(5, 4, groups=3)
    for frames in (3, 16, 37):
        x = torch.randn(2, 15, frames)
        made, scores = generator(x), critic(x)
        assert made.shape == x.shape and scores.shape == (2, 3)
        x[:, 5:10] = torch.randn(2, 5, frames)
        changed = (generator(x) - made).abs().amax((0, 2)) > 1e-6
        assert changed.view(3, 5).any(1).tolist() == [False, True, False]
        assert ((critic(x) - scores).abs().amax(0) > 1e-6).tolist() == [False, True, False]


def test_what_a_generator_leaves_alone_gets_the_statistics_of_its_target() -> None:
    torch.manual_seed(0)
    network = CycleGan(3, 4).eval()
    rows = {emotion: 3 * emotion + (1 + emotion) * torch.randn(400, COLUMNS) for emotion in range(3)}
    for emotion, of_emotion in rows.items():
        of_emotion[:, LEVEL - 1] *= 1e-6 * 10**-emotion  # of hardly any deviation, in some emotion of none
        network.learn_statistics(emotion, of_emotion)
    for generator in network.generators.values():
        torch.nn.init.zeros_(generator.exit.weight)
        torch.nn.init.zeros_(generator.exit.bias)
    made = network.convert(rows[0], 2)
    source, target = ((rows[emotion].mean(0), rows[emotion].std(0, correction=0)) for emotion in (0, 2))
    expected = (rows[0] - source[0]) / source[1] * target[1] + target[0]
    compared = np.arange(LEVEL + 1) != LEVEL - 1
    assert np.allclose(made[:, CONVERTED][:, compared], expected[:, CONVERTED][:, compared], atol=1e-4)
    assert made[:, LEVEL - 1].std() < 1e-5
    assert torch.equal(made[:, VOICED:], rows[0][:, VOICED:])


def test_each_emotion_has_generators_of_its_own() -> None:
    torch.manual_seed(0)
    network, x = CycleGan(3, 4).eval(), torch.randn(1, CONVERTED.stop, 20)
    made = [network.mapped(x, 1), network.mapped(x, 2), network.restored(x, 1), network.restored(x, 2)]
    assert all((one - other).abs().max() > 1e-3 for index, one in enumerate(made) for other in made[:index])
    assert torch.equal(made[0][:, CONVERTED.stop - 1], x[:, CONVERTED.stop - 1])


def test_one_generator_is_told_the_emotion() -> None:
    torch.manual_seed(0)
    network, x = StarGan(3, 4).eval(), torch.randn(2, CONVERTED.stop, 20)
    made = [network.mapped(x, emotion) for emotion in range(3)]
    assert all((one - other).abs().max() > 1e-3 for index, one in enumerate(made) for other in made[:index])
    assert torch.equal(network.restored(x, 2), made[0]) and torch.equal(made[1][:, 36:], x[:, 36:])
