"""The options of a training: what conf/train.yaml, a recipe's own file, the user's file and the command line set."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ser.augment.copypaste import SCHEMES, SHORT_UTTERANCES
from ser.base.errors import SerError
from ser.data.labels import EMOTION_TABLE, SPEAKER_TABLE
from ser.scoring.metrics import MEASURES
from ser.training.systems import SYSTEMS

RECORD = "run"  # the part of a run's config.yaml that says what it was made from; everything else there is an option

# What run.sh has options of its own for.
OF_RUNS = ("system", "network", "scheme", "seed", "init", "layer", "layers", "labels")

CHOICES = {
    "system": tuple(SYSTEMS),
    "scheme": tuple(SCHEMES),
    "labels": (EMOTION_TABLE, SPEAKER_TABLE),
    "select": (*MEASURES, "loss"),
    "optimiser": ("adam", "adamw", "sgd"),
    "schedule": ("constant", "step", "cosine"),
    "loss": ("cross-entropy", "aam"),
    "input_scaling": ("none", "deviations"),
    "pooling": ("mean", "mean+deviation"),
    "pooled_norm": ("none", "batch"),
    "class_weights": ("none", "balanced"),
    "gradient_checkpointing": ("none", "layers"),
    "short_utt": SHORT_UTTERANCES,
    "postnet": ("true", "false"),
    "fakes": ("free-running", "teacher-forced"),
    "precision": ("auto", "fp32", "bf16"),
}
FUNCTIONALS = ("mean", "deviation", "percentiles", "slope", "change")
KERNELS = ("linear", "rbf")
_POSITIVE = (
    "batch_size", "learning_rate", "critic_rate", "step_epochs", "step_factor", "scale", "crop", "width", "layers",
    "reduction_factor",
)
_UPDATES = ("min_updates", "copypaste_updates")  # what raises epochs, where a corpus is small
_TYPES = {"int": int, "float": (int, float), "int | float": (int, float), "str": str}


def whole_or_not(text: str) -> int | float:
    """Return a number in words, whole if it is written so."""
    return int(text) if text.isdecimal() else float(text)


CONVERTERS = {"int": int, "float": float, "int | float": whole_or_not, "str": str}  # of words on a command line


@dataclass(frozen=True)
class TrainOptions:
    """Everything that decides what weights a training ends with, but for its data; conf/train.yaml explains each.

    The defaults here never change, since digests of runs count what differs from them; a new option's default is what
    trainings did before it was there. What a user gets is conf/train.yaml's business.
    """

    system: str = "mfcc"
    network: str = "resnet"
    scheme: str = "none"
    seed: int = 0
    init: str = "random"
    layer: int = 0
    labels: str = EMOTION_TABLE
    epochs: int = 50
    min_updates: int = 0
    patience: int = 0
    select: str = "weighted_f1"
    batch_size: int = 128
    optimiser: str = "adam"
    learning_rate: float = 0.001
    rates: str = ""
    freeze: str = ""
    beta1: float = 0.9
    beta2: float = 0.999
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip: float = 0.0
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    step_epochs: float = 10.0
    step_factor: float = 0.1
    loss: str = "cross-entropy"
    margin: float = 0.2
    scale: float = 30.0
    crop: int | float = 400
    min_crop: int | float = 0
    short_utt: str = "pad"
    window: int = 0
    precise_bn: int = 3
    width: int = 128
    pooling: str = "mean"
    pooled_norm: str = "none"
    input_scaling: str = "none"
    dropout: float = 0.0
    label_smoothing: float = 0.0
    class_weights: str = "none"
    average: float = 0.0
    time_masks: int = 0
    time_mask_width: int = 30
    frequency_masks: int = 0
    frequency_mask_width: int = 4
    precision: str = "auto"
    gradient_checkpointing: str = "none"
    pass_seconds: int | float = 0
    step_updates: int = 0
    longest: int = 750
    layers: int = 1
    postnet: str = "true"
    reduction_factor: int = 1
    guided_attention: float = 0.0
    own_frames: float = 0.0
    own_from: int = 10_000
    own_until: int = 100_000
    adversarial: float = 0.0
    critic_rate: float = 1e-4
    fakes: str = "free-running"
    functionals: str = " ".join(FUNCTIONALS)
    machines: str = "linear=0.003 linear=0.01 linear=0.03 rbf=1 rbf=3 rbf=10"
    copypaste_updates: int = 0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SerError: a value is out of range or does not go with another; the message names the option.
        """
        for name, kind in self.__annotations__.items():
            value = getattr(self, name)
            if name in CHOICES and value not in CHOICES[name]:
                raise SerError(f"{name}: {value!r} is none of {', '.join(CHOICES[name])}")
            if kind == "str":
                continue
            if not 0 <= value < math.inf:
                raise SerError(f"{name}: {value} is not a number from 0 up")
            if value == 0 and name in _POSITIVE:
                raise SerError(f"{name}: 0 is not a positive number")
        system, networks = SYSTEMS[self.system], SYSTEMS[self.system].networks
        if not system.can_join and self.scheme != "none":
            raise SerError(f"scheme: {self.scheme} concatenates, and examples of the system {self.system} are all of "
                           "one length; it has none alone")
        if self.network not in networks:
            raise SerError(f"network: the system {self.system} has {', '.join(networks)}, not {self.network!r}")
        if system.crop_rows == 1 and (self.crop != int(self.crop) or self.min_crop != int(self.min_crop)):
            raise SerError(f"crop: {self.crop} and min_crop, {self.min_crop}, are whole numbers of frames")
        if system.crop_rows > 1 and (self.time_masks or self.frequency_masks or self.input_scaling != "none"):
            raise SerError(f"{self.system}: reads samples, which time_masks, frequency_masks and input_scaling are not "
                           "for; leave them out")
        if self.pass_seconds and (system.crop_rows == 1 or self.pooled_norm == "batch"):
            raise SerError("pass_seconds: is for a fine-tuned encoder with pooled_norm none, whose examples have "
                           "nothing to do with each other; give 0")
        if self.loss == "aam" and self.margin >= math.pi / 2:
            raise SerError(f"margin: {self.margin} is an angle in radians, under {math.pi / 2:.2f}; 0.2 is usual")
        if self.min_crop > self.crop:
            raise SerError(f"min_crop: {self.min_crop} is greater than crop, {self.crop}")
        for name in ("beta1", "beta2", "dropout", "label_smoothing", "average", "own_frames"):
            if getattr(self, name) >= 1:
                raise SerError(f"{name}: {getattr(self, name)} is not under 1")
        if self.momentum and self.optimiser != "sgd":
            raise SerError(f"momentum: is for the optimiser sgd; {self.optimiser} has beta1, so give 0")
        self.rates_by_prefix()
        for name in self.functionals.split() or [""]:
            if name not in FUNCTIONALS:
                raise SerError(f"functionals: {name!r} is none of {', '.join(FUNCTIONALS)}")
        self.listed_machines()
        if networks[self.network].by_loss and self.select != "loss":
            raise SerError(f"select: {self.system}-{self.network} has no classes, and so no {self.select}; it has loss")
        if only := networks[self.network].only:
            for name, value in self.changed().items():
                if name not in ("system", "network", *only):
                    raise SerError(f"{name}: {self.system}-{self.network} has {getattr(type(self), name)!r} alone, "
                                   f"not {value!r}; its options are {', '.join(only)}")

    @classmethod
    def read(cls, paths: Sequence[str | os.PathLike[str]], overrides: Mapping[str, Any] | None = None) -> TrainOptions:
        """Read options from YAML files, later ones over earlier ones, then `overrides` (None: not given).

        A config.yaml of a run is such a file; what it says of its data is not an option and is passed over. So is what
        the files, which are for all networks, say of options that this one has not.

        Raises:
            SerError: an unreadable file, or an unknown, ill-typed or wrong option; the message names file and option.
        """
        values: dict[str, Any] = {}
        for path in paths:
            values |= meant(read_values(path))
        said = meant({name: value for name, value in (overrides or {}).items() if value is not None})
        chosen = values | said
        system = SYSTEMS.get(chosen.get("system", cls.system))
        network = system and system.networks.get(chosen.get("network", cls.network))
        if network and network.only:
            values = {name: value for name, value in values.items() if name in (*OF_RUNS, *network.only)}
        return cls(**(values | said))

    def rows(self, crop: float) -> int:
        """Return how many rows `crop` or `min_crop` are: frames, or samples of so many seconds."""
        return round(crop * SYSTEMS[self.system].crop_rows)

    def epochs_of(self, batches: int) -> int:
        """Return how many epochs of so many batches are trained at most.

        `epochs`, or what `min_updates` takes, or, where the scheme joins utterances, `copypaste_updates`.
        """
        updates = max(self.min_updates, self.copypaste_updates if self.scheme != "none" else 0)
        return max(self.epochs, -(-updates // batches)) if self.epochs else 0

    def score(self, dev: Mapping[str, float]) -> float:
        """Return what the best epoch has most of, out of an epoch's `loss` and measures on the development set."""
        return -dev["loss"] if self.select == "loss" else dev[self.select]

    def last_epoch(self, best: int, epochs: int) -> int:
        """Return the epoch after which training ends, of at most `epochs`, if none is better than the best so far."""
        return min(best + self.patience, epochs) if self.patience else epochs

    def rate_factor(self, epoch: float, epochs: int, batches: int) -> float:
        """Return what the learning rates are multiplied by after `epoch` of `epochs` epochs, whole and parts.

        `batches` is how many updates an epoch has.
        """
        factor = min(1.0, epoch / self.warmup_epochs if self.warmup_epochs else 1.0)
        if self.schedule == "step":
            done = epoch * batches / self.step_updates if self.step_updates else epoch / self.step_epochs
            factor *= self.step_factor ** (done // 1)
        elif self.schedule == "cosine" and epoch > self.warmup_epochs:
            done = (epoch - self.warmup_epochs) / max(epochs - self.warmup_epochs, 1e-9)
            factor *= (1 + math.cos(math.pi * min(1.0, done))) / 2
        return factor

    def own_frames_at(self, updates: float) -> float:
        """Return the probability, after so many updates, that a frame of synthesis follows the network's own one."""
        return self.own_frames * min(1.0, max(0.0, updates - self.own_from) / max(1, self.own_until - self.own_from))

    def rates_by_prefix(self) -> dict[str, float]:
        """Return the learning rates of parts of the network, by the beginning of their parameters' names."""
        rates = {}
        for word in self.rates.split():
            prefix, _, rate = word.partition("=")
            try:
                rates[prefix] = float(rate)
            except ValueError:
                rates[prefix] = math.nan
            if not prefix or not 0 < rates[prefix] < math.inf:
                raise SerError(f"rates: {word!r} is not <part of the network>=<learning rate>, such as encoder=1e-5")
        return rates

    def listed_machines(self) -> list[tuple[str, float]]:
        """Return kernel and C of each of `machines`."""
        machines = []
        for word in self.machines.split() or [""]:
            kernel, _, text = word.partition("=")
            cost = math.nan
            with contextlib.suppress(ValueError):
                cost = float(text)
            machines.append((kernel, cost))
            if kernel not in KERNELS or not 0 < cost < math.inf:
                raise SerError(f"machines: {word!r} is not <kernel>=<C>, such as rbf=3, with a kernel of "
                               f"{', '.join(KERNELS)}")
        return machines

    def changed(self) -> dict[str, Any]:
        """Return the options that differ from this class's defaults, without one that the scheme makes no use of."""
        unused = {"copypaste_updates"} if self.scheme == "none" else set()
        return {field.name: value for field in fields(self)
                if (value := getattr(self, field.name)) != field.default and field.name not in unused}

    def identity(self) -> dict[str, Any]:
        """Return what decides the weights after a given epoch: all that was changed but when to end.

        A longer training begins as a shorter one does, except under the cosine schedule.
        """
        ends = {"patience"} | ({"epochs", *_UPDATES} if self.schedule != "cosine" else set())
        return {name: value for name, value in self.changed().items() if name not in ends}

    def differences(self, other: TrainOptions) -> list[str]:
        """Return `option: other's value -> this one's` of every option that differs, of those in `changed`."""
        theirs, ours = (asdict(TrainOptions()) | options.changed() for options in (other, self))
        return [f"{name}: {theirs[name]} -> {value}" for name, value in ours.items() if value != theirs[name]]


def meant(values: dict[str, Any]) -> dict[str, Any]:
    """Return the options that a file or a command line sets.

    Who says `epochs` alone wants so many and no more; who says `min_updates` alone, as many for every scheme.
    """
    if "epochs" in values:
        return dict.fromkeys(_UPDATES, 0) | values
    return {"copypaste_updates": 0} | values if "min_updates" in values else values


def read_config(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a YAML file of options; return them as they stand there, and what a run's config.yaml says of its data.

    Raises:
        SerError: the file is not lines `option: value`.
    """
    try:
        read = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SerError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(read, dict) or not isinstance(record := read.pop(RECORD, {}), dict):
        raise SerError(f"{path}: expected lines 'option: value'")
    return read, record


def read_values(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the options that a YAML file sets.

    Raises:
        SerError: an unreadable file, or an unknown or ill-typed option.
    """
    read, record = read_config(path)
    if record:  # of a run, perhaps one of before or after this version
        read = {name: value for name, value in read.items() if name in TrainOptions.__annotations__}
    return {name: checked(name, value, str(path)) for name, value in read.items()}


def checked(name: str, value: Any, where: str) -> Any:
    """Return an option's value, as a number if it is one in words.

    Raises:
        SerError: there is no such option, or the value is of another type.
    """
    kind = TrainOptions.__annotations__.get(name)
    if kind is None:
        raise SerError(f"{where}: unknown option {name!r}; one of {', '.join(TrainOptions.__annotations__)}")
    if kind != "str" and isinstance(value, str):  # from a command line; YAML takes 1e-3, without a point, for text
        with contextlib.suppress(ValueError):
            value = CONVERTERS[kind](value)
    if not isinstance(value, _TYPES[kind]) or isinstance(value, bool):
        raise SerError(f"{where}: {name}: {value!r} is not of type {kind}")
    return value
