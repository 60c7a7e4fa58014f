"""Sentences of random syllables, and how they are spoken: neutrally or with an emotion in a part of them.

Vowel targets are the averages for men of Peterson & Barney (1952), consonants are rough targets in the manner of
Klatt (1980). What an emotion does to a voice follows the directions summarised by Scherer (2003, "Vocal communication
of emotion", Speech Communication 40); the sizes are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import lfilter

from mini.randomness import generator
from mini.speakers import Speaker
from mini.voice import FRAMES_PER_SECOND, HOP, SAMPLE_RATE, Tracks, synthesise

SHORTEST, LONGEST = 1.5, 2.5  # seconds of a recording, silence at both ends included
LEAST_SHARE, MOST_SHARE = 0.35, 0.70  # of the speech in an emotional recording that is emotional

VOWELS = {  # F1, F2, F3 in Hz
    "i": (270, 2290, 3010), "I": (390, 1990, 2550), "e": (530, 1840, 2480), "a": (660, 1720, 2410),
    "A": (730, 1090, 2440), "o": (570, 840, 2410), "U": (440, 1020, 2240), "u": (300, 870, 2240),
    "V": (640, 1190, 2390), "R": (490, 1350, 1690),
}  # fmt: skip
_UPPER_FORMANTS = (3500.0, 4500.0, 5500.0)  # Hz; these stay where they are


@dataclass(frozen=True)
class Segment:
    """A stretch of constant targets; the tracks glide from one to the next."""

    seconds: float
    formants: tuple[float, float, float] | None = None  # Hz; None: those of the syllable's vowel
    voicing: float = 0.0
    aspiration: float = 0.0
    frication: float = 0.0
    centre: float = 3000.0  # Hz, of the frication


def _plosive(gap: float, burst: float, centre: float, aspiration: float) -> tuple[Segment, ...]:
    return (
        Segment(gap),
        Segment(0.012, frication=burst, centre=centre),
        Segment(aspiration, aspiration=0.7),
    )


def _voiced_plosive(locus: tuple[float, float, float], centre: float) -> tuple[Segment, ...]:
    return Segment(0.05, locus, voicing=0.12), Segment(0.010, locus, voicing=0.2, frication=0.25, centre=centre)


CONSONANTS: dict[str, tuple[Segment, ...]] = {
    "": (),
    "p": _plosive(0.06, 0.25, 1000, 0.03),
    "t": _plosive(0.055, 0.6, 4000, 0.03),
    "k": _plosive(0.055, 0.5, 1900, 0.04),
    "b": _voiced_plosive((200, 900, 2200), 900),
    "d": _voiced_plosive((200, 1700, 2600), 3800),
    "g": _voiced_plosive((200, 2000, 2300), 2000),
    "s": (Segment(0.09, (320, 1500, 2600), frication=0.7, centre=5500),),
    "S": (Segment(0.09, (300, 1800, 2500), frication=0.7, centre=2900),),
    "f": (Segment(0.08, (300, 1000, 2200), frication=0.2, centre=1800),),
    "z": (Segment(0.07, (300, 1500, 2600), voicing=0.3, frication=0.4, centre=5200),),
    "h": (Segment(0.06, aspiration=1.0),),
    "m": (Segment(0.065, (250, 1000, 2200), voicing=0.40),),
    "n": (Segment(0.060, (250, 1500, 2500), voicing=0.40),),
    "l": (Segment(0.055, (350, 1000, 2700), voicing=0.60),),
    "w": (Segment(0.060, (300, 700, 2200), voicing=0.55),),
    "j": (Segment(0.055, (280, 2200, 2900), voicing=0.55),),
    "r": (Segment(0.055, (330, 1100, 1600), voicing=0.55),),
}
_ONSETS = tuple(CONSONANTS)
_CODAS = ("", "", "", "n", "m", "l", "s", "t", "r")


@dataclass(frozen=True)
class Manner:
    """How an emotion departs from the speaker's neutral voice at full strength."""

    pitch: float = 0.0  # semitones
    pitch_range: float = 1.0  # factor on accents and declination
    slope: float = 0.0  # semitones from the beginning to the end of the emotional stretch
    energy: float = 0.0  # dB
    accent: float = 0.0  # dB more on a stressed syllable
    rate: float = 1.0  # factor
    hard_attack: float = 0.0  # seconds for which the glottis is held shut before each syllable
    open_quotient: float = 0.0  # added
    tilt: float = 0.0  # octaves by which the source's cut-off moves
    breathiness: float = 1.0  # factor
    roughness: float = 1.0  # factor on jitter and shimmer
    tremor: float = 0.0  # semitones, at about 6 Hz
    smile: float = 1.0  # factor on the formants


MANNERS = {
    "neutral": Manner(),
    "angry": Manner(pitch=2.0, pitch_range=1.4, slope=-1.5, energy=10.0, accent=3.0, rate=1.25, hard_attack=0.06,
                    open_quotient=-0.20, tilt=1.8, breathiness=0.5, roughness=9.0),
    "happy": Manner(pitch=6.5, pitch_range=1.8, slope=2.5, energy=4.0, accent=2.0, rate=1.2, open_quotient=0.04,
                    smile=1.18),
    "sad": Manner(pitch=-3.0, pitch_range=0.4, slope=-2.0, energy=-6.0, accent=-1.0, rate=0.68, open_quotient=0.18,
                  tilt=-1.8, breathiness=2.0, roughness=1.5, tremor=1.4),
}  # fmt: skip


