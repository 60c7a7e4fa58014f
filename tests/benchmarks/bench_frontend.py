#!/usr/bin/env python3
"""Cost of the front end on one thread: ours, clean and noisy, beside kaldi-native-fbank's MFCC, in one run.

`steps/make_mfcc.sh`, `compute_vad.sh` and `prepare_feats.sh` are run as their jobs run them, from audio files to arks,
but in this process: start-up (Python, imports) is measured apart. RAVDESS's 864 files, 16 kHz read as 8 kHz, are the
default. Noisy copies are made as stage 2 of run.sh makes them: six of each utterance in one directory, noise and music
at 10, 5 and 0 dB, and with the clean recordings' VAD, so a copy has no VAD step. kaldi-native-fbank does MFCC alone,
frame by frame as its interface has it; it is given the same reading and resampling, which are reported apart.

Every figure is processor time, not the clock's: what a core of one's own needs, whoever shares the machine. In a round
everything is measured once; a ratio is the median of those within a round.

Usage: python3 tests/benchmarks/bench_frontend.py [--corpus-dir DIR] [--musan-dir DIR] [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
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
from common import markdown, ratio, report  # noqa: E402
from compute_vad import ComputeVad  # noqa: E402
from make_mfcc import MakeMfcc  # noqa: E402
from prepare_feats import PrepareFeats  # noqa: E402

from ser.base.kaldi_tables import read_table, write_table  # noqa: E402
from ser.data.arks import ArkWriter, read_arks  # noqa: E402
from ser.data.audio import resample  # noqa: E402
from ser.features.feature_step import FeatureStep, Summary  # noqa: E402
from ser.features.frontend import MfccOptions, read_conf  # noqa: E402
from ser.features.noise import draw_noise  # noqa: E402

SNRS = (10.0, 5.0, 0.0)


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one run."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def process(step: FeatureStep, data: Path, index: str) -> None:
    """Do what one job of a step does; leaves an index file in the data directory."""
    with ArkWriter(data / f"{step.stem}.ark", data / index) as writer:
        step.process(data, writer, Summary())


def make_copies(clean: Path, copy: Path, lists: Mapping[str, dict[str, str]], snrs: Sequence[float]) -> Path:
    """Write a directory of noisy copies with the clean recordings' VAD, as steps/augment_data_dir.sh --each does."""
    lengths = {utterance: len(voiced) / 100 for utterance, voiced in read_arks(clean / "vad.scp")}
    pairs = [(kind, snr) for kind in lists for snr in snrs]
    write_table(copy / "utt2noise", {
        f"{utterance}-{kind}-snr{snr:g}": draw_noise(lists[kind], utterance, length, snr, kind, 0)
        for utterance, length in lengths.items() for kind, snr in pairs
    })
    for name in ("wav.scp", "vad.scp"):
        rows = read_table(clean / name)
        write_table(copy / name, {f"{u}-{kind}-snr{snr:g}": row for u, row in rows.items() for kind, snr in pairs})
    return copy


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
    parser.add_argument("--musan-dir", type=Path, default=SHARED / "data/musan", help="folder with noise/ and music/")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="medians of N (default: %(default)s)")
    args = parser.parse_args()
    files = sorted(args.corpus_dir.rglob("*.wav"))
    lists = {
        kind: {path.stem: str(path) for path in sorted((args.musan_dir / kind).rglob("*.wav"))}
        for kind in ("noise", "music")
    }
    if not files or not all(lists.values()):
        sys.exit(f"no WAV files in {args.corpus_dir}, or in noise or music of {args.musan_dir}; name the folders")
    torch.set_num_threads(1)
    options = read_conf(ROOT / "conf/mfcc_8k.conf", MfccOptions)
    theirs = kaldi_native_options(options)
    decoded = [soundfile.read(path, dtype="int16") for path in files]
    hours = sum(len(samples) / rate for samples, rate in decoded) / 3600
    signals = [(samples.astype(np.float32), rate) for samples, rate in decoded]
    waveforms = [resample(samples, rate, options.rate) for samples, rate in signals]

    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder) / "clean"
        write_table(clean / "wav.scp", {f"u{number:06d}": str(path) for number, path in enumerate(files)})
        mfcc, vad = MakeMfcc(ROOT / "conf/mfcc_8k.conf", 0), ComputeVad(ROOT / "conf/vad.conf")
        normalise = PrepareFeats("sliding")
        process(mfcc, clean, "feats.scp")
        process(vad, clean, "vad.scp")
        first = next(iter(read_arks(clean / "feats.scp")))[1]
        apart = np.abs(first - kaldi_native_mfcc(waveforms[0], theirs, options.rate)).max()
        one = make_copies(clean, Path(folder) / "one", {"noise": lists["noise"]}, SNRS[:1])
        six = make_copies(clean, Path(folder) / "six", lists, SNRS)
        work: dict[str, Callable[[], object]] = {
            "clean: read, resample, MFCC, arks": lambda: process(mfcc, clean, "feats.scp"),
            "clean: VAD": lambda: process(vad, clean, "vad.scp"),
            "clean: sliding mean, voiced frames": lambda: process(normalise, clean, "voiced.scp"),
            "copy alone: read, mix, MFCC, arks": lambda: process(mfcc, one, "feats.scp"),
            "six copies: read once, mix, MFCC, arks": lambda: process(mfcc, six, "feats.scp"),
            "six copies: sliding mean, voiced frames": lambda: process(normalise, six, "voiced.scp"),
            "kaldi-native-fbank: read": lambda: [soundfile.read(path, dtype="int16") for path in files],
            "kaldi-native-fbank: resample, as ours": lambda: [resample(*signal, options.rate) for signal in signals],
            "kaldi-native-fbank: MFCC": lambda: [kaldi_native_mfcc(w, theirs, options.rate) for w in waveforms],
        }
        times: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(args.rounds):
            for name, action in work.items():
                times[name].append(seconds(action))

    def total(*starts: str, share: float = 1.0) -> list[float]:
        """Of each round, all that begins with one of these words."""
        chosen = [values for name, values in times.items() if name.startswith(starts)]
        return [share * sum(values) for values in zip(*chosen, strict=True)]

    all_clean, native = total("clean"), total("kaldi-native")
    ratios = {
        "a noisy copy, one of six / clean, all steps": (total("six copies", share=1 / 6), all_clean),
        "the same, MFCC step alone": (total("six copies: read", share=1 / 6), total("clean: read")),
        "a noisy copy made alone / clean, MFCC step": (total("copy alone"), total("clean: read")),
        "clean, all steps / kaldi-native-fbank, up to MFCC": (all_clean, native),
        "a noisy copy, one of six / kaldi-native-fbank": (total("six copies", share=1 / 6), native),
    }
    startup_seconds = startup()
    report(
        "Front end and noisy copies", torch.device("cpu"),
        [f"{len(files)} files, {hours:.2f} h, as {options.rate} Hz; seconds of one core, medians of {args.rounds}.",
         f"Start-up of a job that makes MFCC, in no figure below: {startup_seconds:.2f} s.",
         f"The first utterance's MFCC and kaldi-native-fbank's differ by {apart:.4f} at most."],
        markdown(["", "s"], [[name, f"{statistics.median(values):.2f}"] for name, values in times.items()]),
        markdown(["", "ratio"], [[name, f"{ratio(*pair):.2f}"] for name, pair in ratios.items()]),
    )


if __name__ == "__main__":
    main()
