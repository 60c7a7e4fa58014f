"""A network as an ONNX graph, for programs without PyTorch: features of one utterance in, probabilities out."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ser.base.errors import SerError
from ser.base.files import atomic_path
from ser.training.checkpoint import build_model
from ser.training.options import TrainOptions

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
SYSTEM = "mfcc"  # the one whose networks are exported
_TOLERANCE = 1e-4  # of probabilities
_LENGTHS = (1, 40, 333)  # frames of what is compared; the graph is made of another length
_MADE_OF = 100


class _OneUtterance(nn.Module):
    """The frames of one utterance, (frames, D), to the probabilities of its classes, (classes,)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        return self.network(frames, None).softmax(1)[0]


def write_onnx(model: Mapping[str, Any], path: Path) -> None:
    """Write the network of a model that `read_model` returned as an ONNX file, and compare the two.

    Input `frames`, (frames, D) float32, any number of them: what the front end makes of one utterance. Output
    `probabilities`, (classes,) float32. The file's metadata have `classes` (JSON) and `front_end`.

    Raises:
        SerError: a package is missing, it is no network on MFCC, or onnxruntime's answers differ by more than 1e-4.
    """
    system = TrainOptions(**model["options"]).system
    if system != SYSTEM:
        raise SerError(f"--onnx: networks of the system {SYSTEM} can be exported, not those of {system}")
    if missing := [name for name in PACKAGES if not importlib.util.find_spec(name)]:
        raise SerError(f"--onnx: needs {', '.join(missing)}, which are not required otherwise; pip install "
                       f"{' '.join(PACKAGES)}")
    import onnx
    import onnxruntime

    network = _OneUtterance(build_model(model, torch.device("cpu"))).eval()
    random = np.random.default_rng(0)
    example = torch.from_numpy(random.standard_normal((_MADE_OF, model["dim"])).astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's own parts
        program = torch.onnx.export(
            network, (example,), input_names=["frames"], output_names=["probabilities"], dynamo=True, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("frames", min=1)},),
        )
    graph = program.model_proto
    for name, value in {"classes": json.dumps(list(model["classes"])), "front_end": model["front_end"]}.items():
        graph.metadata_props.add(key=name, value=value)
    with atomic_path(path) as temporary:
        onnx.save(graph, temporary)
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
        for length in _LENGTHS:
            frames = random.standard_normal((length, model["dim"])).astype(np.float32)
            with torch.inference_mode():
                expected = network(torch.from_numpy(frames)).numpy()
            (answer,) = session.run(["probabilities"], {"frames": frames})
            if not np.abs(answer - expected).max() <= _TOLERANCE:  # NaN as well
                raise SerError(f"{path}: onnxruntime's probabilities of {length} frames differ from PyTorch's by "
                               f"{np.abs(answer - expected).max():.2g}; try other versions of {', '.join(PACKAGES)}")