@dataclass(frozen=True)
class SpokenSentence:
    """A recording, (N,) int16 at 16 kHz, and where its speech and its emotional stretch begin and end, in seconds."""

    samples: np.ndarray
    speech: tuple[float, float]
    emotional: tuple[float, float] | None  # None: all of it is neutral


@dataclass(frozen=True)
class Syllable:
    """A consonant or none, a vowel, a consonant or none."""

    onset: str
    vowel: str
    coda: str
    stressed: bool


def make_sentence(name: str) -> list[Syllable]:
    """Draw the sentence `name`: five or six random syllables, every second or third of them stressed."""
    rng = generator("sentence", name)
    sentence: list[Syllable] = []
    for _ in range(int(rng.integers(5, 7))):
        stressed = not (sentence and sentence[-1].stressed) and bool(rng.random() < 0.6)
        drawn = (str(rng.choice(choices)) for choices in (_ONSETS, list(VOWELS), _CODAS))
        sentence.append(Syllable(*drawn, stressed))
    return sentence


@dataclass(frozen=True)
class _Spoken:
    """A syllable as it is said this time: each segment with its length in frames."""

    segments: tuple[tuple[Segment, int], ...]
    syllable: Syllable

    @property
    def frames(self) -> int:
        return sum(frames for _, frames in self.segments)


def record(speaker: Speaker, emotion: str, sentence: list[Syllable], rng: np.random.Generator) -> SpokenSentence:
    """Synthesise `speaker` saying `sentence` with `emotion` (a key of `MANNERS`)."""
    manner = _personal(MANNERS[emotion], speaker, strength=rng.uniform(0.9, 1.3))
    count = len(sentence)
    while True:
        silence = rng.uniform(0.14, 0.32, size=2)
        rates = np.full(count, speaker.rate * rng.uniform(0.93, 1.07))
        attacks = np.zeros(count)
        first = last = 0  # syllables
        if emotion != "neutral":
            first, last = np.sort(rng.choice(count + 1, size=2, replace=False))
            rates[first:last] *= manner.rate
            attacks[first:last] = manner.hard_attack
        spoken = _time(sentence, rates, attacks, rng)
        bounds = np.cumsum([0, *(syllable.frames for syllable in spoken)])
        stretch, frames = (int(bounds[first]), int(bounds[last])), int(bounds[-1])
        share = (stretch[1] - stretch[0]) / frames
        if SHORTEST <= frames / FRAMES_PER_SECOND + silence.sum() <= LONGEST and (
            emotion == "neutral" or LEAST_SHARE <= share <= MOST_SHARE
        ):
            break
    tracks = _perform(spoken, speaker, manner, stretch, rng)
    samples, start = _finish(synthesise(tracks, rng), silence, rng)
    begins, ends, *emotional = (start + frame / FRAMES_PER_SECOND for frame in (0, frames, *stretch))
    return SpokenSentence(samples, (begins, ends), None if emotion == "neutral" else tuple(emotional))


def _personal(manner: Manner, speaker: Speaker, strength: float) -> Manner:
    """Return the manner with every departure from neutral scaled by the speaker's habit and `strength`."""
    pitch, energy = strength * speaker.pitch_cue, strength * speaker.energy_cue
    rate, quality = strength * speaker.rate_cue, strength * speaker.quality_cue
    return replace(
        manner,
        pitch=manner.pitch * pitch,
        pitch_range=manner.pitch_range**pitch,
        slope=manner.slope * pitch,
        energy=manner.energy * energy,
        accent=manner.accent * energy,
        rate=manner.rate**rate,
        hard_attack=manner.hard_attack * rate,
        open_quotient=manner.open_quotient * quality,
        tilt=manner.tilt * quality,
        breathiness=manner.breathiness**quality,
        roughness=manner.roughness**quality,
        tremor=manner.tremor * quality,
        smile=manner.smile**quality,
    )


def _time(sentence: list[Syllable], rates: np.ndarray, attacks: np.ndarray, rng: np.random.Generator) -> list[_Spoken]:
    """Give every syllable its length, from a rate (1: unhurried) and a pause before it (s) each; lengthen the last."""
    spoken = []
    for index, (syllable, rate, attack) in enumerate(zip(sentence, rates, attacks, strict=True)):
        seconds = 0.105 * (1.35 if syllable.stressed else 1.0) * (1.4 if index == len(sentence) - 1 else 1.0)
        segments = (
            *((Segment(attack),) if attack else ()),
            *CONSONANTS[syllable.onset],
            Segment(seconds * rng.uniform(0.85, 1.2), voicing=1.0),
            *CONSONANTS[syllable.coda],
        )
        timed = tuple((segment, max(2, round(segment.seconds * FRAMES_PER_SECOND / rate))) for segment in segments)
        spoken.append(_Spoken(timed, syllable))
    return spoken


