"""Noise and music of a dozen kinds, in MUSAN's layout; every recording differs from the next of its kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

from mini.randomness import generator
from mini.sentences import MANNERS, make_sentence, record
from mini.speakers import make_speaker
from mini.voice import SAMPLE_RATE

SECONDS = 12
_SAMPLES = SECONDS * SAMPLE_RATE
_RMS = 0.08 * 32768  # of every file: the mixing sets the level anyway


def make_noise(name: str) -> np.ndarray:
    """Synthesise the file `<kind>-<number>` of `NOISE` or `MUSIC`: (192000,) int16 at 16 kHz."""
    sound = {**NOISE, **MUSIC}[name.rsplit("-", 1)[0]](generator("musan", name))
    sound = sound - sound.mean()
    sound *= min(_RMS / np.sqrt(np.mean(sound**2)), 30000 / np.abs(sound).max())
    return np.rint(sound).astype(np.int16)


def _time() -> np.ndarray:
    return np.arange(_SAMPLES) / SAMPLE_RATE


def _band(sound: np.ndarray, low: float, high: float) -> np.ndarray:
    """Second-order Butterworth band pass, Hz."""
    return sosfilt(butter(2, [low, high], "bandpass", fs=SAMPLE_RATE, output="sos"), sound)


def _wander(rng: np.random.Generator, per_second: float) -> np.ndarray:
    """Return a random curve between 0 and 1 with `per_second` values a second and straight lines in between."""
    knots = rng.random(int(SECONDS * per_second) + 2)
    return np.interp(_time() * per_second, np.arange(len(knots)), knots)


def _strikes(rng: np.random.Generator, per_second: float) -> np.ndarray:
    """Single samples of random size at random times."""
    train = np.zeros(_SAMPLES)
    times = rng.integers(0, _SAMPLES, int(SECONDS * per_second))
    train[times] = rng.exponential(1.0, len(times)) * rng.choice([-1.0, 1.0], len(times))
    return train


def _ring(excitation: np.ndarray, frequency: float, decay: float) -> np.ndarray:
    """A resonance of `frequency` Hz that has fallen by 60 dB after `decay` seconds."""
    radius = 10 ** (-3 / (decay * SAMPLE_RATE))
    turn = 2 * np.pi * frequency / SAMPLE_RATE
    return lfilter([np.sin(turn)], [1, -2 * radius * np.cos(turn), radius**2], excitation)


def _babble(rng: np.random.Generator) -> np.ndarray:
    """Several people, none of whom is a speaker of the corpus, talking at once without a pause."""
    sound = np.zeros(_SAMPLES)
    for _ in range(int(rng.integers(5, 9))):
        speaker = make_speaker(f"babble-{rng.integers(1 << 30)}", str(rng.choice(["f", "m"])))
        turns: list[np.ndarray] = []
        while sum(map(len, turns)) < _SAMPLES:
            sentence = make_sentence(f"babble-{rng.integers(1 << 30)}")
            said = record(speaker, str(rng.choice(sorted(MANNERS))), sentence, rng)
            first, last = (round(seconds * SAMPLE_RATE) for seconds in said.speech)
            turns.append(said.samples[first:last])
        sound += np.roll(np.concatenate(turns)[:_SAMPLES], rng.integers(_SAMPLES)) * rng.uniform(0.5, 1.0)
    return sound


def _hum(rng: np.random.Generator) -> np.ndarray:
    """Mains hum: harmonics of 50 or 60 Hz, with the hiss of the amplifier."""
    mains = float(rng.choice([50.0, 60.0]))
    harmonics = np.arange(1, 30)
    strengths = rng.exponential(1.0, len(harmonics)) / harmonics**0.7
    sound = sum(
        strength * np.sin(2 * np.pi * (mains * k * _time() + rng.random()))
        for k, strength in zip(harmonics, strengths, strict=True)
    )
    return sound + rng.uniform(0.05, 0.2) * rng.standard_normal(_SAMPLES)


def _rain(rng: np.random.Generator) -> np.ndarray:
    """A steady rush and single drops."""
    rush = _band(rng.standard_normal(_SAMPLES), rng.uniform(300, 900), rng.uniform(4000, 7000))
    drops = _ring(_strikes(rng, 60), rng.uniform(1500, 3500), 0.02)
    return rush * (0.7 + 0.3 * _wander(rng, 1.0)) + rng.uniform(0.3, 1.0) * drops


def _wind(rng: np.random.Generator) -> np.ndarray:
    """Gusts: low noise that swells, and whistles as it does."""
    gust = _wander(rng, 0.8) ** 2
    low = _band(rng.standard_normal(_SAMPLES), 40, rng.uniform(250, 500))
    whistle = _band(rng.standard_normal(_SAMPLES), 600, rng.uniform(800, 1200))
    return low * (0.1 + gust) + 0.5 * whistle * gust**2


def _knocking(rng: np.random.Generator) -> np.ndarray:
    """Hammering and dropping things: impulses with a ring, over a quiet room."""
    sound = 0.01 * _band(rng.standard_normal(_SAMPLES), 60, 2000)
    for _ in range(3):
        sound += _ring(_strikes(rng, rng.uniform(0.7, 2.0)), rng.uniform(150, 2800), rng.uniform(0.05, 0.4))
    return sound


def _engine(rng: np.random.Generator) -> np.ndarray:
    """Firing strokes at a speed that wanders, through the exhaust, with some hiss."""
    speed = rng.uniform(18, 40) * (0.8 + 0.5 * _wander(rng, 0.4))
    turns = np.cumsum(speed / SAMPLE_RATE)
    stroke = np.exp(-6 * (turns % 1)) * (1 + 0.2 * rng.standard_normal(int(turns[-1]) + 1)[turns.astype(int)])
    exhaust = _ring(np.diff(stroke, prepend=0.0), rng.uniform(90, 200), 0.05)
    return exhaust / np.abs(exhaust).max() + 0.03 * _band(rng.standard_normal(_SAMPLES), 200, 3000)


def _machine(rng: np.random.Generator) -> np.ndarray:
    """A fan or a mill: noise that beats as the blades go by."""
    beat = 0.6 + 0.4 * np.sin(2 * np.pi * np.cumsum(rng.uniform(4, 15) * (0.95 + 0.1 * _wander(rng, 1))) / SAMPLE_RATE)
    low = rng.uniform(100, 600)
    return beat * _band(rng.standard_normal(_SAMPLES), low, low * rng.uniform(3, 8))


def _alarm(rng: np.random.Generator) -> np.ndarray:
    """Two tones in turn, switched on and off."""
    period = rng.uniform(0.3, 0.9)
    low = rng.uniform(500, 1500)
    pitch = np.where(_time() % period < period / 2, low, low * rng.uniform(1.1, 1.6))
    phase = np.cumsum(pitch) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * phase) + 0.3 * np.sin(6 * np.pi * phase)
    return tone * (_time() % (4 * period) < 3 * period) + 0.02 * rng.standard_normal(_SAMPLES)


_SCALE = np.array([0, 2, 4, 7, 9])  # pentatonic: any of its notes go together


def _note(frequency: float, seconds: float, brightness: float, decay: float) -> np.ndarray:
    """A plucked tone of ten harmonics, the high ones fainter and shorter."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros_like(time)
    for harmonic in range(1, 11):
        if harmonic * frequency < 0.45 * SAMPLE_RATE:
            fall = np.exp(-time * harmonic**0.5 / decay)
            sound += brightness**harmonic * fall * np.sin(2 * np.pi * harmonic * frequency * time)
    return sound * np.minimum(1.0, time / 0.005) * np.minimum(1.0, time[::-1] / 0.02)


