"""The peer: the training loop that a careful researcher writes in plain PyTorch, for the benchmarks to compare with.

A Dataset looks features up in Kaldi arks through kaldiio, DataLoader workers read and crop them, a collate function
pastes them together with numpy and pads the batch to its longest example, and an ordinary padded ResNet-34 of the same
layers trains in float32. The pooling is masked; convolutions and batch norm see the padding, as they do in such loops.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from ser.base.kaldi_tables import read_table

CROP = 400
Example = tuple[np.ndarray, int, str]


class ArkDataset(Dataset):
    """Item (index, kind of batch) to (frames cropped to 4 s, label, kind)."""

    def __init__(self, data: Path, classes: Sequence[str]) -> None:
        self.matrices = kaldiio.load_scp(str(data / "feats.scp"))
        emotions = read_table(data / "utt2emo")
        self.utterances = list(self.matrices)
        self.labels = [classes.index(emotions[utterance]) for utterance in self.utterances]

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, item: tuple[int, str]) -> Example:
        index, kind = item
        matrix = self.matrices[self.utterances[index]]
        if len(matrix) > CROP:
            first = np.random.randint(len(matrix) - CROP + 1)
            matrix = matrix[first : first + CROP]
        return matrix, self.labels[index], kind


class CopyPasteBatches(Sampler):
    """Shuffled batches; 40 % of them N-CP, 40 % SE-CP."""

    def __init__(self, utterances: int, batch_size: int) -> None:
        self.utterances, self.batches = utterances, -(-utterances // batch_size)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[tuple[int, str]]]:
        pasted = round(0.8 * self.batches)
        kinds = ["n-cp"] * (pasted // 2) + ["se-cp"] * (pasted - pasted // 2) + ["none"] * (self.batches - pasted)
        np.random.shuffle(kinds)
        for indices, kind in zip(
            np.array_split(np.random.permutation(self.utterances), self.batches), kinds, strict=True
        ):
            yield [(int(index), kind) for index in indices]


class Collate:
    """Examples to (batch (B, 1, T, D), frames (B,), labels (B,))."""

    def __init__(self, neutral: int) -> None:
        self.neutral = neutral

    def __call__(self, examples: list[Example]) -> tuple[Tensor, Tensor, Tensor]:
        kind = examples[0][2]
        labels = np.array([label for _, label, _ in examples])
        matrices = [matrix for matrix, _, _ in examples]
        if kind != "none":
            matrices = [self._pasted(index, kind, matrices, labels) for index in range(len(matrices))]
        lengths = np.array([len(matrix) for matrix in matrices])
        batch = np.zeros((len(matrices), lengths.max(), matrices[0].shape[1]), np.float32)
        for row, matrix in zip(batch, matrices, strict=True):
            row[: len(matrix)] = matrix
        return torch.from_numpy(batch)[:, None], torch.from_numpy(lengths), torch.from_numpy(labels)

    def _pasted(self, index: int, kind: str, matrices: list[np.ndarray], labels: np.ndarray) -> np.ndarray:
        partners = np.flatnonzero(labels == (self.neutral if kind == "n-cp" else labels[index]))
        partners = partners[partners != index]
        if len(partners) == 0:
            return matrices[index]
        parts = [matrices[index], matrices[np.random.choice(partners)]]
        return np.concatenate(parts if np.random.random() < 0.5 else parts[::-1])


class Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class PaddedResNet34(nn.Module):
    """Table 1 of the paper over padded batches: (B, 1, T, D) and frames (B,) to logits (B, classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, 16, 7, 1, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        channels_in = 16
        for count, channels, stride in ((3, 16, 1), (4, 32, 2), (6, 64, 2), (3, 128, 2)):
            for index in range(count):
                layers.append(Block(channels_in, channels, stride if index == 0 else 1))
                channels_in = channels
        self.encoder = nn.Sequential(*layers)
        self.centres = nn.Parameter(torch.randn(32, 128))
        self.scales = nn.Parameter(torch.ones(32))
        self.embedding = nn.Linear(32 * 128, 400)
        self.classifier = nn.Linear(400, classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = self.encoder(x).mean(3).transpose(1, 2)
        mask = torch.arange(x.shape[1], device=x.device) < (lengths[:, None] + 7) // 8
        scores = -self.scales * torch.cdist(x, self.centres.expand(len(x), -1, -1))
        weights = scores.masked_fill(~mask[:, :, None], -torch.inf).softmax(1)
        pooled = torch.einsum("bth,btd->bhd", weights, x).flatten(1)
        return self.classifier(F.relu(self.embedding(pooled)))


class PeerLoop:
    """Its `epoch` is one pass over the data; `loader` its batches."""

    def __init__(self, data: Path, classes: Sequence[str], batch_size: int, workers: int, device: torch.device) -> None:
        dataset = ArkDataset(data, classes)
        self.device = device
        self.loader = DataLoader(
            dataset,
            batch_sampler=CopyPasteBatches(len(dataset), batch_size),
            collate_fn=Collate(list(classes).index("neutral")),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
        )
        torch.manual_seed(0)
        self.model = PaddedResNet34(len(classes)).to(device).train()
        self.optimiser = torch.optim.Adam(self.model.parameters())

    def step(self, x: Tensor, lengths: Tensor, labels: Tensor) -> None:
        x, lengths, labels = (t.to(self.device, non_blocking=True) for t in (x, lengths, labels))
        loss = F.cross_entropy(self.model(x, lengths), labels)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def epoch(self) -> None:
        for batch in self.loader:
            self.step(*batch)


class PeerProcess:
    """A `PeerLoop` in a process of its own, whose memory is not set up as our programs' is (ser.training.device).

    Its methods return when the device is done. Attributes: `lengths`, the padded frames of each batch of an epoch.
    """

    def __init__(self, *arguments: Any) -> None:
        """Arguments: those of `PeerLoop`."""
        context = multiprocessing.get_context("spawn")
        self._pipe, other_end = context.Pipe()
        context.Process(target=_serve, args=(other_end, torch.get_num_threads(), arguments)).start()
        other_end.close()
        self.lengths: list[int] = self._pipe.recv()

    def epoch(self) -> None:
        self._ask(None)

    def step(self, index: int) -> None:
        """On a batch that is in memory."""
        self._ask(index)

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()  # which ends the process

    def _ask(self, what: int | None) -> None:
        self._pipe.send(what)
        self._pipe.recv()


def _serve(pipe: Connection, threads: int, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(threads)
    loop = PeerLoop(*arguments)
    batches = list(loop.loader)
    pipe.send([x.shape[0] * x.shape[2] for x, _, _ in batches])
    with contextlib.suppress(EOFError):
        while True:
            what = pipe.recv()
            if what is None:
                loop.epoch()
            else:
                loop.step(*batches[what])
            if loop.device.type == "cuda":
                torch.cuda.synchronize(loop.device)
            pipe.send(None)
