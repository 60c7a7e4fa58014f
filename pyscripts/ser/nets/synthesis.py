"""EmoAug's synthesis network (Qu et al., ICASSP 2024): units and a style to a mel spectrogram, and its discriminator.

The decoder is Tacotron 2's (Shen et al., ICASSP 2018) with the location-sensitive attention of Chorowski et al.
(NeurIPS 2015). Its widths are all shares of one: 512 is the paper's and Tacotron 2's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ser.nets.frame_norm import FrameNorm
from ser.nets.speaker import SpeakerEncoder

UNITS, BANDS = 200, 80
_KERNEL = 5  # of the convolutions of encoder, post-net and discriminator
_FILTERS, _REACH = 32, 31  # of the convolution over earlier attention: how many, and how wide
_STOPS = 0.5  # probability of the stop token at which an utterance ends
_AHEAD = 64  # frames for which dropout is drawn at a time


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
        style: size of a style vector; or the encoder that makes such vectors, (B, S, bands) to (B, its `dim`), which is
            trained with the rest.
        width: of the semantic encoder; the decoder's LSTMs are twice as wide, its prenet half, its attention a quarter.
        units, bands: how many units there are, and bands of a mel spectrogram.
        postnet: whether five convolutions correct the decoder's spectrogram.
        dropout: of the semantic encoder and the post-net.
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
    ) -> None:
        super().__init__()
        self.encoder = SemanticEncoder(units, width, dropout)
        self.style_encoder = None if isinstance(style, int) else style
        self.built_from = {"style_encoder": style.built_from} if self.style_encoder else {}
        self.decoder = Decoder(width + (style if isinstance(style, int) else style.dim), width, bands)
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
            style: (B, style) vectors, or what the style encoder makes them of.
            own: probability, at each frame, that the batch's own frame takes the true one's place (scheduled sampling,
                Bengio et al., NeurIPS 2015). No gradient goes through it.
        """
        memory = self._memory(units, unit_lengths, style)
        before, stops, attention = self.decoder(memory, unit_lengths, mels, own)
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
        before, attention, frames, stopped = self.decoder.generate(
            self._memory(units, lengths, style), lengths, limits, seed
        )
        mask = within(frames, units.device)
        mels = self._corrected(before * mask[..., None], frames)
        return Generated(mels, frames, attention * mask[..., None], stopped)

    def _memory(self, units: Tensor, lengths: Tensor, style: Tensor) -> Tensor:
        """Return the encoded units, each beside the style, (B, U, width + style)."""
        encoded = self.encoder(units, lengths)
        if style.dim() == 3:
            style = self.style_encoder(style)
        return torch.cat([encoded, style[:, None].expand(-1, encoded.shape[1], -1)], 2)

    @torch.no_grad()
    def style_of(self, frames: Tensor) -> Tensor:
        """Return the style of a whole utterance, (style,), of what the style encoder reads of it, (S, bands)."""
        return self.style_encoder(frames[None].to(self.decoder.mel.weight.device))[0]

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


