"""Training options, as conf/train.yaml and a recipe's own file set them."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ser.copypaste import SHORT_UTTERANCES
from ser.errors import SerError

PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class TrainOptions:
    """What conf/train.yaml sets; see there."""

    epochs: int
    batch_size: int
    learning_rate: float
    crop: int
    short_utt: str
    precise_bn: int
    precision: str

    @classmethod
    def read(cls, paths: Sequence[str | os.PathLike[str]], overrides: dict[str, Any]) -> TrainOptions:
        """Options from YAML files, later ones overriding earlier ones, then `overrides` (None: not given).

        Raises:
            SerError: an unreadable file, an unknown, missing or ill-typed option; the message names file and option.
        """
        types = {"int": int, "float": (int, float), "str": str}
        known = {field.name: types[field.type] for field in fields(cls)}
        values: dict[str, Any] = {}
        for path in paths:
            try:
                read = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise SerError(f"{path}: not valid YAML: {error}") from error
            if not isinstance(read, dict):
                raise SerError(f"{path}: expected lines 'option: value'")
            for name, value in read.items():
                if name not in known:
                    raise SerError(f"{path}: unknown option {name!r}; one of {', '.join(known)}")
                if cls.__annotations__[name] == "float" and isinstance(value, str):
                    with contextlib.suppress(ValueError):  # YAML takes 1e-3, without a point, for text
                        value = float(value)
                if not isinstance(value, known[name]) or isinstance(value, bool):
                    raise SerError(f"{path}: {name}: {value!r} is not of type {cls.__annotations__[name]}")
                values[name] = value
        values.update({name: value for name, value in overrides.items() if value is not None})
        if missing := known.keys() - values.keys():
            raise SerError(f"no value for {', '.join(sorted(missing))}; set it in {paths[-1]}")
        options = cls(**values)
        for name in ("epochs", "batch_size", "learning_rate", "crop"):
            if not 0 < getattr(options, name) < math.inf:
                raise SerError(f"{name}: {getattr(options, name)} is not a positive number")
        if options.precise_bn < 0:
            raise SerError("precise_bn: cannot be negative")
        for name, choices in (("precision", PRECISIONS), ("short_utt", SHORT_UTTERANCES)):
            if getattr(options, name) not in choices:
                raise SerError(f"{name}: {getattr(options, name)!r} is none of {', '.join(choices)}")
        return options
