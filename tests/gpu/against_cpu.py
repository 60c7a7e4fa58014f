"""The networks on the GPU against the CPU: a batch, logits, loss, gradients, batch-norm statistics, scores.

A network on features sees one batch of mixed lengths, made by CopyPaste, and, with the angular margin, one of equal
lengths, which takes another way through the layers; a network on images sees one batch of them. In float64 both devices
must agree to many digits, which shows that they compute the same thing. In float32 and bf16 a ReLU's input near 0 may
fall on either side, and gradients then differ by more than rounding: in bf16 the GPU may lie about as far from the
CPU's float32 as the CPU's own bf16 does.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import CLASSES, features
from distances import distance, distances, together
from rows import Row, at_most
from torch import Tensor, nn

from ser.augment.copypaste import BatchPlan
from ser.base.kaldi_tables import write_table
from ser.data.arks import ArkWriter
from ser.features.packed import pack
from ser.training.classification import make_plans
from ser.training.evaluation import log_posteriors
from ser.training.options import TrainOptions
from ser.training.systems import SYSTEMS, Store

_DTYPES = {"float64": torch.float64, "float32": torch.float32, "bf16": torch.float32}
_LIMITS = {  # of distances between CPU and GPU, relative
    "float64": {"logits": 1e-8, "loss": 1e-8, "gradients": 1e-6, "gradients, worst tensor": 1e-5, "statistics": 1e-8},
    "float32": {"logits": 1e-3, "loss": 1e-3, "gradients": 0.05, "gradients, worst tensor": 0.2, "statistics": 1e-4},
}
# In bf16, from the CPU's float32: so many times the distance of the CPU's bf16, and at least so much.
_BF16_LIMITS = {"logits": (2, 0.05), "loss": (2, 0.05), "gradients": (1.5, 0.02), "gradients, worst tensor": (2, 0.1),
                "statistics": (2, 0.02)}
_SCORES_LIMIT = 1e-2  # nats
_EQUAL_CROP = 100  # frames: shorter than every utterance
_IMAGE = (259, 257)  # columns and rows of the image of a second (conf/spectrogram.conf)
Results = dict[str, "Tensor | dict[str, Tensor]"]


def rows(device: torch.device, quick: bool, folder: Path) -> Iterator[Row]:
    """Yield the lines; `folder` is for scratch files."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    for system_name, system in SYSTEMS.items():
        networks = [name for name, network in system.networks.items() if network.by_plan]
        if not networks:
            continue
        packed = folder / system_name
        if system.start == "encoder":
            if importlib.util.find_spec("transformers") is None:
                yield Row(f"{system_name}: not checked, since transformers is not installed")
                continue
            _make_waveforms(folder / "waveforms", 4 if quick else 64)
            pack([folder / "waveforms"], packed, "int16")
            changes = {"scheme": "n+se-cp", "crop": 0.3, "init": _make_encoder(folder / "hubert")}
            trainings = [("cross-entropy", changes)]
        elif system.can_join:
            with features(None, 4 if quick else 64) as data:
                pack([data], packed, "float16")
            trainings = [("cross-entropy", {"scheme": "n+se-cp"}), ("aam", {"scheme": "none", "crop": _EQUAL_CROP})]
        else:
            _make_images(folder / "images", 4 if quick else 64)
            pack([folder / "images"], packed, "uint8")
            trainings = [("cross-entropy", {"scheme": "none"})]
        stores = [system.load([str(packed)], where) for where in (torch.device("cpu"), device)]
        for network in networks:
            for loss, changes in trainings:
                options = TrainOptions(
                    system=system_name, network=network, loss=loss, batch_size=2 if quick else 32, **changes
                )
                plans, labels, _ = make_plans([str(packed)], options)
                plan = next(plans.epoch(1))
                yield from _of_network(f"{system_name}/{network}, {loss}", stores, options, plan, len(labels.classes))


def _make_images(folder: Path, count: int) -> None:
    """Make a data directory of `count` images of random palette indices, (columns, height)."""
    folder.mkdir()
    names = [f"utt{index}" for index in range(count)]
    random = np.random.default_rng(0)
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for name in names:
            writer.write(name, random.integers(0, 256, _IMAGE).astype(np.float32))
    write_table(folder / "utt2num_frames", dict.fromkeys(names, str(_IMAGE[0])))
    write_table(folder / "utt2emo", {name: CLASSES[index % len(CLASSES)] for index, name in enumerate(names)})


