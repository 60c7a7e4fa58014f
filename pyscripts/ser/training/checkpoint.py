"""Checkpoints: written whole or not at all, loaded without ever unpickling code."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ser.base.errors import SerError
from ser.base.files import atomic_path
from ser.features.directories import require_front_end
from ser.training.options import TrainOptions
from ser.training.run_folder import FINISHED
from ser.training.systems import SYSTEMS

_CONTENT = ("model", "classes", "front_end")


def save_checkpoint(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write tensors and plain values, atomically."""
    buffer = io.BytesIO()  # torch reports a full disk as an internal failure; writing bytes reports it as what it is
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        try:
            temporary.write_bytes(buffer.getbuffer())
        except OSError as error:
            error.filename = os.fspath(path)
            raise


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, onto the CPU.

    Raises:
        SerError: the file is missing, truncated, not a checkpoint, or holds anything but tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise SerError(f"{path}: no such checkpoint; train first (run.sh --stage 3)")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        missing = [name for name in _CONTENT if name not in content] if isinstance(content, dict) else list(_CONTENT)
        if missing:
            raise SerError(f"{path}: not a checkpoint of this version of the project (no {', '.join(missing)} in it)")
        return _with_options(content)
    except (RuntimeError, EOFError, ValueError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise SerError(
            f"{path}: truncated, damaged or not a checkpoint ({str(error).splitlines()[0][:120]}); "
            f"delete {path.parent} and train again (run.sh --stage 3)"
        ) from error


def _with_options(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Add what checkpoints of before there were several systems do not say: they hold the only network of then."""
    if "options" not in checkpoint:
        angular = checkpoint.get("angular")
        margin = {"loss": "aam", "margin": angular[0], "scale": angular[1]} if angular else {}
        checkpoint |= {"options": {"system": "mfcc", "network": "resnet", **margin}, "dim": 0}
    return checkpoint


def load_model(path: str | os.PathLike[str], device: torch.device) -> tuple[nn.Module, dict[str, Any]]:
    """Return a network ready to evaluate, and the checkpoint it came from (`classes`, `front_end`, `epoch`, …)."""
    checkpoint = load_checkpoint(path)
    return build_model(checkpoint, device), checkpoint


def build_model(checkpoint: Mapping[str, Any], device: torch.device) -> nn.Module:
    """Return the network of a checkpoint's `options`, `dim`, `classes`, weights (`model`) and `built_from` if any.

    Raises:
        SerError: the weights are those of another version's network.
    """
    options = TrainOptions(**checkpoint["options"])
    network = SYSTEMS[options.system].networks[options.network]
    model = network.build(checkpoint["dim"], len(checkpoint["classes"]), options, **checkpoint.get("built_from", {}))
    load_weights(model, checkpoint["model"], f"{options.system}-{options.network}")
    return model.to(device).eval()


def load_weights(model: nn.Module, weights: Mapping[str, Any], where: object) -> None:
    """Give a network all its weights.

    Args:
        model: the network.
        weights: its state.
        where: what has the weights, for the message.

    Raises:
        SerError: they are those of another version's network.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise SerError(f"{where}: the weights do not fit this version's network "
                       f"({str(error).splitlines()[-1].strip()[:120]}); train it again") from error


def load_donor(donor: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the checkpoint of a pre-trained model.

    Args:
        donor: a training's folder, or a checkpoint.

    Raises:
        SerError: as `load_checkpoint`, or the training has not finished.
    """
    donor = Path(donor)
    path = donor / "best.pt" if donor.is_dir() else donor
    if donor.is_dir() and path.exists() and not (donor / FINISHED).exists():
        raise SerError(f"{donor}: its training has not finished; finish it, or name {path}, its best epoch so far")
    return load_checkpoint(path)


def transfer(model: nn.Module, donor: str | os.PathLike[str], front_end: str) -> None:
    """Give `model` every weight of a pre-trained model but those of its output layers.

    Args:
        model: the network to initialise; its `output_layers` are left as they are.
        donor: as of `load_donor`.
        front_end: the options that made the features that `model` will see.

    Raises:
        SerError: the donor's training has not finished, was on another front end (rate, cepstra, …), or has other
            shapes.
    """
    checkpoint = load_donor(donor)
    require_front_end(front_end, checkpoint["front_end"], "the training data", donor, "make the features alike (run.sh "
                      "--mfcc-config, --cmn), or pre-train again")
    output = tuple(f"{layer}." for layer in model.output_layers)
    weights = {name: value for name, value in checkpoint["model"].items() if not name.startswith(output)}
    own = {name: value for name, value in model.state_dict().items() if not name.startswith(output)}
    if "deviations" in own:  # a network trained without input scaling divides by the ones that are there
        weights.setdefault("deviations", own["deviations"])
    wrong = [name for name in own.keys() | weights.keys()
             if name not in weights or name not in own or own[name].shape != weights[name].shape]
    if wrong:
        raise SerError(f"{donor}: its layers do not fit this network: {', '.join(sorted(wrong)[:5])}; give the "
                       "network, width and input_scaling that it was trained with")
    model.load_state_dict(weights, strict=False)
