#!/usr/bin/env python3
"""Draw a clean block's spectrogram image beside that of its noisy copy: Figure 2 of the noise mix-up paper.

example:
  pyscripts/plot_noise.py egs/ravdess/data_1s/all_spec egs/ravdess/data_1s/test_snr15_spec figure2.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.base.errors import run_main
from ser.scoring.noise_figure import draw_clean_and_noisy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path, help="data directory of clean blocks' images")
    parser.add_argument("noisy", type=Path, help="that of noisy copies under the same ids")
    parser.add_argument("figure", type=Path, help="where the figure goes, .png, .svg or .pdf")
    parser.add_argument("--block", default="", metavar="ID",
                        help="which block (default: the one whose two images differ as much as the median block's)")
    args = parser.parse_args()
    print(f"{args.figure}: {draw_clean_and_noisy(args.figure, args.clean, args.noisy, args.block)}")


if __name__ == "__main__":
    run_main(main)