def _smooth(track: np.ndarray, seconds: float) -> np.ndarray:
    """Moving Hann average along the first axis, the ends held."""
    half = max(1, round(seconds * FRAMES_PER_SECOND / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(track, [(half, half)] + [(0, 0)] * (track.ndim - 1), mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(padded, len(window), axis=0)
    return (views * (window / window.sum())).sum(axis=-1)


def _perform(
    sentence: list[_Spoken],
    speaker: Speaker,
    manner: Manner,
    stretch: tuple[int, int],
    rng: np.random.Generator,
) -> Tracks:
    """Tracks of the sentence in the speaker's voice, `manner` taking over in the frames of `stretch`."""
    targets = [(segment, VOWELS[spoken.syllable.vowel]) for spoken in sentence for segment, _ in spoken.segments]
    lengths = [frames for spoken in sentence for _, frames in spoken.segments]

    def held(values: list) -> np.ndarray:
        return np.repeat(np.array(values, float), lengths, axis=0)

    num_frames = sum(lengths)
    time = np.arange(num_frames) / FRAMES_PER_SECOND
    amount, within = np.zeros(num_frames), np.zeros(num_frames)  # of the emotion; how far through it, -0.5 to 0.5
    amount[slice(*stretch)] = 1.0
    within[slice(*stretch)] = np.linspace(-0.5, 0.5, stretch[1] - stretch[0])
    amount = _smooth(amount, 0.08)

    lower = _smooth(held([segment.formants or vowel for segment, vowel in targets]), 0.06)
    upper = np.broadcast_to(_UPPER_FORMANTS, (num_frames, len(_UPPER_FORMANTS)))
    scale = speaker.formant_scale * manner.smile**amount
    formants = np.minimum(np.concatenate([lower, upper], axis=1) * scale[:, None], 0.97 * SAMPLE_RATE / 2)

    accents = np.zeros(num_frames)  # 0 to 1
    start = 0
    for spoken in sentence:
        centre, width = start + 0.6 * spoken.frames, 0.55 * spoken.frames
        height = rng.uniform(0.6, 1.0) if spoken.syllable.stressed else rng.uniform(0.0, 0.3)
        accents += height * np.exp(-0.5 * ((np.arange(num_frames) - centre) / width) ** 2)
        start += spoken.frames
    through = np.linspace(0.5, -0.5, num_frames)
    melody = accents * speaker.pitch_range + rng.uniform(1.0, 3.0) * through  # declination
    tremor = np.sin(2 * np.pi * (rng.uniform(5.5, 7.0) * time + rng.random()))
    semitones = (
        rng.normal(0.0, 0.8)  # nobody starts twice on the same note
        + melody * manner.pitch_range**amount
        + amount * (manner.pitch + manner.slope * within + manner.tremor * tremor)
        + _smooth(rng.normal(0.0, 0.6, num_frames), 0.15)
    )
    level = 10 ** ((amount * (manner.energy + manner.accent * accents) + 3.0 * accents) / 20)
    level *= 1 + 0.4 * manner.tremor * amount * tremor

    voicing = _smooth(held([segment.voicing for segment, _ in targets]), 0.03) * level
    breath = speaker.breathiness * manner.breathiness**amount
    whisper = _smooth(held([segment.aspiration for segment, _ in targets]), 0.02) * level
    rough = manner.roughness**amount
    return Tracks(
        f0=np.clip(speaker.base_f0 * 2 ** (semitones / 12), 55.0, 600.0),
        formants=formants,
        voicing=voicing,
        aspiration=0.5 * whisper + 6 * breath * voicing,
        frication=_smooth(held([segment.frication for segment, _ in targets]), 0.015) * level,
        friction_centre=held([segment.centre for segment, _ in targets]),
        open_quotient=np.clip(speaker.open_quotient + manner.open_quotient * amount, 0.3, 0.9),
        tilt_cutoff=np.clip(speaker.tilt_cutoff * 2 ** (manner.tilt * amount), 300.0, 7000.0),
        jitter=speaker.jitter * rough,
        shimmer=speaker.shimmer * rough,
    )


def _finish(sound: np.ndarray, silence: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Add silence at both ends and the room's noise, and convert to int16; return also when the speech begins, s."""
    before, after = (round(seconds * SAMPLE_RATE / HOP) * HOP for seconds in silence)
    fade = np.minimum(1.0, np.minimum(np.arange(len(sound)), np.arange(len(sound))[::-1]) / (0.01 * SAMPLE_RATE))
    loudness = 10 ** rng.uniform(-26 / 20, -20 / 20) * 32768  # RMS of the speech, -26 to -20 dB of full scale
    speech = sound * fade
    speech *= loudness / np.sqrt(np.mean(speech**2))
    speech *= min(1.0, 30000 / np.abs(speech).max())  # a peak that would clip makes the recording softer
    room = lfilter([0.4], [1.0, -0.9], rng.standard_normal(before + len(speech) + after)) * rng.uniform(1.0, 4.0)
    room[before : before + len(speech)] += speech
    return np.rint(room).astype(np.int16), before / SAMPLE_RATE
