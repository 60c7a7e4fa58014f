"""EmoAug's synthesis network (Qu et al., ICASSP 2024): units and a style to a mel spectrogram, and its discriminator.

Its widths, those of the decoder (`ser.nets.tacotron_decoder`) among them but for the prenet's, are all shares of one:
512 is the paper's and Tacotron 2's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ser.nets.frame_norm import FrameNorm
from ser.nets.layout import within
from ser.nets.speaker import SpeakerEncoder
from ser.nets.tacotron_decoder import Decoder

UNITS, BANDS = 200, 80
_KERNEL = 5  # of the convolutions of encoder, post-net and discriminator
_CONSTANT = 1e-4  # deviation of styles up to which they are all the same


class Synthesis(NamedTuple):
    """What the network makes of a batch, as long as its longest utterance, T frames; 0 beyond an utterance's end.

    Attributes:
        before: (B, T, bands), mel spectrogram of the decoder.
        mels: likewise, after the post-net; `before` itself where there is none.
        stops: (B, T), logit of each frame's being the last.
        attention: (B, T, U), weights of the units at each frame, which sum to 1.
        lengths: (B,) frames of each utterance, on the CPU.
    """

    before: Tensor
    mels: Tensor
    stops: Tensor
    attention: Tensor
    lengths: Tensor

    def part(self, utterances: slice) -> Synthesis:
        """Return what was made of some of the utterances, as long as the longest of them."""
        lengths = self.lengths[utterances]
        made = [each[utterances, : int(lengths.max())] for each in self[:-1]]
        return Synthesis(made[0], made[0] if self.mels is self.before else made[1], *made[2:], lengths)


class Generated(NamedTuple):
    """What the network says by itself: `mels`, `lengths` and `attention` as of `Synthesis`.

    Attributes:
        stopped: (B,) whether the stop token ended the utterance, not the limit of its frames; on the CPU.
    """

    mels: Tensor
    lengths: Tensor
    attention: Tensor
    stopped: Tensor


class Synthesiser(nn.Module):
    """Units and style vectors to log-mel spectrograms.

    Args:
        style: size of a style; or the encoder of (B, S, bands) to (B, its `dim`) vectors, which is trained with the
            rest. A style then is its vector and, after it, the utterance's level, which speaker encoders are deaf to.
        width: of the semantic encoder; the decoder's LSTMs are twice as wide, its attention a quarter.
        units, bands: how many units there are, and bands of a mel spectrogram.
        postnet: whether five convolutions correct the decoder's spectrogram.
        dropout: of the semantic encoder and the post-net.
        reduction: how many frames the decoder says at a step; 1 is Tacotron 2's.
    """

    output_layers = ()  # no layer depends on classes, so that fine-tuning takes over all of them

    def __init__(
        self,
        style: int | SpeakerEncoder,
        width: int = 512,
        units: int = UNITS,
        bands: int = BANDS,
        postnet: bool = True,
        dropout: float = 0.5,
        reduction: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = SemanticEncoder(units, width, dropout)
        self.style_encoder = None if isinstance(style, int) else style
        self.built_from = {"style_encoder": style.built_from} if self.style_encoder else {}
        size = style if isinstance(style, int) else style.dim + 1
        self.register_buffer("style_means", torch.zeros(size))
        self.register_buffer("style_deviations", torch.ones(size))
        self.decoder = Decoder(width, size, width, bands, reduction)
        self.postnet = Postnet(bands, width, dropout) if postnet else None

    def forward(
        self, units: Tensor, unit_lengths: Tensor, mels: Tensor, mel_lengths: Tensor, style: Tensor, own: float = 0.0
    ) -> Synthesis:
        """Say every frame after the true ones before it.

        Args:
            units: (B, U) numbers of units, anything beyond an utterance's end.
            unit_lengths: (B,) on the CPU.
            mels: (B, T, bands).
            mel_lengths: (B,) on the CPU.
            style: (B, style), or what they are heard in, (B, S, bands + 1): frames for the style encoder and, last, the
                level, which is the first frame's.
            own: probability, at each frame, that the batch's own frame takes the true one's place (scheduled sampling,
                Bengio et al., NeurIPS 2015). No gradient goes through it.
        """
        encoded, style = self.encoder(units, unit_lengths), self._standardised(style)
        before, stops, attention = self.decoder(encoded, style, unit_lengths, mels, own)
        mask = within(mel_lengths, mels.device)
        before, stops = before * mask[..., None], stops * mask
        return Synthesis(before, self._corrected(before, mel_lengths), stops, attention * mask[..., None], mel_lengths)

    @torch.no_grad()
    def generate(
        self, units: Tensor, lengths: Tensor, style: Tensor, max_frames: int | Tensor, seed: Sequence[int]
    ) -> Generated:
        """Say utterances frame by frame, each until its stop token.

        Args:
            units: (B, U).
            lengths: (B,) units of each, on the CPU.
            style: as of `forward`.
            max_frames: where an utterance ends at the latest; one number, or (B,) on the CPU.
            seed: of the prenet's dropout, one for each utterance, so that none depends on the others.
        """
        limits = torch.as_tensor(max_frames).expand(len(units))
        encoded, style = self.encoder(units, lengths), self._standardised(style)
        before, attention, frames, stopped = self.decoder.generate(encoded, style, lengths, limits, seed)
        mask = within(frames, units.device)
        mels = self._corrected(before * mask[..., None], frames)
        return Generated(mels, frames, attention * mask[..., None], stopped)

    @torch.no_grad()
    def style_of(self, frames: Tensor) -> Tensor:
        """Return the style of a whole utterance, (style,), of what it is heard in, (S, bands + 1)."""
        return self._style(frames[None].to(self.style_means.device))[0]

    @torch.no_grad()
    def standardise(self, styles: Tensor) -> None:
        """Have styles be about as large as encoded units: take away the means of these, (N, style), and divide.

        The level is divided by its deviation, the vector by the root mean square of its numbers' deviations: a number
        that is 0 for nearly everyone would else be large for the rest. GE2E's vectors, of unit length, differ by 0.04.
        """
        variances = styles.var(0, correction=0)
        shared = torch.cat([variances[:-1].mean().expand(len(variances) - 1), variances[-1:]]).sqrt()
        self.style_means.copy_(styles.mean(0))
        self.style_deviations.copy_(shared.where(shared > _CONSTANT, 1))

    def _style(self, heard: Tensor) -> Tensor:
        return torch.cat([self.style_encoder(heard[..., :-1]), heard[:, 0, -1:]], 1)

    def _standardised(self, style: Tensor) -> Tensor:
        return ((self._style(style) if style.dim() == 3 else style) - self.style_means) / self.style_deviations

    def _corrected(self, mels: Tensor, lengths: Tensor) -> Tensor:
        return mels if self.postnet is None else mels + self.postnet(mels, lengths)


class SemanticEncoder(nn.Module):
    """Units to vectors: an embedding, three convolutions with batch norm and ReLU, a bidirectional LSTM."""

    def __init__(self, units: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(units, width)
        nn.init.xavier_uniform_(self.embedding.weight)
        self.convolutions = nn.ModuleList(_convolution(width, width, "relu") for _ in range(3))
        self.norms = nn.ModuleList(FrameNorm(width) for _ in range(3))
        self.lstm = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.dropout = dropout

    def forward(self, units: Tensor, lengths: Tensor) -> Tensor:
        """Turn (B, U) units into (B, U, width), 0 beyond an utterance's end."""
        mask = within(lengths, units.device)
        x = self.embedding(units.where(mask, 0)) * mask[..., None]
        gaps = _gaps(mask)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.dropout(_normed(norm, _convolved(convolution, x), gaps, relu=True), self.dropout, self.training)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0]


