"""The systems that can be trained, and the networks of each: the one place where a new one is announced.

A system says what is read: how a data directory's examples become a store. A network says what is computed from it.
Options, checks, folder names, help texts and checkpoints take their names from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from ser.base.errors import SerError
from ser.features.directories import features_digest, frame_counts, front_end, read_labels
from ser.features.packed import pack
from ser.nets.encoder_folder import RATE
from ser.scoring.results import BASELINE

if TYPE_CHECKING:  # what needs torch is imported where it is used: names and checks are asked for by many
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from ser.augment.copypaste import BatchPlan
    from ser.data.labels import Labels
    from ser.training.options import TrainOptions
    from ser.training.trainer import Objective


class Store(Protocol):
    """The examples of a set as rows end to end, whatever a row is: a frame of features, a sample of a waveform.

    Attributes:
        utterances: ids, N of them.
        lengths: (N,) rows of each utterance.
        dim: numbers in a row.
        device: where batches are.
        digest: hash of the content.
        BATCH_ROWS: rows, padding included, of an evaluation batch, by device type.
    """

    utterances: Sequence[str]
    lengths: np.ndarray
    device: torch.device
    digest: str
    BATCH_ROWS: ClassVar[dict[str, int]]

    @property
    def dim(self) -> int: ...

    def deviations(self) -> Tensor:
        """Return the standard deviation of each of the numbers in a row, (dim,), over all rows."""

    def batch(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        """Return the rows of all examples of a plan end to end, (n, dim), and the rows of each, (B,) on the CPU."""

    def whole(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return whole utterances as a batch, as `batch` does."""

    def prefetch(self, utterances: np.ndarray) -> None:
        """Have utterances that will be needed soon read in the background."""


def _classification() -> type[Objective]:
    from ser.training.classification import Classification

    return Classification


def _synthesis() -> type[Objective]:
    from ser.training.synthesis import SpeechSynthesis

    return SpeechSynthesis


def _cyclegan_conversion() -> type[Objective]:
    from ser.training.conversion import CycleGanConversion

    return CycleGanConversion


def _stargan_conversion() -> type[Objective]:
    from ser.training.conversion import StarGanConversion

    return StarGanConversion


def _support_vectors() -> type[Objective]:
    from ser.training.support_vectors import SupportVectors

    return SupportVectors


@dataclass(frozen=True)
class Network:
    """A network on a system's rows.

    `build(dim, classes, options)` returns a module with `forward(rows, lengths, labels=None)` to logits (B, classes),
    `embed(rows, lengths)` to embeddings (B, E), and `output_layers`, the beginnings of the names of the parameters that
    depend on the classes, which a network pre-trained on other classes does not hand on. With the option
    `input_scaling` it has a buffer `deviations` (dim,). One that these arguments do not describe has `built_from`:
    plain values that checkpoints keep, and that `build` gets by their names where there is a checkpoint.

    Attributes:
        what: a phrase for --help.
        objective: returns the class that trains it.
        only: the training options that it has; the others have no meaning for it, and it takes their defaults alone.
            Empty: it has all of them.
        by_loss: nothing but the loss tells which epoch is best, since there are no classes to choose from.
    """

    what: str
    build: Callable[..., nn.Module]
    objective: Callable[[], type[Objective]] = _classification
    only: tuple[str, ...] = ()
    by_loss: bool = False

    @property
    def by_plan(self) -> bool:
        """Whether it learns classes from the batches of a plan (`make_plans`)."""
        return self.objective is _classification


@dataclass(frozen=True)
class System:
    """What is read.

    Attributes:
        what: a phrase for --help.
        networks: by name, the default one first.
        load: data directories (or one packed set) and a device to their store.
        share: data directories are copied to a folder that `load` takes, for the processes of a node to map.
        lengths: data directories to the ids of their utterances and the rows of each, without reading their features.
        labels: data directories, their utterances and the name of a table to the labels there.
        identity: data directories to a hash that changes when their features do, without reading them.
        front_end: data directories to the options that made their features.
        can_join: whether examples have a length, so that two can be joined: CopyPaste and the diluted test need it.
        start: what trainings begin from if not told: random weights, or published ones (imagenet, or an encoder).
        crop_rows: rows that `crop` counts as one. Where they are samples, there is nothing to scale or to mask.
        of: the name of the system that it is a mode of, for run.sh; its own if empty.
    """

    what: str
    networks: dict[str, Network]
    load: Callable[[Sequence[str], torch.device], Store]
    share: Callable[[Sequence[str], Path], None]
    lengths: Callable[[Sequence[str]], tuple[Sequence[str], np.ndarray]]
    labels: Callable[[Sequence[str], Sequence[str], str], Labels]
    identity: Callable[[Sequence[str]], str]
    front_end: Callable[[Sequence[str]], str]
    can_join: bool = True
    start: str = "random"
    crop_rows: int = 1
    of: str = ""


