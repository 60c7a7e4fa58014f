"""A fine-tuned encoder: its logits in any batch, what is trained of it, and that a checkpoint needs no folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from test_encoder import CONFIGS, batch, save, waveforms
from torch import Tensor

from ser.base.errors import SerError
from ser.nets.fine_tuned import FineTuned
from ser.training.optimiser import freeze, set_training
from ser.training.options import TrainOptions
from ser.training.systems import SYSTEMS

CLASSES = 4


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request, tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("models") / request.param, request.param)


def options(folder: Path, **changes: object) -> TrainOptions:
    return TrainOptions(**{"system": "encoder-finetune", "network": "linear", "init": str(folder), "crop": 1,
                           "freeze": "encoder.front_end", **changes})


def build(folder: Path, built_from: dict | None = None, **changes: object) -> FineTuned:
    """The network as a training builds it, or as a checkpoint does, in evaluation mode."""
    torch.manual_seed(1)
    network = SYSTEMS["encoder-finetune"].networks["linear"]
    return network.build(1, CLASSES, options(folder, **changes), **(built_from or {})).eval()


def rows(waves: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    samples, lengths = batch(waves)
    return samples[:, None], lengths


@pytest.mark.parametrize("pooling", ["mean", "mean+deviation"])
def test_logits_do_not_depend_on_the_batch(folder: Path, pooling: str) -> None:
    network, waves = build(folder, pooling=pooling), waveforms()
    with torch.inference_mode():
        together = network(*rows(waves))
        alone = torch.cat([network(*rows([wave])) for wave in waves])
    assert together.shape == (len(waves), CLASSES)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_logits_are_a_linear_layer_on_the_mean_of_transformers_own_hidden_states(tmp_path: Path) -> None:
    folder = save(tmp_path, "hubert-large")
    network, wave = build(folder), waveforms()[2]
    model = transformers.AutoModel.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    with torch.inference_mode():
        inputs = extractor(wave / 32768, sampling_rate=16000, return_tensors="pt")
        expected = network.classifier(model(inputs["input_values"]).last_hidden_state.mean(1))
        torch.testing.assert_close(network(*rows([wave])), expected, atol=1e-4, rtol=1e-4)


def test_in_bf16_the_pooled_frames_are_near(folder: Path) -> None:
    network = build(folder)
    with torch.inference_mode():
        plain = network.embed(*rows(waveforms()))
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network.embed(*rows(waveforms()))
    assert rounded.dtype == torch.float32 and (rounded - plain).norm() < 0.02 * plain.norm()


def gradients(network: FineTuned, settings: TrainOptions) -> dict[str, Tensor | None]:
    freeze(network, settings)
    set_training(network, settings)
    torch.manual_seed(2)
    network(*rows(waveforms())).log_softmax(1)[:, 0].sum().backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def test_all_but_the_convolutions_is_trained_and_checkpointing_changes_nothing(folder: Path) -> None:
    plain = gradients(build(folder), options(folder))
    untrained = {name for name, gradient in plain.items() if gradient is None}
    positions = {"encoder.positions.weight"} if folder.name == "whisper" else set()  # sines
    assert untrained == {name for name in plain if name.startswith("encoder.front_end.")} | positions
    assert len(untrained) > 2
    again = gradients(build(folder, gradient_checkpointing="layers"), options(folder))
    for name, gradient in plain.items():
        if gradient is not None:
            torch.testing.assert_close(again[name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("layer", [0, 2])
def test_a_checkpoint_needs_no_folder(folder: Path, layer: int, tmp_path: Path) -> None:
    network = build(folder, layer=layer)
    built_from = json.loads(json.dumps(network.built_from))  # plain values
    other = build(tmp_path / "gone", built_from, layer=layer)
    other.load_state_dict(network.state_dict())
    with torch.inference_mode():
        assert torch.equal(other(*rows(waveforms())), network(*rows(waveforms())))


@pytest.mark.parametrize("name", ["whisper", "hubert-base"])
def test_weights_stored_in_half_precision_are_float32_here(name: str, tmp_path: Path) -> None:
    folder = save(tmp_path / name, name)
    transformers.AutoModel.from_pretrained(folder).half().save_pretrained(folder)
    network = build(folder)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    other = build(tmp_path / "gone", network.built_from)
    other.load_state_dict(network.state_dict())
    assert {parameter.dtype for parameter in other.parameters()} == {torch.float32}
    with torch.inference_mode():
        assert torch.equal(other(*rows(waveforms())), network(*rows(waveforms())))


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    whisper = build(save(tmp_path / "whisper", "whisper"))  # of 75 positions of 20 ms
    with pytest.raises(SerError, match=r"an example of 1\.6 s is over the 1\.5 s of the encoder; lower crop"):
        whisper(*rows([np.zeros(25600, np.float32)]))
    with pytest.raises(SerError, match=r"of 0\.015 s gives no frame; raise crop"):
        whisper(*rows([np.zeros(240, np.float32)]))
    with pytest.raises(SerError, match="layers 1 to 3, so none numbered 4"):
        build(tmp_path / "whisper", layer=4)
    with pytest.raises(SerError, match="no such checkpoint"):
        build(tmp_path / "nothing")
    for changes in ({"time_masks": 2}, {"frequency_masks": 1}, {"input_scaling": "deviations"}):
        with pytest.raises(SerError, match="reads samples"):
            options(tmp_path, **changes)
    with pytest.raises(SerError, match=r"crop: 2\.5 .* whole numbers of frames"):
        TrainOptions(crop=2.5)
    assert options(tmp_path, crop=2.5).rows(2.5) == 40000