class Postnet(nn.Module):
    """Five convolutions with batch norm, and tanh but after the last, which correct a spectrogram."""

    def __init__(self, bands: int, width: int, dropout: float) -> None:
        super().__init__()
        sizes = [bands, *[width] * 4, bands]
        gains = ["tanh"] * 4 + ["linear"]
        self.convolutions = nn.ModuleList(map(_convolution, sizes, sizes[1:], gains))
        self.norms = nn.ModuleList(FrameNorm(size) for size in sizes[1:])
        self.dropout = dropout

    def forward(self, mels: Tensor, lengths: Tensor) -> Tensor:
        """Turn (B, T, bands), 0 beyond an utterance's end, into likewise."""
        mask, x = within(lengths, mels.device), mels
        gaps = _gaps(mask)
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True), 1):
            x = _normed(norm, _convolved(convolution, x), gaps)
            x = x.tanh() if number < len(self.norms) else x
            x = F.dropout(x, self.dropout, self.training) * mask[..., None]
        return x


class Discriminator(nn.Module):
    """Tells genuine spectrograms from synthesised ones: three convolutions with ReLU, norm and dropout, two linear.

    The paper has it tell "pitch changes" alone and does not say how; this one sees the whole spectrogram.
    """

    def __init__(self, bands: int = BANDS, width: int = 256, dropout: float = 0.2) -> None:
        super().__init__()
        sizes = [bands, width, width, width]
        self.convolutions = nn.ModuleList(_convolution(*pair, "relu") for pair in pairwise(sizes))
        self.norms = nn.ModuleList(FrameNorm(width) for _ in self.convolutions)
        self.hidden, self.output = nn.Linear(width, width // 2), nn.Linear(width // 2, 1)
        self.dropout = dropout

    def forward(self, mels: Tensor, lengths: Tensor) -> Tensor:
        """Turn spectrograms (B, T, bands), 0 beyond their ends, into (B,): 1 says genuine, 0 synthesised."""
        mask, x = within(lengths, mels.device), mels
        gaps = _gaps(mask)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = _normed(norm, _convolved(convolution, x).relu(), gaps)
            x = F.dropout(x, self.dropout, self.training) * mask[..., None]
        mean = x.sum(1) / lengths.to(x)[:, None]
        return self.output(self.hidden(mean).relu())[:, 0]


def synthesis_losses(said: Synthesis, mels: Tensor, unit_lengths: Tensor, guided: float = 0.0) -> Tensor:
    """Return the loss of each utterance, (B,): Tacotron 2's, and guided attention's.

    It is the mean over frames and bands of the squared error, before the post-net and, where there is one, after it,
    and the mean over frames of the stop token's cross-entropy, in nats.

    Args:
        said: what the network made.
        mels: (B, T, bands), what it was to make.
        unit_lengths: (B,) on the CPU.
        guided: weight of the mean over frames and units of attention times its distance from the diagonal,
            1 - exp(-(u/U - t/T)² / (2·0.2²)) (Tachibana et al., ICASSP 2018, section 4).
    """
    mask, frames = within(said.lengths, mels.device), said.lengths.to(mels)
    ends = F.one_hot(said.lengths - 1, mels.shape[1]).to(mels)
    losses = (F.binary_cross_entropy_with_logits(said.stops, ends, reduction="none") * mask).sum(1) / frames
    for made in (said.before, said.mels) if said.mels is not said.before else (said.mels,):
        losses = losses + ((made - mels).square().mean(2) * mask).sum(1) / frames
    if guided:
        units = unit_lengths.to(mels)
        time = torch.arange(mels.shape[1], device=mels.device) / frames[:, None]
        place = torch.arange(said.attention.shape[2], device=mels.device) / units[:, None]
        distance = 1 - torch.exp(-(place[:, None] - time[..., None]).square() / 0.08)
        losses = losses + guided * (said.attention * distance * mask[..., None]).sum((1, 2)) / (frames * units)
    return losses


def _convolution(size: int, out: int, gain: str) -> nn.Conv1d:
    layer = nn.Conv1d(size, out, _KERNEL, padding=_KERNEL // 2)
    nn.init.xavier_uniform_(layer.weight, nn.init.calculate_gain(gain))
    return layer


def _convolved(convolution: nn.Conv1d, x: Tensor) -> Tensor:
    """Convolve (B, T, in) along T to (B, T, out)."""
    return convolution(x.transpose(1, 2)).transpose(1, 2)


def _gaps(mask: Tensor) -> Tensor | None:
    """Return the places beyond the utterances' ends, counted through the whole batch, for `FrameNorm`."""
    gaps = (~mask).flatten().nonzero()[:, 0]
    return gaps if len(gaps) else None


def _normed(norm: FrameNorm, x: Tensor, gaps: Tensor | None, relu: bool = False) -> Tensor:
    """Return batch norm, and perhaps ReLU, of (B, T, C) by the statistics of real frames; with ReLU, 0 in the gaps."""
    return norm(x.transpose(1, 2)[:, :, None], gaps, relu=relu)[:, :, 0].transpose(1, 2)