def _resnet(dim: int, classes: int, options: TrainOptions) -> nn.Module:
    from ser.nets.resnet import ResNet34

    return ResNet34(classes, **_of_classifier(dim, options))


def _tdnn(dim: int, classes: int, options: TrainOptions) -> nn.Module:
    from ser.nets.tdnn import Tdnn

    return Tdnn(dim // options.layers, classes, options.width, **_of_classifier(dim, options))


def _functionals_svm(dim: int, classes: int, options: TrainOptions) -> nn.Module:
    from ser.nets.functionals import FunctionalsSvm

    return FunctionalsSvm(classes, options.functionals.split())


def _linear(dim: int, classes: int, options: TrainOptions) -> nn.Module:
    from ser.nets.linear import Linear

    return Linear(dim // options.layers, classes, options.pooling, options.pooled_norm, **_of_classifier(dim, options))


def _fine_tuned(
    dim: int,
    classes: int,
    options: TrainOptions,
    config: dict[str, Any] | None = None,
    preprocessor: dict[str, Any] | None = None,
) -> nn.Module:
    from ser.nets.encoder import build_encoder, load_encoder
    from ser.nets.encoder_folder import EncoderConfig, is_encoder_folder, read_encoder_folder
    from ser.nets.fine_tuned import FineTuned

    if config is None and is_encoder_folder(options.init):
        about = read_encoder_folder(options.init)
        encoder = load_encoder(about.path, options.layer or None)
    else:
        if config is None:
            config, preprocessor = _built_from(options.init, "config", "preprocessor").values()
        about = EncoderConfig(config, preprocessor)
        encoder = build_encoder(about, options.layer or about.layers)
    if options.gradient_checkpointing == "layers":
        encoder.checkpoint_gradients()
    return FineTuned(encoder, about, classes, options.pooling, options.pooled_norm, **_of_classifier(dim, options))


def _built_from(donor: str, *names: str) -> dict[str, Any]:
    """Return what a run's network was built from. Raises SerError if the run is of another kind, or is none."""
    from ser.training.checkpoint import load_donor

    built_from = load_donor(donor).get("built_from", {})
    if missing := [name for name in names if name not in built_from]:
        raise SerError(f"{donor}: is neither a pretrained encoder nor a run that trained one on (it has no "
                       f"{missing[0]}); name one of these")
    return {name: built_from[name] for name in names}


def _alexnet(dim: int, classes: int, options: TrainOptions) -> nn.Module:
    from ser.nets.image_classifier import AlexNet

    return AlexNet(classes)


def _squeezenet(dim: int, classes: int, options: TrainOptions) -> nn.Module:
    from ser.nets.image_classifier import SqueezeNet

    return SqueezeNet(classes)


def _synthesiser(
    dim: Sequence[int], units: int, options: TrainOptions, style_encoder: dict[str, Any] | None = None
) -> nn.Module:
    from ser.nets.speaker import build_speaker_encoder, load_speaker_encoder
    from ser.nets.speaker_folder import is_speaker_folder
    from ser.nets.synthesis import Synthesiser

    if style_encoder is None and is_speaker_folder(options.init):
        style = load_speaker_encoder(options.init)
    else:
        style = build_speaker_encoder(style_encoder or _built_from(options.init, "style_encoder")["style_encoder"])
    if dim[1] != style.bands + 1:
        raise SerError(f"styles.scp has {dim[1]} columns, which are to be the {style.bands} that the speaker encoder "
                       "reads and the level; make it again by the same encoder (steps/make_styles.sh)")
    return Synthesiser(style, options.width, units, dim[0], options.postnet == "true", options.dropout,
                       options.reduction_factor)


def _cyclegan(dim: int, emotions: int, options: TrainOptions) -> nn.Module:
    from ser.nets.conversion import CycleGan

    return CycleGan(emotions, options.width)


def _stargan(dim: int, emotions: int, options: TrainOptions) -> nn.Module:
    from ser.nets.conversion import StarGan

    return StarGan(emotions, options.width)


def _of_classifier(dim: int, options: TrainOptions) -> dict[str, Any]:
    """Return the arguments of an `EmbeddingClassifier`."""
    import torch

    return {
        "angular": (options.margin, options.scale) if options.loss == "aam" else None, "dropout": options.dropout,
        "deviations": torch.ones(dim) if options.input_scaling == "deviations" else None, "layers": options.layers,
    }


def _load_features(data: Sequence[str], device: torch.device) -> Store:
    from ser.features.store import FeatureStore

    return FeatureStore.load(data, device)


def _share_features(data: Sequence[str], folder: Path) -> None:
    pack(data, folder, "float32")


def _load_waveforms(data: Sequence[str], device: torch.device) -> Store:
    from ser.features.store import WaveformStore

    return WaveformStore.load(data, device, "int16")


def _share_waveforms(data: Sequence[str], folder: Path) -> None:
    pack(data, folder, "int16")


def _load_images(data: Sequence[str], device: torch.device) -> Store:
    from ser.features.store import FeatureStore

    return FeatureStore.load(data, device, "uint8")


def _share_images(data: Sequence[str], folder: Path) -> None:
    pack(data, folder, "uint8")


def _load_speech(data: Sequence[str], device: torch.device) -> Store:
    from ser.features.speech_store import SpeechStore

    return SpeechStore.load(data, device)


def _speech_digest(data: Sequence[str]) -> str:
    from ser.features.speech_store import speech_digest

    return speech_digest(data)


def _speech_made_by(data: Sequence[str]) -> str:
    from ser.features.speech_store import made_by

    return made_by(data)


SYNTHESIS = "synthesis"  # the system that says speech, and recognises nothing
_FEATURES = (_load_features, _share_features, frame_counts, read_labels, features_digest, front_end)
_OF_LOOP = (  # the training options of every network that the loop trains
    "seed", "labels", "epochs", "min_updates", "patience", "select", "batch_size", "optimiser", "learning_rate",
    "rates", "beta1", "beta2", "weight_decay", "schedule", "warmup_epochs", "step_epochs", "step_updates",
    "step_factor",
)
_OF_IMAGES = (
    *_OF_LOOP, "init", "freeze", "momentum", "clip", "average", "label_smoothing", "class_weights", "time_masks",
    "time_mask_width", "frequency_masks", "frequency_mask_width", "precision",
)
_OF_SYNTHESIS = (
    *_OF_LOOP, "init", "freeze", "clip", "width", "dropout", "postnet", "longest", "reduction_factor",
    "guided_attention", "own_frames", "own_from", "own_until", "adversarial", "critic_rate", "fakes",
)
_OF_CONVERSION = (*_OF_LOOP, "width", "critic_rate")
_TDNN = Network("Kaldi's x-vector network (Snyder et al., ICASSP 2018)", _tdnn)

SYSTEMS: dict[str, System] = {
    "mfcc": System(
        "MFCC of voiced frames (Pappagari et al., ICASSP 2021)",
        {"resnet": Network("ResNet-34 with 32-head attention pooling", _resnet),
         "tdnn": _TDNN},
        *_FEATURES,
    ),
    "encoder": System(
        "hidden states of a pretrained encoder (Qu et al., ICASSP 2024)",
        {"linear": Network("frames pooled over time, one linear layer", _linear), "tdnn": _TDNN},
        *_FEATURES,
    ),
    "encoder-finetune": System(
        "waveforms, for a pretrained encoder that is trained too (Qu et al., ICASSP 2024)",
        {"linear": Network("the encoder, its frames pooled over time, one linear layer", _fine_tuned)},
        _load_waveforms, _share_waveforms, frame_counts, read_labels, features_digest, front_end, start="encoder",
        crop_rows=RATE, of="encoder",
    ),
    BASELINE: System(
        "the same MFCC, for the baseline of every table",
        {"svm": Network("support vector machine on functionals of whole utterances", _functionals_svm,
                        _support_vectors, ("functionals", "machines", "class_weights", "select"))},
        *_FEATURES,
    ),
    "spectrogram": System(
        "spectrogram images of one second (noise mix-up)",
        {"alexnet": Network("AlexNet, from ImageNet weights", _alexnet, only=_OF_IMAGES),
         "squeezenet": Network("SqueezeNet 1.0, from ImageNet weights", _squeezenet, only=_OF_IMAGES)},
        _load_images, _share_images, frame_counts, read_labels, features_digest, front_end, False, "imagenet",
    ),
    SYNTHESIS: System(
        "units, mel spectrograms and styles, for task synthesis (Qu et al., ICASSP 2024)",
        {"tacotron": Network("EmoAug's: Tacotron 2 that says units in a style", _synthesiser, _synthesis, _OF_SYNTHESIS,
                             by_loss=True)},
        _load_speech, _share_features, frame_counts, read_labels, _speech_digest, _speech_made_by, False, "encoder",
    ),
    "world": System(
        "WORLD's features, for conversion from neutral to other emotions",
        {"cyclegan": Network("CycleGANs of spectrum and F0 (Zhou et al., Odyssey 2020)", _cyclegan,
                             _cyclegan_conversion, _OF_CONVERSION, by_loss=True),
         "stargan": Network("StarGAN of the spectrum (Rizos et al., ICASSP 2020)", _stargan, _stargan_conversion,
                            _OF_CONVERSION, by_loss=True)},
        *_FEATURES, False, of=SYNTHESIS,
    ),
}
