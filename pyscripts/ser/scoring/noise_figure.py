"""Figure 2 of the noise mix-up paper: the image of a clean block beside that of its noisy copy."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table
from ser.data.arks import read_arks
from ser.features.frontend import read_conf
from ser.features.noise import read_utt2noise
from ser.features.spectrogram import SpectrogramOptions
from ser.nets.colours import palette
from ser.scoring.plots import image_row

_COMPARED = 200  # blocks, evenly spaced in the list, of which the median one is drawn


def draw_clean_and_noisy(
    path: str | os.PathLike[str], clean: str | os.PathLike[str], noisy: str | os.PathLike[str], block: str = ""
) -> str:
    """Draw a block's clean and noisy image side by side, and return which block it is.

    Args:
        path: where the figure goes, .png or .svg.
        clean: data directory of images (steps/make_spectrogram.sh).
        noisy: that of copies of the same blocks under the same ids (steps/augment_data_dir.sh without --each).
        block: which one; '' stands for the one whose images differ as much as the median block's, so that it is neither
            the most nor the least telling.

    Raises:
        SerError: a directory has no images, no utt2noise, images of other options, or not that block.
    """
    clean, noisy = Path(clean), Path(noisy)
    options, theirs = (read_conf(folder / "conf" / "spectrogram.conf", SpectrogramOptions) for folder in (clean, noisy))
    if options != theirs:
        raise SerError(f"{noisy}: its images were made with other options than those of {clean}; make them alike "
                       "(steps/make_spectrogram.sh)")
    if not (noisy / "utt2noise").exists():
        raise SerError(f"{noisy}: holds no noisy copies (no utt2noise); name a directory that "
                       "steps/augment_data_dir.sh and steps/make_spectrogram.sh have made")
    common = sorted(read_table(clean / "feats.scp").keys() & read_table(noisy / "feats.scp").keys())
    chosen = [block] if block else common[:: -(-len(common) // _COMPARED) or 1]
    if not set(chosen) <= set(common) or not common:
        raise SerError(f"{noisy}: has no image of {block or 'any block'} of {clean}; the ids are in "
                       f"{noisy / 'feats.scp'}")
    images = _read_images(clean, chosen), _read_images(noisy, chosen)
    chosen.sort(key=lambda name: float(np.abs(images[0][name] - images[1][name]).mean()))
    block = chosen[(len(chosen) - 1) // 2]
    snr = read_utt2noise(noisy / "utt2noise")[block].snr
    pictures = {title: palette()[of[block].T.astype(np.uint8)]
                for title, of in zip(("clean", f"noisy, {snr:.4g} dB"), images, strict=True)}
    image_row(path, pictures, (0, options.block_length), (0, options.rate / 2000), "time (s)", "frequency (kHz)",
              options.origin)
    return block


def _read_images(data: Path, blocks: Collection[str]) -> dict[str, np.ndarray]:
    """Return images of some blocks, (frames, rows) float32 palette indices."""
    wanted = set(blocks)
    return {name: image.astype(np.float32) for name, image in read_arks(data / "feats.scp") if name in wanted}
