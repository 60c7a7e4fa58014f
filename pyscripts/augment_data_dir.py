#!/usr/bin/env python3
"""Noisy copies of a data directory: noise or music under every utterance.

Examples:
    steps/augment_data_dir.sh --each true --snr "10 5 0" data/train \
      "data/noise/noise_train.scp data/noise/music_train.scp" data/train_noisy
    steps/augment_data_dir.sh --snr 10 data/test data/noise/noise_test.scp data/test_snr10

<out-data> gets the tables of <data>, utt2noise, lines `<utterance> <SNR in dB> <first sample> <noise file>`, from
which steps/make_mfcc.sh mixes in memory, and Kaldi's utt2uniq, lines `<utterance> <utterance that it is a copy of>`.
<noise-list> has lines `<noise id> <audio file>`, as local/prepare_musan.sh writes them; several are given in the one
argument, separated by blanks. Every utterance gets one of the lists and one of the SNRs, all equally likely, or with
--each true a copy for each list and SNR, all in <out-data>: <utt>-noise-snr10 of noise_train.scp at 10 dB.

The noise depends on the utterance's id, the SNR, the list (its name and its ids) and the seed, and on no other
utterance; the list and SNR that are drawn depend on the utterance's id, all lists and SNRs, and the seed. The SNR is
that of the powers over the whole utterance; the mix has the power of the clean speech; a noise shorter than the
utterance is looped. Digital silence is left without noise. Of blocks that utils/subsegment_data_dir.sh has cut, each is
an utterance in all this; with --snr-over, noise is drawn for the utterances that they are of, runs on from block to
block, and has the SNR of the powers, at 16 kHz, over all of an utterance.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from ser.base.errors import SerError, run_main
from ser.base.files import Marker, atomic_path, file_identity, fingerprint, write_text
from ser.base.progress import progress
from ser.base.words import some
from ser.data.audio import AudioError, UtteranceReader
from ser.data.copies import OF_CLEAN_AUDIO, copied_tables, is_whole, write_copy
from ser.data.datadir import TABLES, DataDir, validate
from ser.data.durations import durations
from ser.data.segments import utterance_of
from ser.features.frontend import MfccOptions, read_conf
from ser.features.noise import (
    NoiseReader,
    NoiseSpec,
    draw_condition,
    draw_noise,
    mix,
    parse_snr,
    read_noise_list,
    read_utt2noise,
)
from ser.features.noise_over_utterance import spread_over_blocks


def parse_snrs(text: str) -> list[float]:
    """Read a blank-separated list of SNRs in dB. Raises SerError for none, one that is no number, one given twice."""
    snrs = [parse_snr(word, "--snr") for word in text.split() or [text]]
    if len(set(snrs)) < len(snrs):
        raise SerError(f"--snr {text!r}: an SNR is given twice; name each once")
    return snrs


def read_noise_lists(text: str) -> dict[str, dict[str, str]]:
    """Read the noise lists of a blank-separated list of them, by their names, which are the files' without extension.

    Raises:
        SerError: none is named, two have the same name, or as `read_noise_list`.
    """
    lists: dict[str, dict[str, str]] = {}
    for path in map(Path, text.split()):
        if path.stem in lists:
            raise SerError(f"{path}: another noise list is called {path.stem} too; rename one of them")
        lists[path.stem] = read_noise_list(path)
    if not lists:
        raise SerError("no noise list named")
    return lists


def conditions(lists: Iterable[str], snrs: Sequence[float]) -> dict[str, tuple[str, float]]:
    """Return every pair of noise list (by name) and SNR in dB, by the suffix that ids of its copies get.

    Raises:
        SerError: two lists are of the same kind, which is their name without _train or _test.
    """
    kinds: dict[str, str] = {}
    for name in lists:
        kind = re.sub("_(train|test)$", "", name)
        if kind in kinds:
            raise SerError(f"noise lists {kinds[kind]} and {name} would give copies the same ids; rename one of them")
        kinds[kind] = name
    return {f"-{kind}-snr{snr:g}": (name, snr) for kind, name in kinds.items() for snr in snrs}


def write_wavs(out_dir: Path, folder: Path, rate: int) -> None:
    """Write the mix of every noisy utterance to `<folder>/<utterance>.wav`, 16 bits at `rate` Hz.

    Files that an interrupted run with the same noise and rate wrote are kept. Samples beyond 16 bits are clipped and
    counted, because scaling them into range would change the level that the features see.
    """
    specs = read_utt2noise(out_dir / "utt2noise")
    digest = fingerprint(*(out_dir / name for name in ("utt2noise", "wav.scp", "segments")), rate)
    made_by = folder / ".made_by"
    if not made_by.is_file() or made_by.read_text() != digest:
        for utterance in specs:
            (folder / f"{utterance}.wav").unlink(missing_ok=True)
        write_text(made_by, digest)
    missing = [utterance for utterance in specs if not (folder / f"{utterance}.wav").is_file()]
    noise = NoiseReader(rate)
    clipped: dict[str, int] = {}
    unreadable: list[AudioError] = []
    utterances = UtteranceReader(out_dir, rate) if missing else ()
    for utterance, speech in progress(utterances, len(specs), f"writing {folder}"):
        path = folder / f"{utterance}.wav"
        if path.is_file():
            continue
        if isinstance(speech, AudioError):
            unreadable.append(speech)
            continue
        spec = specs[utterance]
        mixed = np.rint(mix(speech.samples, noise.read(spec, len(speech.samples)), spec.snr))
        samples = np.clip(mixed, -32768, 32767)
        if count := int(np.count_nonzero(samples != mixed)):
            clipped[utterance] = count
        with atomic_path(path) as temporary:
            soundfile.write(temporary, samples.astype(np.int16), rate, subtype="PCM_16", format="WAV")
    print(f"{folder}: {len(missing) - len(unreadable)} mixes written, {len(specs) - len(missing)} were there already")
    if clipped:
        worst = max(clipped, key=clipped.__getitem__)
        print(
            f"warning: {folder}: {sum(clipped.values())} samples in {len(clipped)} of {len(missing)} mixes are beyond "
            f"16 bits and were clipped ({worst}: {clipped[worst]}); the features are not affected",
            file=sys.stderr,
        )
    if unreadable:
        raise SerError(f"{len(unreadable)} of {len(specs)} utterances could not be mixed: {unreadable[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snr", default="10", metavar="DBs",
                        help="signal-to-noise ratio in dB, or several: '10 5 0' (default: 10)")
    parser.add_argument("--each", choices=("true", "false"), default="false",
                        help="a copy of every utterance for each list and SNR, instead of one copy (default: false)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed draws other noise (default: 0)")
    parser.add_argument("--suffix", default="", metavar="S",
                        help="utterance ids get -S appended, speakers stay; needed when the copy is to be combined "
                        "with <data>. Without it ids stay, except with --each true")
    parser.add_argument("--snr-over", default="", metavar="DIRs",
                        help="data directories of whole utterances that <data> has blocks of: the SNR is over these")
    parser.add_argument("--write-wav", type=Path, metavar="DIR",
                        help="also write the mixes there as 16-bit WAV, to listen to; those there already are kept")
    parser.add_argument("--mfcc-config", type=Path, metavar="FILE",
                        help="whose --sample-frequency --write-wav mixes at (default: conf/mfcc_8k.conf)",
                        default=Path(__file__).resolve().parent.parent / "conf" / "mfcc_8k.conf")
    parser.add_argument("data_dir", type=Path, metavar="<data>")
    parser.add_argument("noise_lists", metavar="<noise-list>",
                        help="lines '<noise id> <audio file>'; one list or, blank-separated, several")
    parser.add_argument("out_dir", type=Path, metavar="<out-data>")
    arguments = parser.parse_args()
    snrs = parse_snrs(arguments.snr)
    if not re.fullmatch(r"[\w.-]*", arguments.suffix, re.ASCII):
        raise SerError(f"--suffix {arguments.suffix!r}: letters, digits, '.', '_' and '-' only")
    if arguments.each == "true" and arguments.suffix:
        raise SerError("--each true gives copies suffixes of its own; leave out --suffix")
    out_dir = arguments.out_dir
    if out_dir.resolve() == arguments.data_dir.resolve():
        raise SerError(f"{out_dir}: the copy would overwrite the data directory; give it another name")

    validate(arguments.data_dir, need=("wav.scp",))
    data = DataDir(arguments.data_dir)
    if data.has("utt2noise"):
        raise SerError(f"{data.path}: is a noisy copy itself (it has utt2noise); copy the clean data")
    lists = read_noise_lists(arguments.noise_lists)
    # From the suffix of a copy's ids to its noise list and SNR, or to None where each utterance draws them.
    copies: dict[str, tuple[str, float] | None] = {f"-{arguments.suffix}" if arguments.suffix else "": None}
    if arguments.each == "true":
        copies = {**conditions(lists, snrs)}
    known = set(data.utterances)
    if taken := {utterance + suffix for utterance in known for suffix in filter(None, copies)} & known:
        raise SerError(f"{data.path}: {min(taken)} is there already; choose another --suffix, or rename that utterance")

    whole = list(map(Path, arguments.snr_over.split()))
    for path in whole:
        validate(path, need=("wav.scp",))
    marker = Marker(out_dir / ".augment_data_dir.done", fingerprint(
        *(arguments.data_dir / name for name in TABLES if name not in OF_CLEAN_AUDIO), lists,
        *(file_identity(path) for noises in lists.values() for path in noises.values()),
        snrs, arguments.seed, list(copies),
        *(path / name for path in whole for name in ("wav.scp", "segments", "utt2dur")),
    ))
    tables = copied_tables(data, copies, with_vad=True)
    if marker.is_current() and is_whole(out_dir, ("utt2noise", *tables)):
        print(f"{out_dir}: noisy copy of {data.path} is up to date")
    else:
        seconds = {key: value for path in whole or [data.path] for key, value in durations(DataDir(path)).items()}
        sources = sorted(set(map(utterance_of, data.utterances))) if whole else data.utterances
        if missing := [utterance for utterance in sources if utterance not in seconds]:
            raise SerError(f"--snr-over {arguments.snr_over}: has no {some(missing, 5)}, which {data.path} has blocks "
                           "of; name the directories that these were cut from")
        drawn: dict[str, dict[str, NoiseSpec]] = {}
        for utterance in progress(sources, len(sources), "drawing noise"):
            drawn[utterance] = {}
            for suffix, condition in copies.items():
                name, snr = condition or draw_condition(lists, snrs, utterance, arguments.seed)
                drawn[utterance][suffix] = draw_noise(
                    lists[name], utterance, seconds[utterance], snr, name, arguments.seed
                )
        if whole:
            specs = spread_over_blocks(data.path, whole, drawn)
        else:
            specs = {utterance + suffix: spec for utterance, of in drawn.items() for suffix, spec in of.items()}
        marker.clear()
        write_copy(out_dir, {"utt2noise": specs, **tables})
        marker.write(())
        files = len({spec.path for spec in specs.values()})
        vad = "the clean recordings' VAD" if "vad.scp" in tables else "no VAD yet"
        levels = ", ".join(f"{snr:g}" for snr in snrs)
        print(f"{out_dir}: {len(specs)} utterances, {len(copies)} for each of {data.path}, at {levels} dB, "
              f"{files} noise files used, {vad}")
    if arguments.write_wav is not None:
        write_wavs(out_dir, arguments.write_wav, read_conf(arguments.mfcc_config, MfccOptions).rate)


if __name__ == "__main__":
    run_main(main)
