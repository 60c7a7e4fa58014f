#!/usr/bin/env python3
"""Write the spectrogram images of a data directory as PNG files, to look at (run.sh --write-png).

Files that are there already are kept, unless the images are newer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib import image

from ser.base.errors import SerError, run_main
from ser.base.files import atomic_path
from ser.base.kaldi_tables import read_table
from ser.base.progress import progress
from ser.data.arks import read_arks
from ser.nets.colours import palette


def write_images(data: Path, folder: Path) -> None:
    """Write the images of a data directory as `folder`/<utterance>.png.

    Raises:
        SerError: a matrix is no image of palette indices.
    """
    scp, colours, written = data / "feats.scp", palette(), 0
    total, made = len(read_table(scp)), scp.stat().st_mtime
    for utterance, indices in progress(read_arks(scp), total, f"writing {folder}"):
        path = folder / f"{utterance}.png"
        if path.exists() and path.stat().st_mtime > made:
            continue
        if indices.min() < 0 or indices.max() > 255:
            raise SerError(f"{scp}: {utterance} is no image of palette indices; run steps/make_spectrogram.sh")
        with atomic_path(path) as temporary:
            image.imsave(temporary, colours[indices.T.astype(np.uint8)], format="png")
        written += 1
    print(f"{folder}: {written} images written, {total - written} were there already")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data directory with the images' feats.scp")
    parser.add_argument("folder", type=Path, help="where <utterance>.png go")
    args = parser.parse_args()
    write_images(args.data, args.folder)


if __name__ == "__main__":
    run_main(main)