def _sequence(notes: list[tuple[float, np.ndarray]]) -> np.ndarray:
    """Notes, each at its time in seconds, in one recording."""
    sound = np.zeros(_SAMPLES)
    for start, note in notes:
        first = round(start * SAMPLE_RATE)
        sound[first : first + len(note)] += note[: _SAMPLES - first]
    return sound


def _chords(rng: np.random.Generator) -> np.ndarray:
    """Slow chords of three voices and a bass."""
    tonic, bar = rng.uniform(110, 220), rng.uniform(0.8, 1.6)
    brightness = rng.uniform(0.4, 0.7)
    notes = []
    for start in np.arange(0, SECONDS - 0.1, bar):
        root = rng.choice([0, 5, 7, 9])
        for interval in (-12, 0, 4 if root != 9 else 3, 7):
            notes.append((start, _note(tonic * 2 ** ((root + interval) / 12), bar * 1.2, brightness, 0.8)))
    return _sequence(notes)


def _arpeggio(rng: np.random.Generator) -> np.ndarray:
    """A quick line up and down a pentatonic scale."""
    tonic, step, brightness = rng.uniform(150, 350), rng.uniform(0.12, 0.25), rng.uniform(0.3, 0.6)
    notes, place = [], 0
    for start in np.arange(0, SECONDS - 0.1, step):
        place = int(np.clip(place + rng.integers(-2, 3), 0, 11))
        semitones = 12 * (place // 5) + _SCALE[place % 5]
        notes.append((start, _note(tonic * 2 ** (semitones / 12), 3 * step, brightness, 0.3)))
    return _sequence(notes)


def _percussion(rng: np.random.Generator) -> np.ndarray:
    """A drum, a snare and a hi-hat in a bar of eight, the same bar over and over with small changes."""
    step = rng.uniform(0.14, 0.24)
    time = np.arange(round(0.3 * SAMPLE_RATE)) / SAMPLE_RATE
    drum = np.exp(-time / 0.08) * np.sin(2 * np.pi * (50 * time - 6 * np.exp(-time / 0.03)))
    hiss = rng.standard_normal(len(time))
    snare, hat = 0.6 * hiss * np.exp(-time / 0.05), 0.3 * np.diff(hiss, prepend=0.0) * np.exp(-time / 0.015)
    bar = [[drum] if beat == 0 else [snare] if beat == 4 else [] for beat in range(8)]
    for beats in bar:
        beats += [sound for sound, chance in ((drum, 0.25), (hat, 0.7)) if rng.random() < chance]
    hits = [(start, hit) for beat, start in enumerate(np.arange(0, SECONDS - 0.1, step)) for hit in bar[beat % 8]]
    return _sequence([(start, hit * rng.uniform(0.7, 1.0)) for start, hit in hits])


def _band_music(rng: np.random.Generator) -> np.ndarray:
    """All of them together."""
    parts = [part(rng) for part in (_chords, _arpeggio, _percussion)]
    return sum(rng.uniform(0.6, 1.0) * part / np.sqrt(np.mean(part**2)) for part in parts)


Maker = Callable[[np.random.Generator], np.ndarray]
NOISE: dict[str, Maker] = {
    "alarm": _alarm, "babble": _babble, "engine": _engine, "hum": _hum, "knocking": _knocking, "machine": _machine,
    "rain": _rain, "wind": _wind,
}  # fmt: skip
MUSIC: dict[str, Maker] = {"arpeggio": _arpeggio, "band": _band_music, "chords": _chords, "percussion": _percussion}
FILES_PER_KIND = 2  # by default
