"""ImageNet weights of the networks of `ser.nets.image_classifier`: finding the file, checking it, loading it."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser.base.download import download
from ser.base.errors import SerError
from ser.base.words import some

if TYPE_CHECKING:  # names are asked for by many that need no torch
    from torch import Tensor, nn

# torchvision's releases; a name ends in the first digits of the file's SHA-256.
RELEASES = {"alexnet": "alexnet-owt-7be5be79.pth", "squeezenet": "squeezenet1_0-b66bff10.pth"}
SUFFIXES = (".pth", ".npz", ".safetensors")
_SITE = "https://download.pytorch.org/models"


def find_weights(network: str, given: str = "") -> Path:
    """Return the file with a network's ImageNet weights, as an absolute path.

    Args:
        network: one of `RELEASES`.
        given: the file; '' stands for torchvision's release in PyTorch's cache ($TORCH_HOME/hub/checkpoints), which is
            fetched where it is not there.

    Raises:
        SerError: there is no such file, it cannot be fetched, or it is not the one that its name promises.
    """
    if given:
        path = Path(given).resolve()
        if path.suffix not in SUFFIXES or not path.is_file():
            raise SerError(f"--weights {given}: no such file; name one with the weights of {network} under "
                           f"torchvision's names ({', '.join(SUFFIXES)}), or train from --init random")
    else:
        name = RELEASES[network]
        cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
        home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))
        path = Path(home, "hub", "checkpoints", name).expanduser()
        if not path.is_file():
            try:
                download(f"{_SITE}/{name}", path)
            except (SerError, OSError) as error:
                raise SerError(f"the ImageNet weights of {network} are not at {path} and cannot be fetched from "
                               f"{_SITE}/{name} ({error}); bring that file there or name one with --weights, or train "
                               "from --init random") from None
    if path.suffix == ".pth":
        expected = RELEASES[network].removesuffix(".pth").rpartition("-")[2]
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if not found.startswith(expected):
            raise SerError(f"{path}: its SHA-256 begins with {found[:8]}, and that of {network}'s ImageNet weights "
                           f"with {expected}: another network's, truncated or changed; fetch it again from "
                           f"{_SITE}/{RELEASES[network]}")
    return path


def load_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Give a network every weight of a file but those of its output layers, which are as it was made.

    Raises:
        SerError: the file is damaged, or holds another network's weights.
    """
    import torch

    weights = _read(Path(path))
    output = tuple(f"{layer}." for layer in model.output_layers)
    own = {name: value for name, value in model.state_dict().items() if not name.startswith(output)}
    wrong = [name for name in own if name not in weights or weights[name].shape != own[name].shape]
    wrong += [name for name in weights if name not in own and not name.startswith(output)]
    if wrong:
        raise SerError(f"{path}: its layers are not those of {type(model).__name__}: {some(sorted(wrong), 5)}; name "
                       "that network's weights, under torchvision's names")
    if infinite := [name for name in own if not torch.isfinite(weights[name]).all()]:
        raise SerError(f"{path}: {some(infinite, 5)} have values that are not finite; fetch it again")
    model.load_state_dict({name: weights[name] for name in own}, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: torch.from_numpy(file[name]) for name in file.files}
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                return load_file(path)
            except SafetensorError as error:
                raise ValueError(str(error)) from None
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise SerError(f"{path}: truncated, damaged or no weights ({str(error).splitlines()[0][:120]}); fetch it again"
                       ) from error
