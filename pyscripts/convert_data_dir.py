#!/usr/bin/env python3
"""Copies of a data directory in other styles: EmoAug's training data.

Example: steps/convert_data_dir.sh --nj 4 --cmd "$train_cmd" --model exp/emoaug/fold1 --vocoder models/hifigan
           --copies 4 data/fold1/train data/fold1/train_emoaug4

Each utterance of <data> is said anew in the style of another of the same speaker and emotion, never in its own. <data>
has what the network was trained on (steps/make_mel.sh, extract_units.sh, extract_styles.sh, by the same vocoder,
encoder, codebook and speaker encoder), utt2spk and utt2emo. <out-data> gets wav.scp (16 bits, in <out-data>/wav),
utt2spk, utt2emo, text where there is one, utt2dur, utt2uniq, the utterance that a copy <utt>-emoaug1 is of, and
utt2ref, the one whose style it has. Give it training data alone: a copy of a test utterance would be a leak.

A copy that does not stop within twice its source, is shorter than half of it or silent, or whose attention does not
read all units in order, is rejected and tried again in another style, three times in all; then it is given up. Faults
and copies given up are counted, and listed in <log>/convert_<name>.rejected. An utterance without another of its
speaker and emotion has no copies, and is counted. What a copy is depends on its utterance, its number and the seed (and
on what else is in <data> by rounding alone). What is there is not made again: a run that was killed goes on after its
last 32 copies. A GPU is used where the job sees one.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from ser.apps.converted import Batch
from ser.augment.style_copies import plan_copies
from ser.base.arguments import positive
from ser.base.errors import SerError, run_main
from ser.base.files import Marker, file_identity, fingerprint, remove_leftovers
from ser.base.kaldi_tables import write_table
from ser.base.progress import progress
from ser.data import rearrange
from ser.data.arks import ark_identities
from ser.data.datadir import HOW_MADE, DataDir, spk2utt, validate
from ser.features.feature_step import add_job_arguments, run_jobs
from ser.nets.speechbrain_folder import HYPERPARAMS
from ser.nets.vocoder_folder import GENERATOR, MelOptions, read_vocoder_folder

_BATCH = 32  # copies that are made side by side
_TABLES = ("utt2spk", "utt2emo", "utt2num_frames", "units.txt", "styles.scp")
_CARRIED = ("utt2spk", "utt2emo", "text", "utt2lang")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_job_arguments(parser)
    parser.add_argument("--nj", type=positive, default=4, metavar="N", help="number of jobs (default: 4)")
    parser.add_argument("--model", type=Path, required=True, metavar="RUN",
                        help="folder of a finished training of synthesis, or a checkpoint")
    parser.add_argument("--vocoder", type=Path, metavar="DIR", help="folder of a HiFi-GAN in SpeechBrain's format "
                        "(default: Griffin and Lim's algorithm)")
    parser.add_argument("--copies", type=positive, default=1, metavar="N", help="of each utterance (default: 1)")
    parser.add_argument("--balance", choices=("true", "false"), default="false",
                        help="more copies of rarer emotions, so that all are as many (default: false)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed draws other styles (default: 0)")
    parser.add_argument("--reject", choices=("true", "false"), default="true",
                        help="false: keep what has a fault, if it is 0.1 s long, to hear it (default: true)")
    parser.add_argument("data_dir", type=Path, metavar="<data>", help="data directory")
    parser.add_argument("out_dir", type=Path, metavar="<out-data>", help="where the copies go")
    parser.add_argument("log_dir", type=Path, nargs="?", metavar="<log>",
                        help="where logs go (default: <out-data>/log)")
    args = parser.parse_args()
    args.log_dir = args.log_dir or args.out_dir / "log"
    if args.out_dir.resolve() == args.data_dir.resolve():
        raise SerError(f"{args.out_dir}: the copies would overwrite the data directory; give it another name")
    conversion = _Conversion(args)
    if args.job is not None:
        conversion.run(args.job, args.nj)
    elif conversion.marker.is_current() and conversion.is_whole():
        print(f"{args.out_dir}: converted copies of {args.data_dir} are up to date")
    else:
        conversion.marker.clear()
        remove_leftovers(conversion.folder)
        number = min(args.nj, len(conversion.batches))
        run_jobs(args.cmd, number, args.log_dir / f"convert_{args.out_dir.resolve().name}.JOB.log")
        conversion.collect()


class _Conversion:
    """A conversion of a data directory: its copies in batches, which are the same for any number of jobs."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.folder = args, args.out_dir.resolve() / "wav"
        validate(args.data_dir, need=_TABLES)
        self.data = data = DataDir(args.data_dir)
        if copy := [name for name in HOW_MADE if data.has(name)]:
            raise SerError(f"{data.path}: is a copy itself (it has {copy[0]}); convert the original data")
        self.checkpoint = args.model / "best.pt" if args.model.is_dir() else args.model
        if not self.checkpoint.is_file():
            raise SerError(f"{self.checkpoint}: no such model; train one (run.sh --task synthesis)")
        self.vocoder = read_vocoder_folder(args.vocoder) if args.vocoder else None
        files = [args.vocoder / HYPERPARAMS, args.vocoder / GENERATOR] if args.vocoder else []
        styles = data.path / "styles.scp"
        digest = fingerprint(
            self.checkpoint, *map(file_identity, files), *(data.path / name for name in _TABLES),
            *sorted((data.path / "conf").glob("*.conf")),
            sorted(ark_identities(styles, data.table("styles.scp")).values()), args.copies, args.balance, args.seed,
            args.reject)
        self.marker = Marker(args.out_dir / ".convert_data_dir.done", digest)
        copies, self.alone = plan_copies(
            data.table("utt2spk"), data.table("utt2emo"), args.copies, args.balance == "true", args.seed)
        if not copies:
            raise SerError(f"{data.path}: no utterance has another of its speaker and emotion, whose style it could "
                           "take; it has nothing to convert")
        frames = data.table("utt2num_frames")
        copies.sort(key=lambda copy: (int(frames[copy.utterance]), copy.name))  # like lengths side by side
        self.batches = [Batch(begin // _BATCH, copies[begin : begin + _BATCH], self.folder, digest)
                        for begin in range(0, len(copies), _BATCH)]

    def is_whole(self) -> bool:
        """Return whether the copies' tables and recordings are there."""
        try:
            return "utt2ref" in validate(self.args.out_dir, need=("wav.scp", "utt2emo", "utt2ref"))
        except SerError:
            return False

    def run(self, job: int, jobs: int) -> None:
        """Do the batches of a job."""
        converter = None
        own = self.batches[job - 1 :: jobs]
        for batch in progress(own, len(own), "converting", "batch"):
            if batch.outcomes() is None:
                converter = converter or self._converter()
                batch.run(converter)

    def _converter(self):
        import torch

        from ser.apps.convert import Converter
        from ser.features.speech_store import made_by, read_styles
        from ser.features.units import read_units
        from ser.nets.synthesis import Synthesiser
        from ser.nets.vocoder import load_vocoder
        from ser.training.checkpoint import load_model

        data, device = self.data, torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network, checkpoint = load_model(self.checkpoint, device)
        if not isinstance(network, Synthesiser):
            raise SerError(f"{self.checkpoint}: is no model of synthesis; train one (run.sh --task synthesis)")
        trained, made = checkpoint["front_end"], made_by([data.path])
        if trained != made:
            theirs, ours = set(trained.splitlines()), set(made.splitlines())
            raise SerError(f"{data.path}: made with {' '.join(sorted(ours - theirs)) or 'nothing'}, and "
                           f"{self.checkpoint} was trained on data of {' '.join(sorted(theirs - ours)) or 'nothing'}; "
                           "make its spectrograms, units and styles by the same folders (steps/make_mel.sh, "
                           "extract_units.sh, extract_styles.sh)")
        mel = self._mel_options()
        units, _ = read_units([data.path], data.utterances)
        styles = dict(zip(data.utterances, read_styles([data.path], data.utterances), strict=True))
        return Converter(
            network, load_vocoder(self.vocoder, mel).to(device), units, styles,
            {utterance: int(frames) for utterance, frames in data.table("utt2num_frames").items()},
            mel.sample_rate, self.args.seed, self.args.reject == "true", device)

    def _mel_options(self) -> MelOptions:
        from ser.features.frontend import read_conf
        from ser.features.mel import CONF

        made = read_conf(self.data.path / CONF, MelOptions)
        if self.vocoder and self.vocoder.mel != made:
            theirs, ours = (" ".join(options.describe().split()) for options in (self.vocoder.mel, made))
            raise SerError(f"{self.vocoder.path}: makes waveforms of {theirs}, and {self.data.path / CONF} has {ours}; "
                           "name the vocoder that the spectrograms were made for (steps/make_mel.sh --vocoder)")
        return made

    def collect(self) -> None:
        """Write the tables of the copies that are good, and list what was rejected."""
        found = [batch.outcomes() for batch in self.batches]
        if None in found:
            raise SerError(f"{self.args.out_dir}: a job has not finished; see its log, and run the step again")
        outcomes = {outcome.name: outcome for each, _ in found for outcome in each}
        good = {name: outcome for name, outcome in sorted(outcomes.items()) if outcome.ref}
        rejected = {name: "; ".join(f"{fault} ({ref})" for ref, fault in outcome.faults)
                    for name, outcome in outcomes.items() if outcome.faults}
        log = self.args.log_dir / f"convert_{self.args.out_dir.resolve().name}.rejected"
        log.unlink(missing_ok=True)
        if rejected:
            write_table(log, rejected)
        faults = Counter(fault for outcome in outcomes.values() for _, fault in outcome.faults)
        counted = "".join(f"\n  {count} {fault}" for fault, count in faults.most_common())
        if not good:
            raise SerError(f"{self.args.out_dir}: all {len(outcomes)} copies were rejected, listed in {log}; train the "
                           f"model longer, or hear them with --reject false:{counted}")
        write = {name: {copy: self.data.table(name)[outcome.utterance] for copy, outcome in good.items()}
                 for name in _CARRIED if self.data.has(name)}
        uniq = self.data.table("utt2uniq") if self.data.has("utt2uniq") else {}
        write["utt2uniq"] = {name: uniq.get(outcome.utterance, outcome.utterance) for name, outcome in good.items()}
        write["utt2ref"] = {name: outcome.ref for name, outcome in good.items()}
        write["utt2dur"] = {name: f"{outcome.seconds:.6g}" for name, outcome in good.items()}
        write["wav.scp"] = {name: str(self.folder / f"{name}.wav") for name in good}
        write["spk2utt"] = spk2utt(write["utt2spk"])
        if self.data.has("spk2gender"):
            write["spk2gender"] = {speaker: self.data.table("spk2gender")[speaker] for speaker in write["spk2utt"]}
        rearrange.write(self.args.out_dir, write, {})
        for path in self.folder.glob("*.wav"):
            if path.stem not in good:
                path.unlink()
        for path in self.folder.glob("batch*.json"):
            if int(path.stem.removeprefix("batch")) >= len(self.batches):
                path.unlink()
        self.marker.write(())  # steps may since drop utterances, and a rerun must not undo that
        seconds = sum(outcome.seconds for outcome in good.values())
        spent = {part: sum(each[part] for _, each in found) / seconds for part in ("network", "vocoder")}
        print(f"{self.args.out_dir}: {len(good)} copies of {len(self.data.utterances)} utterances, "
              f"{seconds / 3600:.2f} h, {len(outcomes) - len(good)} given up, {len(self.alone)} utterances without "
              "another of their speaker and emotion; real-time factor "
              f"{spent['network']:.3f} (network) + {spent['vocoder']:.3f} (vocoder)")
        if faults:
            print(f"attempts rejected, listed in {log}:{counted}")


if __name__ == "__main__":
    run_main(main)
