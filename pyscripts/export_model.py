#!/usr/bin/env python3
"""Export a trained run to a folder that stands alone: weights, front end, classes, and a model card.

pyscripts/predict.py --model DIR then answers as the run does, on any machine with this project. The weights are in
DIR/model.safetensors; DIR/README.md has the corpus, the scores so far and the licence of the data. A run of --system
encoder takes its encoder along, in DIR/encoder. With --onnx true the network of --system mfcc is in DIR/model.onnx too:
features of one utterance in, (frames, coefficients), probabilities out, in the order of the metadata's `classes`.

With --format transformers DIR is for transformers' own pipeline("audio-classification", model=DIR), which needs nothing
of this project: of a fine-tuned HuBERT, WavLM or wav2vec 2.0 whose frames are averaged.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.apps.model_folder import write_model_folder
from ser.apps.transformers_folder import write_transformers_folder
from ser.base.errors import SerError, run_main
from ser.training.options import read_config
from ser.training.run_folder import CONFIG

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--licence", metavar="TEXT",
                        help="licence of the data, for the card (default: what the recipe's conf/licence.txt says)")
    parser.add_argument("--format", choices=("project", "transformers"), default="project", help="(default: project)")
    parser.add_argument("--encoder", default="", metavar="DIR",
                        help="of a run on a frozen encoder: where that lies (default: as in training)")
    parser.add_argument("--onnx", choices=("true", "false"), default="false",
                        help="write the network as ONNX as well, for programs without PyTorch; needs onnx, onnxscript "
                             "and onnxruntime, whose answers are compared (default: false)")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished training")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the model goes")
    args = parser.parse_args()
    if not (args.run / CONFIG).is_file():
        raise SerError(f"{args.run}: has no {CONFIG}; name the folder of a training")
    _, record = read_config(args.run / CONFIG)
    stated = ROOT / "egs" / str(record.get("recipe") or "none") / "conf" / "licence.txt"
    if args.licence is None and not stated.is_file():
        raise SerError(f"{args.run}: nothing says under which licence its data are; say so with --licence")
    licence = args.licence or stated.read_text(encoding="utf-8").strip()
    if args.format == "transformers":
        if args.onnx == "true":
            raise SerError("--onnx is for the system mfcc, and --format transformers for encoders; choose one")
        write_transformers_folder(args.run, args.folder, licence)
        print(f"{args.folder}: exported for transformers")
        return
    write_model_folder(args.run, args.folder, licence, args.encoder, args.onnx == "true")
    print(f"{args.folder}: exported; try pyscripts/predict.py --model {args.folder} FILE")


if __name__ == "__main__":
    run_main(main)
