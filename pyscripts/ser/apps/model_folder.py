"""A trained network in a folder of its own, which needs neither the run nor its data to recognise emotions.

    model.safetensors   the weights
    recogniser.json     classes, network and front end
    encoder/            the pretrained encoder, for a network that reads one's hidden states
    model.onnx          the network as ONNX, if that was asked for
    README.md           the model card: what it was trained on, its scores, the licence of the data
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from ser.apps.onnx_export import write_onnx
from ser.base.errors import SerError
from ser.base.files import write_text
from ser.data.labels import EMOTION_TABLE
from ser.features.frontend import VadOptions, parse_conf
from ser.features.hidden_states import HiddenStates
from ser.features.voiced_mfcc import VoicedMfcc
from ser.features.waveforms import Waveforms
from ser.nets.encoder_folder import EncoderConfig, find_encoder
from ser.scoring.metrics import MEASURES
from ser.scoring.predictions import read_score
from ser.training.checkpoint import load_checkpoint
from ser.training.options import TrainOptions, read_config
from ser.training.run_folder import CONFIG, FINISHED
from ser.training.systems import SYSTEMS

_VAD = Path(__file__).resolve().parents[3] / "conf" / "vad.conf"  # what every run's features are made with
_WEIGHTS, _DESCRIPTION, _CARD, _ENCODER = "model.safetensors", "recogniser.json", "README.md", "encoder"
_ONNX = "model.onnx"
_VERSION = 1


def read_model(path: Path, encoder: str = "") -> dict[str, Any]:
    """Read a model, onto the CPU: a folder that `write_model_folder` wrote, that of a finished run, or a checkpoint.

    Args:
        encoder: where the pretrained encoder is whose hidden states the network reads; '': where it was in training.

    Returns:
        `model` (weights), `classes`, `front_end`, `options`, `dim` and, if it has it, `built_from` as in a checkpoint,
        `vad`, the text of the VAD's options, `compress`, whether features were compressed, and `encoder`, where it is,
        or ''.

    Raises:
        SerError: there is none, it is damaged, its training has not finished, or it does not recognise emotions.
    """
    if (path / _DESCRIPTION).is_file():
        model = _read_folder(path)
    else:
        if path.is_dir():
            if (path / "best.pt").exists() and not (path / FINISHED).exists():
                raise SerError(f"{path}: its training has not finished; run.sh --stage 3 finishes it, or name its best "
                               f"epoch so far, {path / 'best.pt'}")
            path = path / "best.pt"
        model = load_checkpoint(path)
        given = [str(word) for word in _record(path.parent).get("given") or ()]
        said = dict(zip(given[::2], given[1::2], strict=False))
        model |= {"vad": _VAD.read_text(encoding="utf-8"), "compress": said.get("--compress") == "true",
                  "encoder": said.get("--encoder", "")}
    if encoder and model.get("built_from"):
        raise SerError(f"{path}: holds the encoder that was fine-tuned; leave out --encoder {encoder}")
    model["encoder"] = encoder or model["encoder"]
    if TrainOptions(**model["options"]).labels != EMOTION_TABLE:
        raise SerError(f"{path}: recognises {len(model['classes'])} speakers, not emotions; it is for run.sh --init")
    return model


def _read_folder(folder: Path) -> dict[str, Any]:
    try:
        model = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        if model["version"] != _VERSION:
            raise SerError(f"{folder}: is of version {model['version']}, not {_VERSION}; export it again")
        encoder = str(folder / _ENCODER) if (folder / _ENCODER).is_dir() else ""
        return model | {"model": safetensors.torch.load_file(folder / _WEIGHTS), "encoder": encoder}
    except (ValueError, KeyError, TypeError, SafetensorError, FileNotFoundError) as error:
        raise SerError(f"{folder}: damaged or incomplete ({type(error).__name__}: {error}); copy or export it again") \
            from None


def _record(run: Path) -> dict[str, Any]:
    """Return what a run's config.yaml says of its data; nothing where there is none."""
    return read_config(run / CONFIG)[1] if (run / CONFIG).is_file() else {}


