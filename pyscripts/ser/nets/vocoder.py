"""Vocoders: a log-mel spectrogram to a waveform, by HiFi-GAN (Kong et al., NeurIPS 2020) or Griffin and Lim (1984)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.transforms import GriffinLim, InverseMelScale

from ser.nets.speechbrain_folder import load_state, speechbrain_class
from ser.nets.vocoder_folder import GENERATOR, MelOptions, VocoderFolder

_ITERATIONS = 32  # of Griffin and Lim


class HifiGan(nn.Module):
    """SpeechBrain's generator, with the weights of a folder.

    Raises:
        SerError: SpeechBrain is not installed, or the weights are missing, damaged, or of other sizes.
    """

    def __init__(self, folder: VocoderFolder) -> None:
        super().__init__()
        self.generator = speechbrain_class("models.HifiGAN", "HifiganGenerator")(**folder.sizes)
        load_state(folder.path / GENERATOR, self.generator)
        self.generator.remove_weight_norm()
        self.padding = folder.sizes["inference_padding"] * folder.mel.hop_length
        self.eval()

    def forward(self, mel: Tensor) -> Tensor:
        """Turn a log-mel spectrogram (frames, bands) into a waveform (frames · hop,) from -1 to 1."""
        samples = self.generator.inference(mel.T[None])[0, 0]
        return samples[self.padding : len(samples) - self.padding]


class GriffinAndLim(nn.Module):
    """Phases that go with the magnitudes, found by iteration from zero; no weights, and audibly no voice either."""

    def __init__(self, mel: MelOptions) -> None:
        super().__init__()
        self.magnitudes = InverseMelScale(
            mel.n_fft // 2 + 1, mel.num_mel_bins, mel.sample_rate, mel.low_freq, mel.high_freq, "slaney", "slaney"
        )
        self.hop, self.fewest = mel.hop_length, 2 + mel.n_fft // mel.hop_length
        self.waveform = GriffinLim(
            mel.n_fft, _ITERATIONS, mel.win_length, mel.hop_length, power=1.0, rand_init=False, momentum=0.99
        )

    @torch.no_grad()
    def forward(self, mel: Tensor) -> Tensor:
        """Turn a log-mel spectrogram (frames, bands) into a waveform (frames · hop,) from -1 to 1."""
        padded = torch.cat([mel, mel[-1:].expand(max(1, self.fewest - len(mel)), -1)])
        return self.waveform(self.magnitudes(padded.exp().T)).clamp(-1, 1)[: len(mel) * self.hop]


def load_vocoder(folder: VocoderFolder | None, mel: MelOptions) -> nn.Module:
    """Return the vocoder of a folder, or Griffin and Lim's for spectrograms of these options where there is none."""
    return GriffinAndLim(mel) if folder is None else HifiGan(folder)
