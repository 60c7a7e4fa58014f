#!/usr/bin/env python3
"""Cost of the front end on one thread: ours, clean and noisy, beside kaldi-native-fbank's MFCC, in one run.

`steps/make_mfcc.sh`, `compute_vad.sh` and `prepare_feats.sh` are run as their jobs run them, from audio files to arks,
but in this process: start-up (Python, imports) is measured apart. RAVDESS's 864 files, 16 kHz read as 8 kHz, are the
default. kaldi-native-fbank does MFCC alone, frame by frame as its interface has it; it is given the same reading and
resampling, which are reported apart.

Usage: python3 tests/benchmarks/bench_frontend.py [--corpus-dir DIR] [--noise FILE] [--repeat N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = Path(os.environ.get("SER_SHARED", ROOT.parent / "shared"))
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
sys.path.insert(0, str(ROOT / "pyscripts"))

import kaldi_native_fbank  # noqa: E402
import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402
from compute_vad import ComputeVad  # noqa: E402
from make_mfcc import MakeMfcc  # noqa: E402
from prepare_feats import PrepareFeats  # noqa: E402

from ser.arks import ArkWriter, read_arks  # noqa: E402
from ser.audio import resample  # noqa: E402
from ser.featurejobs import FeatureStep, Summary  # noqa: E402
from ser.frontend import MfccOptions, read_conf  # noqa: E402
from ser.tables import write_table  # noqa: E402


def seconds(work: Callable[[], object], repeat: int) -> float:
    """Processor time of the quickest of `repeat` runs: what a core of one's own needs, whoever shares the machine."""
    times = []
    for _ in range(repeat):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def process(step: FeatureStep, data: Path) -> None:
    with ArkWriter(data / f"{step.stem}.ark", data / f"{step.stem}.index") as writer:
        step.process(data, writer, Summary())


def three_steps(data: Path, repeat: int) -> list[float]:
    """Seconds of MFCC, VAD, and normalisation with selection; leaves feats.scp and vad.scp."""
    steps = (
        (MakeMfcc(ROOT / "conf/mfcc_8k.conf", 0), "feats.scp"),
        (ComputeVad(ROOT / "conf/vad.conf"), "vad.scp"),
        (PrepareFeats("sliding"), None),
    )
    times = []
    for step, table in steps:
        times.append(seconds(lambda step=step: process(step, data), repeat))
        if table:
            os.replace(data / f"{step.stem}.index", data / table)
    return times


def kaldi_native_options(options: MfccOptions) -> kaldi_native_fbank.MfccOptions:
    theirs = kaldi_native_fbank.MfccOptions()
    theirs.frame_opts.samp_freq = options.sample_frequency
    theirs.frame_opts.frame_length_ms = options.frame_length
    theirs.frame_opts.snip_edges = options.snip_edges
    theirs.frame_opts.dither = options.dither
    theirs.mel_opts.num_bins = options.num_mel_bins
    theirs.mel_opts.low_freq = options.low_freq
    theirs.mel_opts.high_freq = options.high_freq
    theirs.num_ceps = options.num_ceps
    theirs.use_energy = options.use_energy
    theirs.energy_floor = options.energy_floor
    return theirs


def kaldi_native_mfcc(waveform: np.ndarray, options: kaldi_native_fbank.MfccOptions, rate: int) -> np.ndarray:
    computer = kaldi_native_fbank.OnlineMfcc(options)
    computer.accept_waveform(rate, waveform)
    computer.input_finished()
    return np.stack([computer.get_frame(frame) for frame in range(computer.num_frames_ready)])


def startup() -> float:
    """Processor time until a job that makes MFCC has its imports."""
    line = "import time, make_mfcc, torchaudio.compliance.kaldi; print(time.process_time())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "pyscripts")}
    return min(
        float(subprocess.run([sys.executable, "-c", line], env=environment, check=True, stdout=subprocess.PIPE).stdout)
        for _ in range(2)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus-dir", type=Path, default=SHARED / "data/ravdess", help="folder of WAV files")
    parser.add_argument("--noise", type=Path, help="noise file (default: the first of the shared MUSAN's)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, the quickest counts (default: 3)")
    args = parser.parse_args()
    files = sorted(args.corpus_dir.rglob("*.wav"))
    noises = [args.noise] if args.noise else sorted((SHARED / "data/musan/noise").rglob("*.wav"))
    if not files or not noises:
        sys.exit(f"no WAV files in {args.corpus_dir}, or no noise; name them with --corpus-dir and --noise")
    torch.set_num_threads(1)
    options = read_conf(ROOT / "conf/mfcc_8k.conf", MfccOptions)

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        table = {f"u{number:06d}": str(path) for number, path in enumerate(files)}
        write_table(data / "wav.scp", table)
        read = seconds(lambda: [soundfile.read(path, dtype="int16") for path in files], args.repeat)
        decoded = [soundfile.read(path, dtype="int16") for path in files]
        hours = sum(len(samples) / rate for samples, rate in decoded) / 3600
        signals = [(samples.astype(np.float32), rate) for samples, rate in decoded]
        convert = seconds(lambda: [resample(samples, rate, options.rate) for samples, rate in signals], args.repeat)
        waveforms = [resample(samples, rate, options.rate) for samples, rate in signals]
        theirs = kaldi_native_options(options)
        native = seconds(lambda: [kaldi_native_mfcc(w, theirs, options.rate) for w in waveforms], args.repeat)
        clean = three_steps(data, args.repeat)
        first = next(iter(read_arks(data / "feats.scp")))[1]
        apart = np.abs(first - kaldi_native_mfcc(waveforms[0], theirs, options.rate)).max()
        write_table(data / "utt2noise", {utt: f"5 0 {noises[n % len(noises)]}" for n, utt in enumerate(table)})
        noisy = three_steps(data, args.repeat)

    print(f"{len(files)} files, {hours:.2f} h, as {options.rate} Hz; seconds of one core, quickest of {args.repeat}")
    rows = {
        "start-up of a job that makes MFCC, in no sum below": startup(),
        "ours: read, resample, MFCC, write arks": clean[0],
        "ours: VAD": clean[1],
        "ours: sliding mean, voiced frames": clean[2],
        "ours: all three steps": sum(clean),
        "kaldi-native-fbank: read (soundfile)": read,
        "kaldi-native-fbank: resample (as ours)": convert,
        f"kaldi-native-fbank: MFCC (ours differ by {apart:.4f})": native,
        "ours, all steps / kaldi-native-fbank, up to MFCC": sum(clean) / (read + convert + native),
        "ours: a noisy copy, all three steps": sum(noisy),
        "noisy copy / clean": sum(noisy) / sum(clean),
    }
    for what, value in rows.items():
        print(f"{what:52}{value:6.2f}")


if __name__ == "__main__":
    main()
