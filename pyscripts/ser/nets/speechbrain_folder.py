"""A folder in SpeechBrain's format: what its hyperparams.yaml states, and state dicts, without running its code.

SpeechBrain's own way in, `from_hparams`, calls whatever constructors the YAML names. Here tags are passed over, and
only values and references to values are read.
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import yaml

from ser.base.errors import SerError

HYPERPARAMS = "hyperparams.yaml"
_REFERENCE = re.compile(r"<(\w+)>")


class _Values(yaml.SafeLoader):
    """Reads what is tagged (`!new:…`, `!ref …`) as if it had no tag."""


def _untagged(loader: _Values, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


_Values.add_multi_constructor("!", _untagged)


def read_hyperparams(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a folder's hyperparams.yaml states; a reference `!ref <name>` is replaced by the value of that name.

    Raises:
        SerError: there is no such file, or it is not YAML.
    """
    path = Path(folder) / HYPERPARAMS
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Values)
    except FileNotFoundError:
        raise SerError(f"{path}: no such file; copy the model's whole folder") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SerError(f"{path}: not YAML ({' '.join(str(error).split())}); copy it again") from None
    if not isinstance(values, dict):
        raise SerError(f"{path}: states no values; copy it again")
    return {name: _resolved(value, values) for name, value in values.items()}


def _resolved(value: Any, values: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _resolved(part, values) for name, part in value.items()}
    if isinstance(value, str) and (reference := _REFERENCE.fullmatch(value)):
        return values.get(reference[1], value)
    return value


def load_state(path: Path, module: Any) -> None:
    """Load a state dict of a folder, a pickle of nothing but tensors, into a module.

    Raises:
        SerError: there is no such file, it is damaged, or its tensors are not the module's.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SerError(f"{path}: no such file; copy the model's whole folder") from None
    except (pickle.UnpicklingError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise SerError(f"{path}: no state dict of tensors alone ({said}); copy the file again") from None
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())[:300]
        raise SerError(f"{path}: its tensors are not those that {HYPERPARAMS} describes ({said})") from None


def speechbrain_class(module: str, name: str) -> Any:
    """Return a class of SpeechBrain. Raises SerError where SpeechBrain is not installed."""
    import importlib

    try:
        return getattr(importlib.import_module(f"speechbrain.lobes.{module}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "speechbrain":
            raise
        raise SerError("SpeechBrain is not installed, which networks in its format need: set SER_SYNTHESIS=1, and "
                       "utils/setup.sh installs it, or pip install -r requirements-synthesis.txt") from None
