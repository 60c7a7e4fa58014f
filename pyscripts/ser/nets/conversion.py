"""Networks of emotional voice conversion, which turn WORLD's features of one emotion into those of another.

CycleGAN's (Zhou, Sisman, Li, Odyssey 2020) are two generators for each emotion but neutral, from neutral and back, for
the spectrum and two more for the wavelet components of log F0; StarGAN's is one for all. They read what is normalised
by the statistics of its emotion, and what they make is given those of its target, as is what of F0 they leave alone.
The generator has the shape of CycleGAN-VC's (Kaneko and Kameoka, EUSIPCO 2018, figure 4), and deviates in two points:
its widths are shares of `width`, of which that paper's is 128; and what it makes is added to its input, since instance
norm forgets the speaker, of whom that paper has one.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ser.nets.world_columns import CEPSTRUM, CONTOUR, CONVERTED

NEUTRAL_CLASS = 0  # neutral is the first of a network's emotions
PARTS = {"spectrum": CEPSTRUM, "contour": CONTOUR}
_BLOCKS = 6
_LEAST = 1e-3  # deviation that counts: the coarsest wavelet scales of short utterances hardly have any
_STEP = 4  # frames become a quarter as many on the way through a generator


class Converter(nn.Module):
    """What all of them have in common: each emotion's statistics, and the way from rows to rows.

    Args:
        emotions: how many there are, neutral among them.
    """

    means: Tensor
    deviations: Tensor

    def __init__(self, emotions: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(emotions, CONVERTED.stop))
        self.register_buffer("deviations", torch.ones(emotions, CONVERTED.stop))

    def learn_statistics(self, emotion: int, rows: Tensor) -> None:
        """Take the means and deviations of an emotion's rows, (n, columns)."""
        rows = rows[:, CONVERTED]
        self.means[emotion] = rows.mean(0)
        self.deviations[emotion] = rows.std(0, correction=0).clamp_min(_LEAST)

    def normalised(self, rows: Tensor, emotions: Tensor) -> Tensor:
        """Turn rows (B, T, columns) of these emotions (B,) into what networks read, (B, C, T)."""
        return ((rows[..., CONVERTED] - self.means[emotions, None]) / self.deviations[emotions, None]).transpose(1, 2)

    def mapped(self, x: Tensor, target: int) -> Tensor:
        """Turn normalised neutral speech (B, C, T) into that of a target, normalised by its statistics."""
        raise NotImplementedError

    def restored(self, x: Tensor, source: int) -> Tensor:
        """Turn normalised speech of an emotion (B, C, T) into neutral speech."""
        raise NotImplementedError

    @torch.no_grad()
    def convert(self, rows: Tensor, target: int) -> Tensor:
        """Turn rows (T, columns) of a neutral utterance into those of another emotion."""
        x = self.normalised(rows[None], torch.tensor([NEUTRAL_CLASS], device=rows.device))
        made = self.mapped(x, target)[0].T * self.deviations[target] + self.means[target]
        return torch.cat([made, rows[:, CONVERTED.stop :]], 1)


class CycleGan(Converter):
    """Zhou et al.'s: for each part of the features pairs of generators, from neutral to emotion i + 1 and back.

    They are groups of one network: first those that go there, of all emotions, and then those that come back.
    """

    def __init__(self, emotions: int, width: int) -> None:
        super().__init__(emotions)
        self.pairs = emotions - 1
        self.generators = nn.ModuleDict({
            name: Generator(part.stop - part.start, width, groups=2 * self.pairs) for name, part in PARTS.items()})

    def mapped(self, x: Tensor, target: int) -> Tensor:
        return self._by(target - 1, x)

    def restored(self, x: Tensor, source: int) -> Tensor:
        return self._by(self.pairs + source - 1, x)

    def _by(self, group: int, x: Tensor) -> Tensor:
        groups = 2 * self.pairs
        made = [self.generators[name](x[:, part].repeat(1, groups, 1)).chunk(groups, 1)[group]
                for name, part in PARTS.items()]
        return torch.cat([*made, x[:, CONTOUR.stop :]], 1)