class Decoder(nn.Module):
    """Encoded units to a spectrogram: prenet, attention LSTM, location-sensitive attention, decoder LSTM, projections.

    The attention LSTM alone goes frame by frame in training: what it takes of the frames is computed for all of them
    before, and the decoder LSTM, on which it does not depend, reads what it found for all of them after.
    """

    def __init__(self, memory: int, width: int, bands: int) -> None:
        super().__init__()
        self.prenet = nn.ModuleList(
            [_linear(bands, width // 2, bias=False), _linear(width // 2, width // 2, bias=False)]
        )
        self.attention_lstm = nn.LSTMCell(width // 2 + memory, 2 * width)
        self.attention = Attention(2 * width, memory, width // 4)
        self.decoder_lstm = nn.LSTMCell(2 * width + memory, 2 * width)
        self.dropout = 0.1
        self.mel = _linear(2 * width + memory, bands)
        self.stop = _linear(2 * width + memory, 1, gain="sigmoid")

    def forward(self, memory: Tensor, lengths: Tensor, mels: Tensor, own: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return mels (B, T, bands), logits of the stop token (B, T) and attention (B, T, U)."""
        steps = _Steps(self, memory, lengths)
        seen = self.prepared(F.pad(mels, (0, 0, 1, 0))[:, :-1].transpose(0, 1))
        frames = len(seen)
        begins = [0, *((torch.rand(frames - 1) < own).nonzero()[:, 0] + 1).tolist()] if own else [0]
        said: list[tuple[Tensor, Tensor, Tensor]] = []
        for begin, end in zip(begins, [*begins[1:], frames], strict=True):
            inputs = seen[begin:end]
            if begin:
                inputs = torch.cat([self.prepared(said[-1][0][-1:].detach()), inputs[1:]])
            said.append(steps.say(inputs))
        return tuple(torch.cat(parts).transpose(0, 1) for parts in zip(*said, strict=True))

    def generate(
        self, memory: Tensor, lengths: Tensor, limits: Tensor, seed: Sequence[int]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return mels (B, T, bands), attention (B, T, U), frames (B,) and whether the stop token came, (B,)."""
        steps = _Steps(self, memory, lengths)
        frame = memory.new_zeros(1, len(memory), self.mel.out_features)
        draws = _Draws(seed, self.prenet[0].out_features, memory.device)
        rows = torch.arange(len(memory))  # which utterances are still being said
        frames, stopped, said = torch.zeros_like(limits), torch.zeros_like(limits, dtype=torch.bool), []
        while (going := ~stopped[rows] & (frames[rows] < limits[rows])).any():
            if 4 * going.sum() <= 3 * len(going):
                left = going.nonzero()[:, 0]
                steps.keep(left.to(memory.device))
                draws.keep(left)
                rows, frame, going = rows[left], frame[:, left.to(memory.device)], going[left]
            frame, stop, attention = steps.say(self.prepared(frame, next(draws)))
            said.append((rows, frame[0], attention[0]))
            frames[rows] += going
            stopped[rows] |= going & (stop[0].sigmoid() > _STOPS).cpu()
        mels, weights = (memory.new_zeros(len(said), len(memory), size) for size in (frame.shape[2], memory.shape[1]))
        for number, (rows, frame, attention) in enumerate(said):
            mels[number, rows], weights[number, rows] = frame, attention
        return mels.transpose(0, 1), weights.transpose(0, 1), frames, stopped

    def prepared(self, frames: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return what the attention LSTM's gates take of frames, (T, B, bands), by way of the prenet: (T, gates, B).

        Half of the prenet is dropped, in training and after: chosen anew, or as `kept` has it, (2, B, its width).
        """
        x = frames
        for number, layer in enumerate(self.prenet):
            x = layer(x).relu()
            x = F.dropout(x, 0.5, True) if kept is None else x * kept[number] * 2
        cell = self.attention_lstm
        gates = F.linear(x, cell.weight_ih[:, : x.shape[-1]], cell.bias_ih + cell.bias_hh)
        return gates.transpose(1, 2).contiguous()


class _Steps:
    """A decoder on its way through a batch: its states, and what stays the same from frame to frame.

    States have the batch last, (H, B), in which order products of a weight with a small batch are fastest.
    """

    def __init__(self, decoder: Decoder, memory: Tensor, lengths: Tensor) -> None:
        self.decoder, self.memory = decoder, memory
        batch, length, size = memory.shape
        attention, cell, lstm = decoder.attention, decoder.attention_lstm, decoder.decoder_lstm
        self.query = _Repeated(attention.query.weight)
        self.keys, self.location = attention.memory(memory), attention.of_location()
        self.beyond = memory.new_zeros(batch, length).masked_fill_(~within(lengths, memory.device), -torch.inf)
        self.context, self.weights = memory.new_zeros(size, batch), memory.new_zeros(batch, length)
        self.heard = torch.zeros_like(self.keys)  # what attention at all frames so far adds to the energies
        self.attending = _Lstm(cell.weight_ih[:, -size:], cell.weight_hh, batch)
        self.speaking = _Lstm(lstm.weight_ih, lstm.weight_hh, batch)
        self.bias = (lstm.bias_ih + lstm.bias_hh)[:, None]

    def say(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Go on by some frames, of which `inputs` are the `prepared` ones before them, (T, gates, B).

        Returns:
            The frames (T, B, bands), logits of the stop token (T, B), and attention (T, B, U).
        """
        found = [self._attend(gates) for gates in inputs.unbind()]
        hidden, context, attention = (torch.stack(parts) for parts in zip(*found, strict=True))
        decoder = self.decoder
        hidden = F.dropout(hidden, decoder.dropout, decoder.training)
        if len(inputs) == 1:
            hidden = self.speaking(self.bias, hidden[0], context[0])[None]
        else:
            gates = decoder.decoder_lstm.weight_ih @ torch.cat([hidden, context], 1) + self.bias
            hidden = torch.stack([self.speaking(each) for each in gates.unbind()])
        out = torch.cat([F.dropout(hidden, decoder.dropout, decoder.training), context], 1).transpose(1, 2)
        return decoder.mel(out), decoder.stop(out)[..., 0], attention

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the utterances, (B',)."""
        for name in ("memory", "keys", "beyond", "weights", "heard"):
            setattr(self, name, getattr(self, name)[rows])
        self.context = self.context[:, rows]
        for lstm in (self.attending, self.speaking):
            lstm.hidden, lstm.cell = lstm.hidden[:, rows], lstm.cell[:, rows]

    def _attend(self, gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Go on by a frame; return hidden state (H, B), context (memory, B) and attention (B, U)."""
        hidden = self.attending(gates, self.context)
        # A convolution over the sum of all weights is the sum of those over each.
        windows = F.pad(self.weights, (_REACH // 2, _REACH // 2)).unfold(1, _REACH, 1)
        last, all_along = (windows @ self.location).chunk(2, 2)
        self.heard = self.heard + all_along
        energies = self.keys + self.query(hidden).T[:, None] + last + self.heard
        scores = energies.tanh() @ self.decoder.attention.score.weight[0]
        self.weights = (scores + self.beyond).softmax(1)
        self.context = (self.weights[:, None] @ self.memory)[:, 0].T
        return hidden, self.context, self.weights


class _Lstm:
    """An LSTM on its way: Hochreiter and Schmidhuber's with forget gates, in PyTorch's order of gates.

    Args:
        of_input, recurrent: weights, (4·H, in) and (4·H, H).
        batch: how many utterances go on side by side.
    """

    def __init__(self, of_input: Tensor, recurrent: Tensor, batch: int) -> None:
        self.both, self.alone = _Repeated(torch.cat([of_input, recurrent], 1)), _Repeated(recurrent)
        self.hidden = self.cell = recurrent.new_zeros(recurrent.shape[1], batch)

    def __call__(self, gates: Tensor, *inputs: Tensor) -> Tensor:
        """Go on by a step and return the state, (H, B).

        Args:
            gates: (4·H, B) or (4·H, 1), what the gates take beside the inputs.
            inputs: (…, B), the input in parts; none where `gates` has what they add.
        """
        gates = gates + (self.both(torch.cat([*inputs, self.hidden])) if inputs else self.alone(self.hidden))
        entry, forget, update, out = gates.chunk(4)
        self.cell = forget.sigmoid() * self.cell + entry.sigmoid() * update.tanh()
        self.hidden = out.sigmoid() * self.cell.tanh()
        return self.hidden


class Attention(nn.Module):
    """Parameters of the location-sensitive attention: which units the next frame says, given which it has said."""

    def __init__(self, query: int, memory: int, width: int) -> None:
        super().__init__()
        self.query = _linear(query, width, bias=False, gain="tanh")
        self.memory = _linear(memory, width, bias=False, gain="tanh")
        self.filters = nn.Conv1d(2, _FILTERS, _REACH, bias=False)
        nn.init.xavier_uniform_(self.filters.weight)
        self.location = _linear(_FILTERS, width, bias=False, gain="tanh")
        self.score = _linear(width, 1, bias=False)

    def of_location(self) -> Tensor:
        """Return what a window on attention adds to a unit's energies, (31, 2·width): on the last frame's, on all's."""
        return torch.cat([self.location.weight @ filters for filters in self.filters.weight.unbind(1)]).T


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


def within(lengths: Tensor, device: torch.device) -> Tensor:
    """Return the mask of real places, (B, longest), of sequences of these lengths, which are on the CPU."""
    return (torch.arange(int(lengths.max())) < lengths[:, None]).to(device, non_blocking=True)


class _Repeated:
    """A linear layer that a loop calls at every step: its weights' gradient is one product, computed after the last.

    Args:
        weight: (out, in).
    """

    def __init__(self, weight: Tensor) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.weight = _Weight.apply(weight, self.seen)

    def __call__(self, x: Tensor) -> Tensor:
        """Turn (in, B) into (out, B)."""
        return _Product.apply(x, self.weight, self.seen) if torch.is_grad_enabled() else self.weight @ x


class _Weight(torch.autograd.Function):
    """The weight itself; backward, the sum over steps of its gradient, from what the steps have left in a list."""

    @staticmethod
    def forward(ctx, weight: Tensor, seen: list[tuple[Tensor, Tensor]]) -> Tensor:
        ctx.seen = seen
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx, _: Tensor) -> tuple[Tensor, None]:
        gradients, inputs = (torch.cat(parts, 1) for parts in zip(*ctx.seen, strict=True))
        ctx.seen.clear()
        return gradients @ inputs.T, None


class _Product(torch.autograd.Function):
    """A product with a weight of `_Weight`, to which it leaves the weight's gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, seen: list[tuple[Tensor, Tensor]]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.seen = seen
        return weight @ x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, weight = ctx.saved_tensors
        ctx.seen.append((gradient, x))
        return weight.T @ gradient, None, None


class _Draws:
    """What dropout keeps of two layers, frame by frame: (2, B, width) of 0 and 1, each utterance by its seed."""

    def __init__(self, seed: Sequence[int], width: int, device: torch.device) -> None:
        self.generators = [torch.Generator().manual_seed(number) for number in seed]
        self.width, self.device, self.drawn, self.number = width, device, torch.empty(0), 0

    def __next__(self) -> Tensor:
        if self.number == len(self.drawn):
            drawn = [torch.rand(_AHEAD, 2, self.width, generator=generator) < 0.5 for generator in self.generators]
            self.drawn, self.number = torch.stack(drawn, 2).to(self.device, torch.float32), 0
        self.number += 1
        return self.drawn[self.number - 1]

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the utterances."""
        self.generators = [self.generators[row] for row in rows.tolist()]
        self.drawn = self.drawn[:, :, rows.to(self.drawn.device)] if len(self.drawn) else self.drawn


def _linear(size: int, out: int, bias: bool = True, gain: str = "linear") -> nn.Linear:
    layer = nn.Linear(size, out, bias)
    nn.init.xavier_uniform_(layer.weight, nn.init.calculate_gain(gain))
    return layer


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
