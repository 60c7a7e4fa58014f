"""Outputs of frozen layers, kept on disk by the content of their images, for all trainings and tests that need them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ser.base.errors import SerError
from ser.base.files import atomic_path, fingerprint, remove_leftovers
from ser.base.kaldi_tables import read_table
from ser.base.progress import say
from ser.data.arks import ark_of
from ser.features.packed import is_packed
from ser.nets.image_classifier import ImageClassifier

FOLDER = "frozen"
_FREE_SHARE = 0.1  # of the file system, which outputs leave free
_FORMAT = 2


class KeptOutputs:
    """A folder of safetensors files, each with the outputs (n, H, W, C) of n images and the hashes of these.

    A file is never changed once it is there, so processes that write at the same time need not know of each other. The
    folder may be removed at any time: what is in it is then computed again.

    Args:
        data: the data directory, or packed set, beside whose images the folder is.
        network: whose frozen layers the outputs are of.
        computed: what else decides the bits of an output: precision, images in a batch.
        device: where they are computed.
    """

    def __init__(self, data: str | os.PathLike[str], network: ImageClassifier, computed: object, device: torch.device):
        layers = network.features[: network.frozen_layers()].state_dict()
        weights = [(name, fingerprint(value.cpu().numpy().tobytes())) for name, value in layers.items()]
        processor = (
            torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else (torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())
        )
        digest = fingerprint(
            _FORMAT, type(network).__name__, network.frozen_layers(), weights, computed, torch.__version__, processor
        )
        self._folder = _beside(data) / FOLDER / digest[:16]

    def read(self, images: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Yield places in `images` (N,), hashes without repetition, and the outputs of the images there, file by file.

        Files that are damaged are removed.
        """
        missing = {image: place for place, image in enumerate(images.tolist())}
        for path in sorted(self._folder.glob("*.safetensors")):
            try:
                with safe_open(path, "pt") as file:
                    found = [
                        (row, missing.pop(image))
                        for row, image in enumerate(file.metadata()["images"].split())
                        if image in missing
                    ]
                    if found:
                        rows, places = np.array(found).T
                        yield places, file.get_tensor("outputs")[torch.from_numpy(rows)]
            except (SafetensorError, OSError, KeyError, TypeError, IndexError) as error:
                say(f"{path}: damaged ({error}); its outputs are computed again")
                path.unlink(missing_ok=True)

    def write(self, images: np.ndarray, outputs: Tensor) -> None:
        """Keep the outputs of some images, if the disk has room for them."""
        path = self._folder / f"{fingerprint(images.tolist())[:16]}.safetensors"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            usage = shutil.disk_usage(self._folder)
            if usage.free - outputs.nbytes < _FREE_SHARE * usage.total:
                say(
                    f"{self._folder}: not kept, since less than {_FREE_SHARE:.0%} of the disk would stay free: "
                    f"outputs of frozen layers, {outputs.nbytes / 1e6:.0f} MB"
                )
                return
            with atomic_path(path) as temporary:
                content = {"outputs": outputs.cpu().contiguous()}
                temporary.write_bytes(save(content, {"images": " ".join(images.tolist())}))
            remove_leftovers(self._folder)
        except (OSError, SafetensorError) as error:
            say(f"{path}: outputs of frozen layers are not kept ({error})")


def _beside(data: str | os.PathLike[str]) -> Path:
    """Return the folder in which a packed set, or the first of the arks of a data directory, is."""
    if is_packed(data):
        return Path(data)
    scp = Path(data, "feats.scp")
    for location in read_table(scp, sorted_keys=False).values():
        return Path(ark_of(location)).parent
    raise SerError(f"{scp}: lists no images; make them again (steps/make_spectrogram.sh)")
