#!/usr/bin/env python3
"""Hidden states of a frozen encoder: recordings in batches of like lengths with exact masking, beside a plain loop over
transformers' model, a recording at a time; and the operations a second beside those of a large matrix product.

Without --encoder it is a HuBERT of base's size with random weights. The plain loop computes all layers.

Usage: python3 tests/benchmarks/bench_encoder.py [--encoder DIR] [--layer N] [--recordings N] [--rounds N]
                                                 [--device cpu|cuda] [--threads N] [--precision fp32|bf16]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from common import interleaved, markdown, ratio, recordings, report
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations
from torch.utils.flop_counter import FlopCounterMode

from ser.base.arguments import positive
from ser.features.hidden_states import HiddenStates
from ser.nets.encoder_folder import RATE, layer_number, read_encoder_folder
from ser.training.device import set_up_device

SIZE = 2048  # of the matrices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, metavar="DIR", help="folder in transformers' format")
    parser.add_argument("--layer", type=layer_number, metavar="N", help="(default: the last)")
    parser.add_argument("--recordings", type=positive, default=32, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=positive, default=3, metavar="N", help="medians of N (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="(default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as made:
        if args.encoder is None:
            transformers.HubertModel(transformers.HubertConfig()).save_pretrained(made)
            transformers.Wav2Vec2FeatureExtractor().save_pretrained(made)
        measure(args, args.encoder or Path(made))


def measure(args: argparse.Namespace, encoder: Path) -> None:
    """Time both ways and print the report."""
    device, folder, waves = set_up_device(args.device), read_encoder_folder(encoder), recordings(args.recordings)
    states = HiddenStates(folder, folder.layer(args.layer), args.precision, device)
    model = transformers.AutoModel.from_pretrained(folder.path, local_files_only=True, dtype=torch.float32)
    model = model.eval().to(device)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder.path, local_files_only=True)
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    square = torch.randn(SIZE, SIZE, device=device, dtype=dtype)

    def ours() -> None:
        for _ in states.of(enumerate(waves)):
            pass

    def plain() -> None:
        """Encode a recording at a time; Whisper's own way in pads each to 30 s."""
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
            for wave in waves:
                inputs = extractor(wave / 32768, sampling_rate=RATE, return_tensors="pt").to(device)
                whole = model.encoder(**inputs) if folder.kind == "whisper" else model(**inputs)
                whole.last_hidden_state.cpu()

    def product() -> None:
        _ = square @ square

    ours()  # which loads the encoder
    times = interleaved({"ours": ours, "transformers": plain, "product": product}, args.rounds, device)
    for module in states.encoder.modules():
        if is_parametrized(module):  # which the counter cannot look into
            remove_parametrizations(module, "weight")
    with FlopCounterMode(display=False) as counter:
        ours()
    seconds = {name: float(np.median(taken)) for name, taken in times.items()}
    length = sum(map(len, waves)) / RATE
    rate, best = counter.get_total_flops() / seconds["ours"], 2 * SIZE**3 / seconds["product"]
    report(
        "Hidden states of a frozen encoder", device,
        [f"{folder.kind}, layer {states.layer} of {folder.layers}, {args.precision}; {len(waves)} recordings, "
         f"{length:.0f} s of audio; medians of {args.rounds} rounds."
         + " The plain loop computes 30 s for each recording, as transformers' way into Whisper has it."
         * (folder.kind == "whisper")],
        markdown(["", "seconds of audio a second", "time, ratio to ours"], [
            ["ours", f"{length / seconds['ours']:.1f}", "1"],
            ["transformers, a recording at a time", f"{length / seconds['transformers']:.1f}",
             f"{ratio(times['transformers'], times['ours']):.2f}"],
        ]),
        f"Ours does {rate / 1e9:.0f} G operations a second, {100 * rate / best:.0f} % of a product of {SIZE} x {SIZE} "
        "matrices.",
    )


if __name__ == "__main__":
    sys.exit(main())