def front_end_of(
    model: Mapping[str, Any], device: torch.device, where: object
) -> VoicedMfcc | HiddenStates | Waveforms:
    """Return what makes the features of a model that `read_model` returned.

    Raises:
        SerError: it is none of these, or the encoder is not there or another one; the message begins with `where`.
    """
    if Waveforms.makes(model["front_end"]):
        return Waveforms(EncoderConfig(**model["built_from"]).longest)
    if not HiddenStates.makes(model["front_end"]):
        vad = parse_conf(model["vad"], VadOptions, where)
        return VoicedMfcc.parse(model["front_end"], vad, model["compress"], where)
    if not model["encoder"]:
        raise SerError(f"{where}: reads the hidden states of an encoder, and nothing says where that lies; name its "
                       "folder with --encoder")
    try:
        folder = find_encoder(model["encoder"])
    except SerError as error:
        raise SerError(f"{where}: reads the hidden states of an encoder, which is not where the run says; name its "
                       f"folder with --encoder ({error})") from None
    return HiddenStates.parse(model["front_end"], folder, device, where)


def write_model_folder(run: Path, folder: Path, licence: str, encoder: str = "", onnx: bool = False) -> None:
    """Write a finished run's network to a folder, as a whole; an earlier one of this kind is replaced.

    Args:
        licence: of the data that it was trained on, for the model card.
        encoder: as of `read_model`; the encoder is copied.
        onnx: write the network as ONNX as well.

    Raises:
        SerError: as `read_model`, and with `onnx` as `write_onnx`; or something else is where the folder should go.
    """
    model = read_model(run, encoder)
    front_end = front_end_of(model, torch.device("cpu"), run)
    if folder.exists() and any(folder.iterdir()) and not (folder / _DESCRIPTION).is_file():
        raise SerError(f"{folder}: is there and is no exported model; name a new folder")
    new, old = (folder.with_name(f".{folder.name}.{end}") for end in ("new", "old"))
    for leftover in (new, old):  # of an export that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    kept = ("classes", "front_end", "options", "dim", "built_from", "vad", "compress")
    description = {"version": _VERSION, **{name: model[name] for name in kept if name in model}}
    weights = {name: tensor.contiguous().clone() for name, tensor in model["model"].items()}  # none shares its memory
    safetensors.torch.save_file(weights, new / _WEIGHTS)
    write_text(new / _DESCRIPTION, json.dumps(description, indent=1) + "\n")
    write_text(new / _CARD, model_card(run, model, licence, "pyscripts/predict.py --model . recording.wav"))
    if onnx:
        write_onnx(model, new / _ONNX)
    if isinstance(front_end, HiddenStates):
        (new / _ENCODER).mkdir()
        for file in front_end.folder.files:
            shutil.copyfile(file, new / _ENCODER / file.name)
    if folder.exists():
        os.rename(folder, old)
    os.rename(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def model_card(run: Path, model: Mapping[str, Any], licence: str, use: str) -> str:
    """Return the model card, in Markdown; `use` is how to use the model, in code."""
    options, record = TrainOptions(**model["options"]), _record(run)
    fold = record.get("fold")
    said = {
        "Emotions": ", ".join(model["classes"]),
        "Corpus": f"{record.get('recipe') or 'unknown'}" + (f", fold {fold}" if fold is not None else ""),
        "Licence of the data": licence,
        "Training data": record.get("train_data") or "unknown",
        "CopyPaste scheme": options.scheme,
        "Reads": SYSTEMS[options.system].what,
        "Network": SYSTEMS[options.system].networks[options.network].what,
        "Pre-trained on": "nothing" if options.init == "random" else str(record.get("init") or options.init),
        "Seed": options.seed,
    }
    names = [measure.title for measure in MEASURES.values()]
    rows = [f"| test | utterances | {' | '.join(names)} |", "|---|---:|" + "---:|" * len(names)]
    for scored in sorted(path.parent for path in run.glob("score_*/score.json")):
        score = read_score(scored).record
        figures = " | ".join(f"{100 * score[key]:.1f}" for key in MEASURES)
        rows.append(f"| {score['test_set']} | {score['utterances']} | {figures} |")
    if len(rows) == 2:
        rows = ["It has not been scored."]
    table = "\n".join(f"| {name} | {text} |" for name, text in said.items())
    front_end = "\n".join(f"    {line}" for line in model["front_end"].splitlines())
    return (
        f"# {record.get('out') or run.name}\n\nA recogniser of emotions in speech.\n\n| | |\n|---|---|\n{table}\n\n"
        f"## Scores (%)\n{chr(10).join(rows)}\n\n## Use\n    {use}\n\n"
        f"## Front end\n{front_end}\n"
    )
