"""A fine-tuned run as a folder of transformers' own, for its audio-classification pipeline and for the model hub."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch

from ser.apps.model_folder import model_card, read_model
from ser.base.errors import SerError
from ser.base.files import write_text
from ser.nets.encoder_folder import KINDS, PREPROCESSOR, EncoderConfig
from ser.nets.fine_tuned import FineTuned
from ser.training.checkpoint import build_model
from ser.training.options import TrainOptions

_WITH_HEAD = ("hubert", "wavlm", "wav2vec2")
_USE = """from transformers import pipeline
    pipeline("audio-classification", model=".")("recording.wav")"""


def write_transformers_folder(run: Path, folder: Path, licence: str) -> None:
    """Write a finished run's network as transformers' `<Model>ForSequenceClassification`.

    That model projects hidden states before it averages them, which is made to change nothing.

    Args:
        licence: of the data that it was trained on, for the model card.

    Raises:
        SerError: as `read_model`; the network is not one that transformers has; or the folder is not empty.
    """
    from transformers import AutoConfig, AutoModelForAudioClassification

    model = read_model(run)
    options = TrainOptions(**model["options"])
    if not model.get("built_from"):
        raise SerError(f"{run}: reads features, where a model of transformers reads waveforms; fine-tune the encoder "
                       "(--encoder-mode finetune), or export without --format transformers")
    about = EncoderConfig(**model["built_from"])
    if reason := _refusal(about, options):
        raise SerError(f"{run}: {reason}; export without --format transformers")
    if folder.exists() and any(folder.iterdir()):
        raise SerError(f"{folder}: is there already; name a new folder, or remove it")
    network = build_model(model, torch.device("cpu"))
    names = dict(enumerate(model["classes"]))
    config = AutoConfig.for_model(about.kind, **{
        **{name: value for name, value in about.config.items() if name != "model_type"},
        "num_hidden_layers": options.layer or about.layers, "classifier_proj_size": about.dim,
        "use_weighted_layer_sum": False, "id2label": names,
        "label2id": {name: number for number, name in names.items()},
    })
    theirs = AutoModelForAudioClassification.from_config(config, dtype=torch.float32)
    _copy_weights(network, theirs)
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)  # of an export that was killed
    theirs.save_pretrained(new)
    write_text(new / PREPROCESSOR, json.dumps(about.preprocessor, indent=1) + "\n")
    write_text(new / "README.md", model_card(run, model, licence, _USE))
    if folder.exists():
        folder.rmdir()
    os.rename(new, folder)


def _refusal(about: EncoderConfig, options: TrainOptions) -> str | None:
    """Return why transformers has no such network; None if it has."""
    if about.kind not in _WITH_HEAD:
        return (f"{KINDS[about.kind]} is not classified by transformers as it is here; that has "
                f"{', '.join(KINDS[kind] for kind in _WITH_HEAD)}")
    if options.pooling != "mean" or options.pooled_norm != "none" or options.loss == "aam":
        return ("transformers has a linear layer on the mean of frames, and this network has pooling "
                f"{options.pooling}, pooled_norm {options.pooled_norm}, loss {options.loss}")
    if options.layer not in (0, about.layers) and about.config.get("do_stable_layer_norm"):
        return f"transformers normalises what its last layer gives, and this network ends at layer {options.layer}"
    return None


@torch.no_grad()
def _copy_weights(network: FineTuned, theirs: torch.nn.Module) -> None:
    ours, base = network.encoder, theirs.base_model
    for target, source in ((base.feature_extractor, ours.front_end), (base.feature_projection, ours.projection),
                           (base.encoder, ours.encoder), (theirs.classifier, network.classifier)):
        target.load_state_dict(source.state_dict())
    theirs.projector.weight.copy_(torch.eye(len(theirs.projector.weight)))
    theirs.projector.bias.zero_()
