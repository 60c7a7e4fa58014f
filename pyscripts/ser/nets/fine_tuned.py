"""A pretrained encoder that is trained with what stands on it: its frames pooled over time, and one linear layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ser.base.errors import SerError
from ser.nets.encoder import Encoder
from ser.nets.encoder_folder import RATE, EncoderConfig
from ser.nets.linear import Linear


class FineTuned(Linear):
    """Waveforms to class logits, which depend on nothing that an utterance is batched with.

    Attributes:
        longest: samples of the longest example that it takes.

    Args:
        encoder: the encoder, whose parameters are trained too but for those that are frozen.
        about: what it is, so that checkpoints can say it.
        args, kwargs: as of `Linear`, from `classes` on.
    """

    def __init__(self, encoder: Encoder, about: EncoderConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(encoder.dim, *args, **kwargs)
        self.encoder, self.longest = encoder, encoder.longest
        self.built_from = {"config": about.config, "preprocessor": about.preprocessor}

    def embed(self, samples: Tensor, lengths: Tensor) -> Tensor:
        """Return the pooled frames of waveforms.

        Args:
            samples: (n, 1) float32 at int16 scale and 16 kHz, the waveforms of all examples end to end.
            lengths: (B,) samples of each, on the CPU.

        Raises:
            SerError: an example is too long for the encoder, or too short for a frame.
        """
        if (longest := int(lengths.max())) > self.longest:
            raise SerError(f"an example of {longest / RATE:.1f} s is over the {self.longest / RATE:g} s of the "
                           "encoder; lower crop, of which CopyPaste joins two")
        if int(self.encoder.num_frames(lengths.min())) < 1:
            raise SerError(f"an example of {int(lengths.min()) / RATE:.3f} s gives no frame; raise crop")
        return super().embed(*self.encoder(samples[:, 0], lengths))
