#!/usr/bin/env python3
"""Check a pretrained encoder and print its folder, then the number of the layer asked for, a line each.

The encoder is a folder in transformers' format, or a name on the Hugging Face hub, from which it is fetched (once, into
the cache that HF_HOME names). Nothing but configuration and weights is fetched, and no code is run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.base.errors import SerError, run_main
from ser.nets.encoder_folder import CONFIG, PREPROCESSOR, WEIGHTS, read_encoder_folder


def fetched(name: str) -> Path:
    """Return the folder of a model of the hub. Raises SerError where it cannot be had."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        for pattern in WEIGHTS:  # safetensors where there are any
            folder = Path(snapshot_download(name, allow_patterns=[CONFIG, PREPROCESSOR, pattern]))
            if any(folder.glob(pattern)):
                break
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise SerError(f"--encoder {name}: no such folder, and the hub does not give a model of that name "
                       f"({' '.join(str(error).split())[:200]}); name a folder") from None
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help="folder, or name on the hub")
    parser.add_argument("--layer", type=int, help="from 1 (default: the last)")
    args = parser.parse_args()
    there = Path(args.encoder).exists() or args.encoder.startswith(("/", "."))
    folder = read_encoder_folder(args.encoder if there else fetched(args.encoder))
    print(folder.path, folder.layer(args.layer), sep="\n")


if __name__ == "__main__":
    run_main(main)
