"""What a trained network reads of a pretrained encoder: the hidden states of a layer, of waveforms in memory."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ser.base.errors import SerError
from ser.data.arks import TWO_BYTES, as_compressed
from ser.data.audio import AudioError, DecodedAudio, resample
from ser.features.normalisation import Normalisation
from ser.nets.encoder_folder import RATE, EncoderFolder, layer_number

if TYPE_CHECKING:
    import torch

    from ser.nets.encoder import Encoder

FRAME_SHIFT = 0.02  # s, of every encoder of `KINDS`
_READ_SECONDS = 480  # of audio in memory, among which batches of like lengths are found
_BATCH_SECONDS = {"cpu": 16, "cuda": 240}  # of audio, padding included, in one forward pass


def describe(folder: EncoderFolder, layer: int | str, precision: str) -> str:
    """Return the options that made hidden states, a line each, as conf/encoder.conf and checkpoints have them."""
    return f"--encoder={folder.kind}-{folder.digest()}\n--layer={layer}\n--precision={precision}\n"


@dataclass(frozen=True)
class HiddenStates:
    """A front end: what steps/make_encoder_feats.sh was told, and prepare_feats.sh, if that normalised them.

    Attributes:
        folder: the encoder's.
        layer: whose hidden states are read, from 1; or `ALL`.
        precision: of the encoder's arithmetic, fp32 or bf16.
        device: where it runs.
        normalisation: over all frames.
    """

    folder: EncoderFolder
    layer: int | str
    precision: str
    device: torch.device
    normalisation: Normalisation | None = None

    rate = RATE
    channel = -1
    frame_shift = FRAME_SHIFT

    @staticmethod
    def makes(front_end: str) -> bool:
        """Return whether a checkpoint's front end is of this kind."""
        return Normalisation.split(front_end)[0].keys() == {"--encoder", "--layer", "--precision"}

    @classmethod
    def parse(cls, front_end: str, folder: EncoderFolder, device: torch.device, where: object) -> HiddenStates:
        """Return the front end that a checkpoint describes.

        Raises:
            SerError: the folder holds another encoder than the one described; the message begins with `where`.
        """
        options, normalisation = Normalisation.split(front_end)
        layer, precision = layer_number(options["--layer"]), options["--precision"]
        made = describe(folder, layer, precision).splitlines()[0].removeprefix("--encoder=")
        if made != options["--encoder"]:
            raise SerError(f"{where}: reads the encoder {options['--encoder']}, and {folder.path} holds {made}: its "
                           "files have changed; name a folder with the encoder of the training (--encoder)")
        return cls(folder, layer, precision, device, normalisation)

    @property
    def by_speaker(self) -> bool:
        """Whether a recording's features depend on the other recordings of its speaker."""
        return self.normalisation is not None and self.normalisation.by_speaker

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, cut off after the layer."""
        from ser.nets.encoder import load_encoder

        return load_encoder(self.folder.path, self.layer).to(self.device)

    def unfit(self, samples: np.ndarray) -> str | None:
        """Return why a waveform (n,) of `rate` Hz has no hidden states, and what to do; None if it has."""
        seconds, longest = len(samples) / RATE, self.encoder.longest
        if self.encoder.num_frames(len(samples)) < 1:
            return f"{seconds:.3f} s long, too short; leave it out"
        if len(samples) > longest:
            return f"{seconds:.1f} s long, over the {longest / RATE:g} s of the encoder; cut it up"
        return None

    def waveform(self, audio: DecodedAudio, name: str) -> np.ndarray:
        """Return a recording at `rate`. Raises AudioError, which begins with `name`, where it is unfit."""
        samples = resample(audio.samples, audio.rate, RATE)
        if reason := self.unfit(samples):
            raise AudioError(f"{name}: {reason}")
        return samples

    def features(self, waveforms: Iterable[tuple[Hashable, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return for each waveform its features, as an ark gives them back, and the numbers of their frames.

        Args:
            waveforms: speaker, and (samples,) float32 at int16 scale and `rate`.

        Returns:
            (frames, D) float32 and (frames,) int64.
        """
        named = (((number, speaker), samples) for number, (speaker, samples) in enumerate(waveforms))
        stored = ((speaker, as_compressed(states, TWO_BYTES)) for (_, speaker), states in self.of(named))
        found = [(speaker, states, np.arange(len(states))) for speaker, states in stored]
        if self.normalisation is None:
            return [(states, numbers) for _, states, numbers in found]
        return [(as_compressed(states, TWO_BYTES), numbers) for states, numbers in self.normalisation.apply(found)]

    def of(self, waveforms: Iterable[tuple[Hashable, np.ndarray]]) -> Iterable[tuple[Hashable, np.ndarray]]:
        """Yield the name and the hidden states (frames, D) float32 of each of many (name, waveform), in their order.

        Some minutes of audio are read at a time, and encoded in batches of like lengths.
        """
        read: dict[Hashable, np.ndarray] = {}
        for name, samples in waveforms:
            read[name] = samples
            if sum(map(len, read.values())) >= _READ_SECONDS * RATE:
                yield from self._of_each(read).items()
                read = {}
        yield from self._of_each(read).items()

    def _of_each(self, waveforms: Mapping[Hashable, np.ndarray]) -> dict[Hashable, np.ndarray]:
        encoded: dict[Hashable, np.ndarray] = {}
        batch: list[Hashable] = []
        most = _BATCH_SECONDS[self.device.type] * RATE
        for name in sorted(waveforms, key=lambda name: len(waveforms[name])):
            if batch and (len(batch) + 1) * len(waveforms[name]) > most:
                encoded |= self._encode(batch, waveforms)
                batch = []
            batch.append(name)
        if batch:
            encoded |= self._encode(batch, waveforms)
        return {name: encoded[name] for name in waveforms}

    def _encode(self, batch: list[Hashable], waveforms: Mapping[Hashable, np.ndarray]) -> dict[Hashable, np.ndarray]:
        import torch

        samples = torch.from_numpy(np.concatenate([waveforms[name] for name in batch])).to(self.device)
        lengths = torch.tensor([len(waveforms[name]) for name in batch])
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            states, frames = self.encoder(samples, lengths)
        return dict(zip(batch, np.split(states.cpu().numpy(), frames.cumsum(0)[:-1]), strict=True))