def _make_waveforms(folder: Path, count: int) -> None:
    """Make a data directory of `count` waveforms, a quarter to half a second of noise."""
    folder.mkdir()
    names, random = [f"utt{index}" for index in range(count)], np.random.default_rng(0)
    lengths = random.integers(4000, 8000, count)
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for name, length in zip(names, lengths, strict=True):
            writer.write(name, random.integers(-3000, 3001, (length, 1)).astype(np.int16))
    write_table(folder / "utt2num_frames", dict(zip(names, map(str, lengths), strict=True)))
    write_table(folder / "utt2emo", {name: CLASSES[index % len(CLASSES)] for index, name in enumerate(names)})


def _make_encoder(folder: Path) -> str:
    """Make the folder of a small HuBERT with random weights and nothing random in training; return it."""
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    HubertModel(HubertConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, hidden_dropout=0.0, attention_dropout=0.0,
        activation_dropout=0.0, feat_proj_dropout=0.0,
    )).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return str(folder)


def _of_network(
    name: str, stores: Sequence[Store], options: TrainOptions, plan: BatchPlan, classes: int
) -> Iterator[Row]:
    """Yield the lines of one network; the stores hold the same examples, on the CPU and on the GPU."""
    cpu, gpu = stores
    batches = [store.batch(plan) for store in stores]
    same = torch.equal(batches[0][0], batches[1][0].cpu()) and torch.equal(batches[0][1], batches[1][1])
    yield Row(f"{name}: gathered batch", "", "", "equal" if same else "different", "equal", same)

    def network(store: Store, dtype: torch.dtype) -> nn.Module:
        torch.manual_seed(0)
        built = SYSTEMS[options.system].networks[options.network].build(store.dim, classes, options)
        for module in built.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # devices draw differently
        return built.to(store.device, dtype)

    def results(store: Store, precision: str) -> Results:
        return _step(network(store, _DTYPES[precision]), store, plan, precision)

    reference = results(cpu, "float32")
    exact = ("float64",) if options.loss == "cross-entropy" else ()  # the angular margin computes in float32
    for precision in (*exact, "float32"):
        there = results(cpu, precision) if precision == "float64" else reference
        here = results(gpu, precision)
        for what, figure in _apart(here, there).items():
            limit = _LIMITS[precision][what]
            yield at_most(f"{name}, {precision}: {what}", figure, limit, _size(there, what), _size(here, what))
    on_cpu, on_gpu = (_apart(results(store, "bf16"), reference) for store in stores)
    for what, theirs in on_cpu.items():
        times, least = _BF16_LIMITS[what]
        limit = max(times * theirs, least)
        yield at_most(f"{name}, bf16: {what}, from the CPU's float32", on_gpu[what], limit, f"{theirs:.2g}")

    if gpu.device.type == "cuda":  # as PyTorch has it when nobody asks: what a training in fp32 does
        torch.backends.cudnn.allow_tf32 = True
        for what, figure in _apart(results(gpu, "float32"), reference).items():
            yield Row(f"{name}, float32 with TF32 convolutions: {what}", "", "", f"{figure:.2g}")
        torch.backends.cudnn.allow_tf32 = False
    scores = [log_posteriors(network(store, torch.float32), store) for store in stores]
    yield at_most(f"{name}: log posteriors of whole utterances, nats", float(np.abs(scores[1] - scores[0]).max()),
                  _SCORES_LIMIT)


def _step(model: nn.Module, store: Store, plan: BatchPlan, precision: str) -> Results:
    """Return what a training step computes, on the CPU."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # so that running averages are this batch's statistics
    frames, lengths = store.batch(plan)
    if precision == "float64":
        frames = frames.double()
    labels = torch.from_numpy(plan.labels).to(frames.device)
    with torch.autocast(frames.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = model.train()(frames, lengths, labels)
    loss = F.cross_entropy(logits.to(_DTYPES[precision]), labels)
    loss.backward()
    found: Results = {
        "logits": logits.detach().cpu(), "loss": loss.detach().cpu()[None],
        "gradients": {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None},
    }
    if norms:
        found["statistics"] = {
            f"{number}.{name}": value.cpu() for number, norm in enumerate(norms)
            for name, value in (("mean", norm.running_mean), ("variance", norm.running_var))
        }
    return found


def _apart(a: Results, b: Results) -> dict[str, float]:
    """Return the distances of results a from results b, by what they are."""
    found = {}
    for what, there in b.items():
        here = a[what]
        found[what] = distance(*map(_flat, (here, there)))
        if what == "gradients":
            if here.keys() != there.keys():
                found[what] = float("nan")
            found["gradients, worst tensor"] = max(distances(here, there).values())
    return found


def _flat(result: Tensor | dict[str, Tensor]) -> Tensor:
    return together(result) if isinstance(result, dict) else result


def _size(results: Results, what: str) -> str:
    return f"{float(_flat(results[what]).double().norm()):.6g}" if what in results else ""
