#!/usr/bin/env python3
"""Check a pretrained encoder and print its folder, the number of the layer asked for, the seconds of the longest
recording that it takes, and how many layers it has, a line each.

The encoder is a folder in transformers' format, or a name on the Hugging Face hub, from which it is fetched (once, into
the cache that HF_HOME names). Nothing but configuration and weights is fetched, and no code is run.
"""

from __future__ import annotations

import argparse

from ser.base.errors import run_main
from ser.nets.encoder_folder import find_encoder, layer_number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help="folder, or name on the hub")
    parser.add_argument("--layer", type=layer_number, help="from 1, or all (default: the last)")
    args = parser.parse_args()
    folder = find_encoder(args.encoder)
    print(folder.path, folder.layer(args.layer), f"{folder.longest:g}", folder.layers, sep="\n")


if __name__ == "__main__":
    run_main(main)
