"""What the steps that run a pretrained encoder over a data directory have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ser.base.files import file_identity
from ser.features.audio_step import AudioStep
from ser.features.feature_step import Summary, add_arguments
from ser.features.hidden_states import HiddenStates, describe
from ser.nets.encoder_folder import RATE, layer_number, read_encoder_folder


class EncoderStep(AudioStep):
    """A step whose features are made of hidden states.

    Args:
        args: with those of `add_encoder_arguments`.
    """

    mends_data, rate = True, RATE

    def __init__(self, args: argparse.Namespace) -> None:
        self.folder, self.precision = read_encoder_folder(args.encoder.resolve()), args.precision
        self.layer = self.folder.layer(args.layer)
        self.options = [*map(file_identity, self.folder.files), self.layer, self.precision]

    def describe(self) -> str:
        """Return the options that make the hidden states, a line each."""
        return describe(self.folder, self.layer, self.precision)

    def states(self, data: Path, summary: Summary) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each utterance that is fit with its hidden states (frames, D) float32; drop the others."""
        import torch

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.front_end = HiddenStates(self.folder, self.layer, self.precision, device)
        for utterance, states in self.front_end.of(self.waveforms(data, summary)):
            summary.frames[utterance] = len(states)
            yield utterance, states

    def unfit(self, samples: np.ndarray) -> str | None:
        return self.front_end.unfit(samples)


def add_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a program that runs an encoder over a data directory."""
    add_arguments(parser)
    parser.add_argument(
        "--encoder", type=Path, required=True, metavar="DIR", help="folder that transformers' AutoModel reads"
    )
    parser.add_argument(
        "--layer", type=layer_number, metavar="N",
        help="whose hidden states are taken, from 1; all: those of all layers, side by side (default: the last)"
    )
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="(default: %(default)s)")
