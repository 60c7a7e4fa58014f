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

from ser.augment.copypaste import SHORT_UTTERANCES
from ser.base.errors import SerError

CHOICES = {
    "select": ("weighted_f1", "loss"),
    "schedule": ("constant", "step", "cosine"),
    "loss": ("cross-entropy", "aam"),
    "short_utt": SHORT_UTTERANCES,
    "precision": ("auto", "fp32", "bf16"),
}
_POSITIVE = ("batch_size", "learning_rate", "step_epochs", "step_factor", "scale", "crop")


@dataclass(frozen=True)
class TrainOptions:
    """What conf/train.yaml sets; see there."""

    epochs: int
    patience: int
    select: str
    batch_size: int
    learning_rate: float
    schedule: str
    warmup_epochs: float
    step_epochs: float
    step_factor: float
    loss: str
    margin: float
    scale: float
    crop: int
    min_crop: int
    short_utt: str
    window: int
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
        for name, kind in cls.__annotations__.items():
            value = getattr(options, name)
            if kind == "str":
                if value not in CHOICES[name]:
                    raise SerError(f"{name}: {value!r} is none of {', '.join(CHOICES[name])}")
            elif not 0 <= value < math.inf:
                raise SerError(f"{name}: {value} is not a number from 0 up")
            elif value == 0 and name in _POSITIVE:
                raise SerError(f"{name}: 0 is not a positive number")
        if options.loss == "aam" and options.margin >= math.pi / 2:
            raise SerError(f"margin: {options.margin} is an angle in radians, under {math.pi / 2:.2f}; 0.2 is usual")
        if options.min_crop > options.crop:
            raise SerError(f"min_crop: {options.min_crop} is greater than crop, {options.crop}")
        return options

    def rate(self, epoch: float) -> float:
        """The learning rate after `epoch` epochs, whole and parts."""
        rate = self.learning_rate * min(1.0, epoch / self.warmup_epochs if self.warmup_epochs else 1.0)
        if self.schedule == "step":
            rate *= self.step_factor ** (epoch // self.step_epochs)
        elif self.schedule == "cosine" and epoch > self.warmup_epochs:
            done = (epoch - self.warmup_epochs) / max(self.epochs - self.warmup_epochs, 1e-9)
            rate *= (1 + math.cos(math.pi * min(1.0, done))) / 2
        return rate
