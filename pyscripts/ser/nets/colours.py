"""Spectrogram images as a network of photographs wants them: palette indices to colours, its size, its normalisation.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 256  # rows and columns of an image as a network sees it
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours, as its networks expect


def palette() -> np.ndarray:
    """Return the colours of matplotlib's map jet, (256, 3) uint8, from blue to red."""
    from matplotlib import colormaps  # takes half a second to import

    return colormaps["jet"](np.arange(256), bytes=True)[:, :3]


def normalised_palette() -> Tensor:
    """Return the colours of `palette`, from 0 to 1, less ImageNet's mean and divided by its deviation, (256, 3)."""
    return (torch.from_numpy(palette()).float() / 255 - torch.tensor(_MEAN)) / torch.tensor(_DEVIATION)


def coloured(images: Tensor, colours: Tensor) -> Tensor:
    """Return images of palette indices as a network sees them, (B, 3, SIDE, SIDE) float32, channels last in memory.

    Resizing is bilinear, over as wide a support as shrinking takes (Pillow's and torchvision's antialias). It is
    linear, and so is the normalisation of colours: their order does not matter.

    Args:
        images: (B, height, width), whole numbers 0 to 255.
        colours: (256, 3), those of `normalised_palette`.
    """
    pictures = colours[images.contiguous().long()].permute(0, 3, 1, 2)
    if pictures.shape[2:] == (SIDE, SIDE):
        return pictures
    return F.interpolate(pictures, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
