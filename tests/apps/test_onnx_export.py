"""A network as an ONNX graph answers what it answers in PyTorch, whatever the length."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ser.apps.onnx_export import PACKAGES, write_onnx
from ser.base.errors import SerError
from ser.training.checkpoint import load_model, save_checkpoint
from ser.training.options import TrainOptions
from ser.training.run_folder import FINISHED
from ser.training.systems import SYSTEMS

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ["angry", "happy", "neutral", "sad"]
LACKING = [name for name in PACKAGES if not importlib.util.find_spec(name)]


def make_run(folder: Path, network: str, **options: object) -> Path:
    """A finished run on 23 cepstra whose network has random weights, large ones where that makes answers differ."""
    torch.manual_seed(0)
    of_run = TrainOptions(network=network, **options)
    built = SYSTEMS["mfcc"].networks[network].build(23, len(CLASSES), of_run)
    with torch.no_grad():
        built.embedding.weight.mul_(5)
        built.classifier.weight.mul_(10)
    (folder / "run").mkdir()
    (folder / "run/config.yaml").write_text(yaml.safe_dump({**of_run.changed(), "run": {"recipe": "mini"}}))
    (folder / "run" / FINISHED).touch()
    save_checkpoint(folder / "run/best.pt", {
        "model": built.state_dict(), "classes": CLASSES, "front_end": "--num-ceps=23\n--cmn=sliding", "epoch": 1,
        "dim": 23, "options": of_run.changed(),
    })  # fmt: skip
    return folder / "run"


@pytest.mark.parametrize("network, options", [
    ("tdnn", {"width": 32}), ("tdnn", {"width": 32, "loss": "aam", "input_scaling": "deviations"}), ("resnet", {}),
])
def test_one_utterance_needs_no_lengths(tmp_path: Path, network: str, options: dict) -> None:
    model, _ = load_model(make_run(tmp_path, network, **options) / "best.pt", torch.device("cpu"))
    for length in (1, 7, 40, 333):
        frames = torch.randn(length, 23)
        with torch.inference_mode():
            assert torch.allclose(model(frames, None), model(frames, torch.tensor([length])), atol=1e-5)


@pytest.mark.skipif(bool(LACKING), reason=f"{', '.join(LACKING)} not installed; pip install {' '.join(PACKAGES)}")
@pytest.mark.parametrize("network", ["tdnn", pytest.param("resnet", marks=pytest.mark.long)])
def test_onnxruntime_answers_what_pytorch_answers(tmp_path: Path, network: str) -> None:
    import onnxruntime

    run = make_run(tmp_path, network, **({"width": 32} if network == "tdnn" else {}))
    program = [sys.executable, ROOT / "pyscripts/export_model.py", "--onnx", "true"]
    done = subprocess.run([*program, run, tmp_path / "model"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(tmp_path / "model/model.onnx", providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == CLASSES and "--num-ceps=23" in about["front_end"]
    model, _ = load_model(run / "best.pt", torch.device("cpu"))
    answers = []
    for length in (1, 2, 5, 99, 500):
        frames = np.random.default_rng(length).standard_normal((length, 23)).astype(np.float32)
        answers += session.run(["probabilities"], {"frames": frames})
        with torch.inference_mode():
            expected = model(torch.from_numpy(frames), torch.tensor([length])).softmax(1)[0].numpy()
        assert np.abs(answers[-1] - expected).max() < 1e-4
    assert np.ptp(answers, axis=0).max() > 1e-3 and min(map(max, answers)) < 0.999  # answers differ


def test_what_cannot_be_exported_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SerError, match="networks of the system mfcc can be exported, not those of functionals"):
        write_onnx({"options": {"system": "functionals", "network": "svm"}}, tmp_path / "model.onnx")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SerError, match=r"needs onnx, onnxscript, onnxruntime.*pip install"):
        write_onnx({"options": {}}, tmp_path / "model.onnx")
