"""Voices: properties of a speaker that do not depend on what is said, and the speaker's way to show emotions."""

from __future__ import annotations

from dataclasses import dataclass

from mini.randomness import generator


@dataclass(frozen=True)
class Speaker:
    """A voice. Frequencies in Hz, intervals in semitones, the rest ratios."""

    name: str
    sex: str  # f or m
    formant_scale: float  # of the vowel targets of a 17.5 cm tract: the shorter the tract, the higher
    base_f0: float
    pitch_range: float  # semitones from the bottom to the top of a neutral accent
    rate: float  # 1 is about 5 syllables a second
    open_quotient: float
    tilt_cutoff: float
    breathiness: float
    jitter: float
    shimmer: float
    pitch_cue: float  # how much of an emotion this speaker puts into pitch, loudness, rate and voice quality: about 1
    energy_cue: float
    rate_cue: float
    quality_cue: float


def make_speaker(name: str, sex: str) -> Speaker:
    """Draw the voice of speaker `name`; the sexes differ in tract length, pitch and breathiness, and overlap in all."""
    rng = generator("speaker", name)
    female = sex == "f"
    return Speaker(
        name=name,
        sex=sex,
        formant_scale=rng.uniform(1.08, 1.24) if female else rng.uniform(0.93, 1.09),
        base_f0=rng.uniform(165, 230) if female else rng.uniform(90, 140),
        pitch_range=rng.uniform(2.2, 4.0),
        rate=rng.uniform(0.9, 1.12),
        open_quotient=rng.uniform(0.52, 0.68),
        tilt_cutoff=rng.uniform(2200, 3200),
        breathiness=rng.uniform(0.06, 0.16) * (1.4 if female else 1.0),
        jitter=rng.uniform(0.004, 0.012),
        shimmer=rng.uniform(0.02, 0.06),
        pitch_cue=rng.uniform(0.75, 1.25),
        energy_cue=rng.uniform(0.75, 1.25),
        rate_cue=rng.uniform(0.75, 1.25),
        quality_cue=rng.uniform(0.75, 1.25),
    )