class StarGan(Converter):
    """Rizos et al.'s (ICASSP 2020): one generator of the spectrum for all emotions; F0 gets their statistics alone."""

    def __init__(self, emotions: int, width: int) -> None:
        super().__init__(emotions)
        self.generator = Generator(CEPSTRUM.stop, width, emotions)

    def mapped(self, x: Tensor, target: int) -> Tensor:
        codes = F.one_hot(torch.tensor([target], device=x.device), len(self.means)).to(x).expand(len(x), -1)
        return torch.cat([self.generator(x[:, CEPSTRUM], codes), x[:, CEPSTRUM.stop :]], 1)

    def restored(self, x: Tensor, source: int) -> Tensor:
        return self.mapped(x, NEUTRAL_CLASS)


class Generator(nn.Module):
    """Pieces of speech to pieces of speech: (B, groups·size, T) to likewise, for any T.

    Args:
        size: columns that are converted.
        width: channels of the first layer.
        codes: numbers that are read beside them at every frame, and say what to make; of a single group only.
        groups: generators that work side by side, each on columns of its own.
    """

    def __init__(self, size: int, width: int, codes: int = 0, groups: int = 1) -> None:
        super().__init__()
        self.entry = _Gated(size + codes, width, 15, groups, norm=False)
        self.down = nn.ModuleList(_Gated(width << each, 2 * width << each, 5, groups, 2) for each in range(2))
        self.blocks = nn.ModuleList(_Block(4 * width, groups) for _ in range(_BLOCKS))
        self.up = nn.ModuleList(_Up(4 * width >> each, 2 * width >> each, groups) for each in range(2))
        self.exit = nn.Conv1d(groups * width, groups * size, 15, padding=7, groups=groups)

    def forward(self, x: Tensor, codes: Tensor | None = None) -> Tensor:
        """Convert (B, groups·size, T); `codes` is (B, codes)."""
        frames = x.shape[2]
        read = x if codes is None else _beside(x, codes)
        h = F.pad(read, (0, -frames % _STEP), "replicate")
        for layer in (self.entry, *self.down, *self.blocks, *self.up):
            h = layer(h)
        return x + self.exit(h)[..., :frames]


class Discriminator(nn.Module):
    """Pieces of speech to scores, (B, groups·size, T) to (B, groups·scores): gated convolutions, a mean over time.

    CycleGAN-VC's is two-dimensional and has instance norm.
    """

    def __init__(self, size: int, width: int, scores: int = 1, codes: int = 0, groups: int = 1) -> None:
        super().__init__()
        sizes = (size + codes, width, 2 * width, 4 * width)
        self.layers = nn.Sequential(*(_Gated(read, made, 5, groups, 2, norm=False) for read, made in pairwise(sizes)))
        self.output = nn.Conv1d(groups * 4 * width, groups * scores, 1, groups=groups)

    def forward(self, x: Tensor, codes: Tensor | None = None) -> Tensor:
        return self.output(self.layers(x if codes is None else _beside(x, codes))).mean(2)


class _Gated(nn.Module):
    """A convolution, perhaps instance norm, and a gate: (B, groups·read, T) to (B, groups·made, T / stride)."""

    def __init__(self, read: int, made: int, kernel: int, groups: int, stride: int = 1, norm: bool = True) -> None:
        super().__init__()
        channels = groups * 2 * made
        self.convolution = nn.Conv1d(groups * read, channels, kernel, stride, kernel // 2, groups=groups)
        self.norm = nn.GroupNorm(channels, channels) if norm else nn.Identity()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(self.norm(self.convolution(x)).unflatten(1, (self.groups, -1)), 2).flatten(1, 2)


class _Up(nn.Module):
    """A convolution whose channels become twice as many frames, instance norm and a gate: to (B, groups·made, 2·T)."""

    def __init__(self, read: int, made: int, groups: int) -> None:
        super().__init__()
        channels = groups * 2 * made
        self.convolution = nn.Conv1d(groups * read, 2 * channels, 5, padding=2, groups=groups)
        self.norm = nn.GroupNorm(channels, channels)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x).unflatten(1, (-1, 2)).transpose(2, 3).flatten(2)
        return F.glu(self.norm(x).unflatten(1, (self.groups, -1)), 2).flatten(1, 2)


class _Block(nn.Module):
    """A residual block: a gated convolution and a plain one."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        channels = groups * width
        self.gated = _Gated(width, width, 3, groups)
        self.plain = nn.Conv1d(channels, channels, 3, padding=1, groups=groups)
        self.norm = nn.GroupNorm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.plain(self.gated(x)))


def _beside(x: Tensor, codes: Tensor) -> Tensor:
    """Return (B, C, T) with codes (B, K) at every frame, (B, C + K, T)."""
    return torch.cat([x, codes[..., None].expand(-1, -1, x.shape[2])], 1)
