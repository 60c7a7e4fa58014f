#!/usr/bin/env python3
"""Copies at another speed, of another pitch and another vocal tract: seconds of audio a second of one core, in memory,
beside sox, librosa and torchaudio, where they are installed.

sox runs as a command for each recording, as Kaldi's wav.scp has it; its time includes its start. torchaudio's
pitch_shift is left out: it resamples by a ratio of co-prime rates, which takes most of a minute for 3 s.

Usage: python3 tests/benchmarks/bench_perturb.py [--recordings N] [--rounds N]
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from common import RATE, interleaved, markdown, ratio, recordings, report

from ser.base.arguments import positive
from ser.features.perturb import Perturbation


def peers(folder: Path, waves: list[np.ndarray]) -> dict[str, tuple[str, Callable[[], object]]]:
    """Return, by name, the kind that each peer does and what does it to all recordings."""
    found: dict[str, tuple[str, Callable[[], object]]] = {}
    if shutil.which("sox"):
        files = [folder / f"{number}.wav" for number in range(len(waves))]
        for file, wave in zip(files, waves, strict=True):
            soundfile.write(file, wave.astype(np.int16), RATE)

        def sox(*effect: str) -> None:
            for file in files:
                subprocess.run(["sox", file, "-t", "raw", "/dev/null", *effect], check=True, stderr=subprocess.DEVNULL)

        found["sox, speed"] = "speed", lambda: sox("speed", "0.9")
        found["sox, pitch"] = "pitch", lambda: sox("pitch", "200")
    if importlib.util.find_spec("librosa"):
        import librosa

        found["librosa, pitch_shift"] = "pitch", lambda: [
            librosa.effects.pitch_shift(wave / 32768, sr=RATE, n_steps=2) for wave in waves]
    import torchaudio.functional

    tensors = [torch.from_numpy(wave) for wave in waves]
    found["torchaudio, speed"] = "speed", lambda: [torchaudio.functional.speed(wave, RATE, 0.9) for wave in tensors]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=positive, default=32, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="medians of N (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    waves, device = recordings(args.recordings), torch.device("cpu")
    length = sum(map(len, waves)) / RATE
    kinds = {"speed": Perturbation("speed", 0.9), "pitch": Perturbation("pitch", 2), "vtlp": Perturbation("vtlp", 1.1)}

    def ours(perturbation: Perturbation) -> Callable[[], object]:
        return lambda: [perturbation.apply(wave, RATE) for wave in waves]

    with tempfile.TemporaryDirectory() as folder:
        others = peers(Path(folder), waves)
        actions = {f"ours, {kind}": ours(each) for kind, each in kinds.items()}
        actions |= {name: action for name, (_, action) in others.items()}
        for action in actions.values():  # what is set up once is not timed
            action()
        times = interleaved(actions, args.rounds, device)
    rows = [[name, f"{length / np.median(taken):.0f}",
             f"{ratio(taken, times[f'ours, {others[name][0]}']):.2f}" if name in others else "1"]
            for name, taken in times.items()]
    report("Perturbed copies", device,
           [f"{len(waves)} recordings, {length:.0f} s of audio; medians of {args.rounds} rounds."],
           markdown(["", "seconds of audio a second", "time, ratio to ours"], rows))


if __name__ == "__main__":
    sys.exit(main())
