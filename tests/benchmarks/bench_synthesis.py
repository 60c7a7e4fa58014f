#!/usr/bin/env python3
"""EmoAug's synthesis network: frames a second in training and generating, beside torchaudio's Tacotron 2.

Both have the same widths, as many parameters, and the same made utterances, as long as RAVDESS's: 188 frames on
average, half as many units. torchaudio's reads styles beside its encoded units. It takes utterances in the order they
come, as its loop does; ours in batches of like lengths. What generates stops at each utterance's own length in ours,
and at the batch's last in torchaudio's. Frames are those of utterances, not of padding.

Usage: python3 tests/benchmarks/bench_synthesis.py [--width N] [--batch-size N] [--utterances N] [--device D] …
"""

from __future__ import annotations

import argparse
import statistics
import warnings

import torch
import torch.nn.functional as F
from common import interleaved, markdown, parse_options, ratio, report
from torch import Tensor, nn
from torchaudio.models import Tacotron2

from ser.base.errors import run_main
from ser.nets import synthesis, tacotron_decoder
from ser.nets.layout import within
from ser.nets.synthesis import BANDS, UNITS, Synthesiser, synthesis_losses
from ser.training.device import set_up_device


class BesideStyle(nn.Module):
    """torchaudio's encoder, each of whose units has the style beside it, as EmoAug's have."""

    def __init__(self, encoder: nn.Module, style: int) -> None:
        super().__init__()
        self.encoder, self.style = encoder, style

    def forward(self, units: Tensor, lengths: Tensor) -> Tensor:
        return F.pad(self.encoder(units, lengths), (0, self.style), value=1.0)


def main() -> None:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--width", type=int, default=128, metavar="N", help="(default: %(default)s)")
        parser.add_argument("--style", type=int, default=257, metavar="N", help="size of a style (default: GE2E's, "
                            "%(default)s)")
        parser.set_defaults(batch_size=16)

    args = parse_options(__doc__, 64, 3, more)
    device = set_up_device(args.device)
    torch.manual_seed(0)
    frames = (188 + 40 * torch.randn(args.utterances)).clamp(80, 320).long()
    tacotron_decoder._STOPS, width = 2.0, args.width  # lengths are given
    ours = Synthesiser(args.style, width).to(device)
    theirs, wider = (Tacotron2(
        n_symbol=UNITS, symbol_embedding_dim=width, encoder_embedding_dim=size, decoder_rnn_dim=2 * width,
        attention_rnn_dim=2 * width, attention_hidden_dim=width // 4, prenet_dim=256,
        postnet_embedding_dim=width, gate_threshold=2.0,
    ) for size in (width, width + args.style))
    theirs.encoder, theirs.decoder = BesideStyle(theirs.encoder, args.style), wider.decoder
    theirs.to(device)
    in_order, by_length = frames.split(args.batch_size), frames.sort().values.split(args.batch_size)

    def data(lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        lengths = lengths.sort(descending=True).values  # which torchaudio's asks for
        units = torch.randint(UNITS, (len(lengths), int(lengths.max()) // 2)).to(device)
        return units, lengths // 2, torch.randn(len(lengths), int(lengths.max()), BANDS).to(device), lengths

    def train_ours() -> None:
        ours.train()
        for lengths in by_length:
            units, unit_lengths, mels, mel_lengths = data(lengths)
            said = ours(units, unit_lengths, mels, mel_lengths, torch.ones(len(units), args.style, device=device))
            synthesis_losses(said, mels, unit_lengths).mean().backward()

    def train_theirs() -> None:
        theirs.train()
        for lengths in in_order:
            units, unit_lengths, mels, mel_lengths = data(lengths)
            on_device = unit_lengths.to(device), mels.transpose(1, 2), mel_lengths.to(device)
            before, after, stops, attention = theirs(units, *on_device)
            said = synthesis.Synthesis(before.transpose(1, 2), after.transpose(1, 2), stops, attention, mel_lengths)
            synthesis_losses(said, mels, unit_lengths).mean().backward()

    def generate_ours() -> None:
        ours.eval()
        for lengths in by_length:
            units, unit_lengths, _, limits = data(lengths)
            styles = torch.ones(len(units), args.style, device=device)
            made = ours.generate(units, unit_lengths, styles, limits, range(len(units)))
            assert torch.equal(within(made.lengths, device).sum(1).cpu(), limits)

    @torch.no_grad()
    def generate_theirs() -> None:
        theirs.eval()
        for lengths in in_order:
            units, unit_lengths, _, limits = data(lengths)
            theirs.decoder.decoder_max_step = int(limits.max())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it stops at the limit
                theirs.infer(units, unit_lengths.to(device))

    rows = []
    ways = {"training": (train_ours, train_theirs), "generating": (generate_ours, generate_theirs)}
    for name, (own, peer) in ways.items():
        own(), peer()  # to warm up
        times = interleaved({"ours": own, "torchaudio": peer}, args.rounds, device)
        speeds = [f"{int(frames.sum()) / statistics.median(times[who]):.0f}" for who in times]
        rows.append([name, *speeds, f"{ratio(times['torchaudio'], times['ours']):.2f}"])
    report(
        f"Synthesis, width {width}", device,
        [f"{args.utterances} made utterances in batches of {args.batch_size}, float32; medians of {args.rounds} rounds "
         "that take turns."],
        markdown(["", "ours, frames/s", "torchaudio, frames/s", "ratio"], rows),
    )


if __name__ == "__main__":
    run_main(main)
