"""AlexNet and SqueezeNet on images: torchvision's layers, ImageNet's weights, and what is trained of them."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ser.base.errors import SerError
from ser.nets import imagenet
from ser.nets.image_classifier import AlexNet, SqueezeNet
from ser.nets.imagenet import find_weights, load_weights
from ser.training.optimiser import freeze
from ser.training.options import TrainOptions

ROOT = Path(__file__).resolve().parents[2]
LENGTHS = torch.tensor([259, 259])


def options_of(network: str) -> TrainOptions:
    return TrainOptions.read([ROOT / "conf" / "train.yaml", ROOT / "conf" / f"spectrogram-{network}.yaml"],
                             {"system": "spectrogram", "network": network})


def images(count: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (259 * count, 257)).astype(np.float32))


def counts(model: torch.nn.Module) -> tuple[int, int]:
    """All parameters, and those that are trained."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)


def test_alexnet_has_torchvisions_layers() -> None:
    """Its parameter counts as torchvision's, with 1000 and 4 classes; trained are Conv5 and the dense layers."""
    assert counts(AlexNet(1000))[0] == 61_100_840
    model = AlexNet(4)
    freeze(model, options_of("alexnet"))
    assert counts(model) == (57_020_228, 55_140_612)
    trained = {name.rpartition(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"features.10", "classifier.1", "classifier.4", "classifier.6"}
    with torch.inference_mode():
        assert model.trunk(images(), LENGTHS).shape == (2, 256, 15, 15)
        assert model.embed(images(), LENGTHS).shape == (2, 4096) and model(images(), LENGTHS).shape == (2, 4)


def test_squeezenet_takes_real_imagenet_weights(shared: Path) -> None:
    path = shared / "weights" / "squeezenet.npz"
    model = SqueezeNet(4)
    new = model.classifier[1].weight.clone()
    load_weights(model, find_weights("squeezenet", str(path)))
    file = np.load(path)
    assert all(np.array_equal(value, file[name]) for name, value in model.state_dict().items()
               if not name.startswith("classifier"))
    assert torch.equal(model.classifier[1].weight, new), "the classes are others"
    freeze(model, options_of("squeezenet"))
    assert counts(model) == (737_476, 197_184 + 2_052)
    with torch.inference_mode():
        maps = model.eval().trunk(images(), LENGTHS)
        assert maps.shape == (2, 512, 15, 15)
        assert torch.equal(model(maps, LENGTHS), model(images(), LENGTHS))
        assert model.embed(maps, LENGTHS).shape == (2, 512)


def test_logits_are_torchvisions() -> None:
    """Needs torchvision, if only one without the operators of its own, which these networks do not use."""
    library = torch.library.Library("torchvision", "DEF")
    with contextlib.suppress(RuntimeError):
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    try:
        from torchvision.models import alexnet, squeezenet1_0
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    from ser.nets.colours import coloured

    for ours, theirs in ((AlexNet(4), alexnet(num_classes=4)), (SqueezeNet(4), squeezenet1_0(num_classes=4))):
        theirs.load_state_dict(ours.state_dict())
        if isinstance(ours, SqueezeNet):
            theirs.classifier[2] = torch.nn.Identity()
        with torch.inference_mode():
            x = coloured(images().view(2, 259, 257).transpose(1, 2), ours.colours)
            assert torch.equal(ours.eval()(images(), LENGTHS), theirs.eval()(x))


def test_no_class_of_squeezenet_is_dead() -> None:
    """A class that is improbable on every image has a gradient all the same."""
    torch.manual_seed(0)
    model = SqueezeNet(4).eval()
    torch.nn.init.constant_(model.classifier[1].bias, -100)
    torch.nn.functional.cross_entropy(model(images(), LENGTHS), torch.tensor([0, 1])).backward()
    assert (model.classifier[1].weight.grad.abs().amax((1, 2, 3)) > 0).all()


def test_weights_files(tmp_path: Path, monkeypatch) -> None:
    """Each form gives the same weights; a release is known by the hash in its name; others are refused by name."""
    torch.manual_seed(1)
    donor = SqueezeNet(1000)
    state = donor.state_dict()
    np.savez(tmp_path / "w.npz", **{name: value.numpy() for name, value in state.items()})
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(SerError, match="that of squeezenet's ImageNet weights with b66bff10"):
        find_weights("squeezenet", str(tmp_path / "w.pth"))
    digest = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
    name = f"squeezenet1_0-{digest[:8]}.pth"
    monkeypatch.setitem(imagenet.RELEASES, "squeezenet", name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache" / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "w.pth").rename(tmp_path / "cache" / "hub" / "checkpoints" / name)
    for given in ("", str(tmp_path / "w.npz"), str(tmp_path / "w.safetensors")):
        model = SqueezeNet(4)
        load_weights(model, find_weights("squeezenet", given))
        assert torch.equal(model.features[12].squeeze.weight, donor.features[12].squeeze.weight)
    with pytest.raises(SerError, match="its layers are not those of AlexNet: classifier"):
        load_weights(AlexNet(4), tmp_path / "w.npz")
    (tmp_path / "w.npz").write_bytes((tmp_path / "w.npz").read_bytes()[:100_000])
    with pytest.raises(SerError, match="truncated, damaged or no weights"):
        load_weights(SqueezeNet(4), tmp_path / "w.npz")
    with pytest.raises(SerError, match=r"--weights nowhere\.npz: no such file"):
        find_weights("squeezenet", "nowhere.npz")


def test_weights_that_are_nowhere(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(imagenet, "_SITE", "http://127.0.0.1:9/models")
    monkeypatch.setattr("ser.base.download._PAUSES_SECONDS", ())
    with pytest.raises(SerError, match=r"alexnet are not at .*alexnet-owt-7be5be79.pth.*--weights.*--init random"):
        find_weights("alexnet")


def test_images_of_several_sizes_are_refused() -> None:
    with pytest.raises(SerError, match="images of 200 to 259 columns in one batch"):
        SqueezeNet(4)(images()[:459], torch.tensor([200, 259]))


def test_images_are_not_concatenated() -> None:
    with pytest.raises(SerError, match="scheme: n-cp concatenates, and examples of the system spectrogram are all of"):
        TrainOptions(system="spectrogram", network="alexnet", scheme="n-cp")


@pytest.mark.parametrize(("option", "value"), [("dropout", 0.2), ("width", 64), ("loss", "aam"), ("crop", 100)])
def test_options_of_other_networks_are_refused(option: str, value: object) -> None:
    with pytest.raises(SerError, match=f"{option}: spectrogram-alexnet has .* alone, not {value!r}"):
        TrainOptions(system="spectrogram", network="alexnet", **{option: value})
