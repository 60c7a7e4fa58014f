"""Tacotron 2's decoder (Shen et al., ICASSP 2018): encoded units to the frames of a mel spectrogram, one by one.

Its attention is the location-sensitive one of Chorowski et al. (NeurIPS 2015). What it reads are encoded units, each
beside the utterance's style: since the weights of attention sum to 1, what it finds ends in the style itself, whatever
it attends to. (At the first frame, before which it attended to nothing, the style is there too.) So what the LSTMs'
gates take of the style is computed once, and in training the loop over frames has in it only what depends on the frame
before; the weights' gradients are computed after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ser.nets.layout import within

_PRENET = 256  # width of its layers, whatever the width of the rest: half of what comes through is dropped
_FILTERS, _REACH = 32, 31  # of the convolution over earlier attention: how many, and how wide
_STOPS = 0.5  # probability of the stop token at which an utterance ends
_AHEAD = 64  # frames for which dropout is drawn at a time


class Decoder(nn.Module):
    """Encoded units and a style to a spectrogram: prenet, attention LSTM, attention, decoder LSTM, projections.

    The attention LSTM alone goes frame by frame in training: what it takes of the frames is computed for all of them
    before, and the decoder LSTM, on which it does not depend, reads what it found for all of them after.

    Args:
        units: size of an encoded unit.
        style: size of a style.
        width: of the network that it is part of; its LSTMs are twice as wide.
        bands: of a spectrogram.
        reduction: how many frames it says at a step, after the last of the step before (Tacotron's reduction factor).
    """

    def __init__(self, units: int, style: int, width: int, bands: int, reduction: int = 1) -> None:
        super().__init__()
        self.bands, self.reduction = bands, reduction
        memory = units + style
        self.prenet = nn.ModuleList([_linear(bands, _PRENET, bias=False), _linear(_PRENET, _PRENET, bias=False)])
        self.attention_lstm = nn.LSTMCell(_PRENET + memory, 2 * width)
        self.attention = Attention(2 * width, memory, width // 4)
        self.decoder_lstm = nn.LSTMCell(2 * width + memory, 2 * width)
        self.dropout = 0.1
        self.mel = _linear(2 * width + memory, reduction * bands)
        self.stop = _linear(2 * width + memory, reduction, gain="sigmoid")

    def forward(
        self, memory: Tensor, style: Tensor, lengths: Tensor, mels: Tensor, own: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return mels (B, T, bands), logits of the stop token (B, T) and attention (B, T, U).

        Args:
            memory: encoded units, (B, U, units).
            style: (B, style).
            lengths: (B,) units of each utterance, on the CPU.
            mels: (B, T, bands), the true frames.
            own: as of `ser.nets.synthesis.Synthesiser.forward`.
        """
        steps = _Steps(self, memory, style, lengths)
        seen = steps.prepared(F.pad(mels, (0, 0, 1, 0))[:, : -1 : self.reduction].transpose(0, 1))
        begins = [0, *((torch.rand(len(seen) - 1) < own).nonzero()[:, 0] + 1).tolist()] if own else [0]
        said: list[tuple[Tensor, Tensor, Tensor]] = []
        for begin, end in zip(begins, [*begins[1:], len(seen)], strict=True):
            inputs = seen[begin:end]
            if begin:
                inputs = torch.cat([steps.prepared(said[-1][0][-1:].detach()), inputs[1:]])
            said.append(steps.say(inputs))
        return tuple(torch.cat(parts).transpose(0, 1)[:, : mels.shape[1]] for parts in zip(*said, strict=True))

    def generate(
        self, memory: Tensor, style: Tensor, lengths: Tensor, limits: Tensor, seed: Sequence[int]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return mels (B, T, bands), attention (B, T, U), frames (B,) and whether the stop token came, (B,)."""
        steps = _Steps(self, memory, style, lengths)
        last = memory.new_zeros(1, len(memory), self.bands)
        draws = _Draws(seed, self.prenet[0].out_features, memory.device)
        rows = torch.arange(len(memory))  # which utterances are still being said
        frames, stopped, said = torch.zeros_like(limits), torch.zeros_like(limits, dtype=torch.bool), []
        going = limits > 0
        while going.any():
            if 4 * going.sum() <= 3 * len(going):
                left = going.nonzero()[:, 0]
                steps.keep(left.to(memory.device))
                draws.keep(left)
                rows, last, going = rows[left], last[:, left.to(memory.device)], going[left]
            now, stops, attention = steps.say(steps.prepared(last, next(draws)))
            said.append((rows, now, attention))
            last = now[-1:]
            for stop in (stops.sigmoid() > _STOPS).cpu():
                frames[rows] += going
                stopped[rows] |= going & stop
                going = ~stopped[rows] & (frames[rows] < limits[rows])
        shape = len(said), self.reduction, len(memory)
        mels, weights = (memory.new_zeros(*shape, size) for size in (self.bands, memory.shape[1]))
        for number, (rows, now, attention) in enumerate(said):
            mels[number][:, rows], weights[number][:, rows] = now, attention
        mels, weights = (each.flatten(0, 1)[: frames.max()].transpose(0, 1) for each in (mels, weights))
        return mels, weights, frames, stopped


class _Steps:
    """A decoder on its way through a batch: its states, and what stays the same from frame to frame.

    States have the batch last, (H, B), in which order products of a weight with a small batch are fastest.
    """

    def __init__(self, decoder: Decoder, memory: Tensor, style: Tensor, lengths: Tensor) -> None:
        self.decoder, self.memory = decoder, memory
        batch, length, size = memory.shape
        attention, cell, lstm = decoder.attention, decoder.attention_lstm, decoder.decoder_lstm
        self.query = _Repeated(attention.query.weight)
        self.keys = attention.memory(torch.cat([memory, style[:, None].expand(-1, length, -1)], 2))
        self.location = attention.of_location()
        self.beyond = memory.new_zeros(batch, length).masked_fill_(~within(lengths, memory.device), -torch.inf)
        self.context, self.weights = memory.new_zeros(size, batch), memory.new_zeros(batch, length)
        self.heard = torch.zeros_like(self.keys)  # what attention at all frames so far adds to the energies
        self.style = style.T
        before = cell.weight_ih.shape[1] - size - len(self.style)
        self.of_frame, of_memory, of_style = cell.weight_ih.split([before, size, len(self.style)], 1)
        self.attending = _Lstm(of_memory, cell.weight_hh, batch)
        self.attending_in_style = of_style @ self.style + (cell.bias_ih + cell.bias_hh)[:, None]
        of_memory, of_style = lstm.weight_ih.tensor_split([lstm.weight_ih.shape[1] - len(self.style)], 1)
        self.speaking = _Lstm(of_memory, lstm.weight_hh, batch)
        self.speaking_in_style = of_style @ self.style + (lstm.bias_ih + lstm.bias_hh)[:, None]

    def prepared(self, frames: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return what the attention LSTM's gates take of frames, (T, B, bands), and of the style: (T, gates, B).

        Frames come by way of the prenet, half of which is dropped, in training and after: chosen anew, or as `kept` has
        it, (2, B, its width).
        """
        x = frames
        for number, layer in enumerate(self.decoder.prenet):
            x = layer(x).relu()
            x = F.dropout(x, 0.5, True) if kept is None else x * kept[number] * 2
        return (F.linear(x, self.of_frame) + self.attending_in_style.T).transpose(1, 2).contiguous()

    def say(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Go on by some steps, `inputs` being `prepared` of the frame before each, (S, gates, B).

        Returns:
            Of their T frames, S times the decoder's reduction: mels (T, B, bands), logits of the stop token (T, B), and
            attention (T, B, U), the step's.
        """
        found = [self._attend(gates) for gates in inputs.unbind()]
        hidden, context, attention = (torch.stack(parts) for parts in zip(*found, strict=True))
        decoder = self.decoder
        hidden = F.dropout(hidden, decoder.dropout, decoder.training)
        if len(inputs) == 1:
            hidden = self.speaking(self.speaking_in_style, hidden[0], context[0])[None]
        else:
            gates = self.speaking.of_input @ torch.cat([hidden, context], 1) + self.speaking_in_style
            hidden = torch.stack([self.speaking(each) for each in gates.unbind()])
        hidden = F.dropout(hidden, decoder.dropout, decoder.training)
        out = torch.cat([hidden, context, self.style.expand(len(inputs), -1, -1)], 1).transpose(1, 2)
        mels, stops = (made.unflatten(2, (decoder.reduction, -1)).transpose(1, 2).flatten(0, 1)
                       for made in (decoder.mel(out), decoder.stop(out)))
        return mels, stops[..., 0], attention.repeat_interleave(decoder.reduction, 0)

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the utterances, (B',)."""
        for name in ("memory", "keys", "beyond", "weights", "heard"):
            setattr(self, name, getattr(self, name)[rows])
        for name in ("context", "style", "attending_in_style", "speaking_in_style"):
            setattr(self, name, getattr(self, name)[:, rows])
        for lstm in (self.attending, self.speaking):
            lstm.hidden, lstm.cell = lstm.hidden[:, rows], lstm.cell[:, rows]

    def _attend(self, gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Go on by a frame; return hidden state (H, B), context (units, B) and attention (B, U)."""
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
        self.of_input = of_input
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
