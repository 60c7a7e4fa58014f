#!/usr/bin/env python3
"""Copies of a data directory in other styles, EmoAug's training data, or in other emotions, its rivals'.

Example: steps/convert_data_dir.sh --nj 4 --cmd "$train_cmd" --model exp/emoaug/fold1 --vocoder models/hifigan
           --copies 4 data/fold1/train data/fold1/train_emoaug4

What is made depends on what was trained. By a network of synthesis each utterance of <data> is said anew in the style
of another of the same speaker and emotion, never in its own. <data> has what the network was trained on
(steps/make_mel.sh, extract_units.sh, make_styles.sh, by the same vocoder, encoder, codebook and speaker encoder),
wav.scp, utt2spk and utt2emo. A copy has the silence before and after it that its source has: without it a recogniser
takes even a recording itself for another emotion's. By CycleGAN or StarGAN each neutral utterance is turned into every
other emotion of the training, whose last network is taken; <data> has WORLD's features (steps/make_world.sh). Only
neutral utterances are sources, since every one in every other emotion would be many times the data.

<out-data> gets wav.scp (16 bits, in <out-data>/wav), utt2spk, utt2emo, text where there is one, utt2dur, and utt2uniq,
the utterance that a copy <utt>-emoaug1 or <utt>-cyclegan-angry is of. Copies in other styles have utt2ref, the one
whose style it is; of those in other emotions utt2emo has that emotion. Give it training data alone: a copy of a test
utterance would be a leak.

A copy in another style that does not stop within twice its source, is shorter than half of it or silent, or whose
attention does not read all units in order, is rejected and tried again in another style, three times in all; then it
is given up. A copy in another emotion is given up where it is silent or no sound at all. Faults and copies given up
are counted, and listed in <log>/convert_<name>.rejected. An utterance without another of its speaker and emotion has
no copies in other styles, and is counted. What a copy is depends on its utterance, its number and the seed, or its
emotion (and on what else is in <data> by rounding alone). What is there is not made again: a run that was killed goes
on after its last 32 copies. A GPU is used where the job sees one.
"""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ser.apps.converted import Batch, Converter, Copy
from ser.augment.emotion_copies import plan_emotion_copies
from ser.augment.style_copies import plan_copies
from ser.base.arguments import positive
from ser.base.errors import SerError, run_main
from ser.base.files import Marker, file_identity, fingerprint, remove_leftovers
from ser.base.kaldi_tables import write_table
from ser.base.progress import progress
from ser.data import rearrange
from ser.data.arks import ark_identities
from ser.data.audio import AudioError, UtteranceReader
from ser.data.datadir import HOW_MADE, DataDir, spk2utt, validate
from ser.data.labels import NEUTRAL
from ser.features.feature_step import add_job_arguments, run_jobs
from ser.nets.speechbrain_folder import HYPERPARAMS
from ser.nets.vocoder_folder import GENERATOR, MelOptions, read_vocoder_folder
from ser.training.options import TrainOptions
from ser.training.run_folder import CONFIG, FINISHED
from ser.training.systems import SYNTHESIS

if TYPE_CHECKING:
    import numpy as np

_BATCH = 32  # copies that are made side by side
_CARRIED = ("utt2spk", "utt2emo", "text", "utt2lang")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_job_arguments(parser)
    parser.add_argument("--nj", type=positive, default=4, metavar="N", help="number of jobs (default: 4)")
    parser.add_argument("--model", type=Path, required=True, metavar="RUN",
                        help="folder of a finished training of synthesis, CycleGAN or StarGAN, or a checkpoint")
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
    conversion = _conversion(args)
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


class _Conversion(ABC):
    """A conversion of a data directory: its copies in batches, which are the same for any number of jobs."""

    tables: tuple[str, ...]  # that it reads
    recordings = False  # whether it reads them, too
    sets: str  # the table that says what a copy took, an utterance's style or an emotion

    def __init__(self, args: argparse.Namespace, checkpoint: Path) -> None:
        self.args, self.folder, self.checkpoint = args, args.out_dir.resolve() / "wav", checkpoint
        validate(args.data_dir, need=(*self.tables, *("wav.scp",) * self.recordings))
        self.data = data = DataDir(args.data_dir)
        if copy := [name for name in HOW_MADE if data.has(name)]:
            raise SerError(f"{data.path}: is a copy itself (it has {copy[0]}); convert the original data")
        if not checkpoint.is_file():
            raise SerError(f"{checkpoint}: no such model; train one (run.sh --task synthesis)")
        indices = [name for name in self.tables if name.endswith(".scp")]
        digest = fingerprint(
            checkpoint, *(data.path / name for name in self.tables), *sorted((data.path / "conf").glob("*.conf")),
            *(sorted(ark_identities(data.path / name, data.table(name)).values()) for name in indices), args.reject,
            *self.options())
        self.marker = Marker(args.out_dir / ".convert_data_dir.done", digest)
        copies = self.plan()
        frames = data.table("utt2num_frames")
        copies.sort(key=lambda copy: (int(frames[copy.utterance]), copy.name))  # like lengths side by side
        self.batches = [Batch(begin // _BATCH, copies[begin : begin + _BATCH], self.folder, digest)
                        for begin in range(0, len(copies), _BATCH)]

    @abstractmethod
    def options(self) -> list[object]:
        """Return what decides the copies besides the model, the data and --reject."""

    @abstractmethod
    def plan(self) -> list[Copy]:
        """Return the copies to make. Raises SerError if there are none."""

    @abstractmethod
    def converter(self, utterances: Collection[str]) -> Converter:
        """Return what makes those of some utterances. Raises SerError if the model is of other data or another kind."""

    def is_whole(self) -> bool:
        """Return whether the copies' tables and recordings are there."""
        try:
            return bool(validate(self.args.out_dir, need=("wav.scp", "utt2emo", self.sets)))
        except SerError:
            return False

    def run(self, job: int, jobs: int) -> None:
        """Do the batches of a job."""
        own = [batch for batch in self.batches[job - 1 :: jobs] if batch.outcomes() is None]
        if own:
            converter = self.converter({copy.utterance for batch in own for copy in batch.copies})
            for batch in progress(own, len(own), "converting", "batch"):
                batch.run(converter)

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
        write[self.sets] = {name: outcome.ref for name, outcome in good.items()}
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
        seconds, silence = (sum(getattr(each, name) for each in good.values()) for name in ("seconds", "silence"))
        spent = {part: sum(each[part] for _, each in found) / (seconds - silence) for part in ("network", "vocoder")}
        print(f"{self.args.out_dir}: {len(good)} copies of {len(self.data.utterances)} utterances, "
              f"{seconds / 3600:.2f} h, {len(outcomes) - len(good)} given up{self.left_out()}; real-time factor "
              f"{spent['network']:.3f} (network) + {spent['vocoder']:.3f} (vocoder)")
        if faults:
            print(f"attempts rejected, listed in {log}:{counted}")

    def left_out(self) -> str:
        """Return what to say of utterances without copies."""
        return ""


class _OfStyles(_Conversion):
    """EmoAug's: each utterance in the style of others."""

    tables = ("utt2spk", "utt2emo", "utt2num_frames", "units.txt", "styles.scp")
    recordings, sets = True, "utt2ref"

    def options(self) -> list[object]:
        args = self.args
        self.vocoder = read_vocoder_folder(args.vocoder) if args.vocoder else None
        files = [args.vocoder / HYPERPARAMS, args.vocoder / GENERATOR] if args.vocoder else []
        recordings = [self.data.path / "wav.scp", self.data.path / "segments"]
        return [*recordings, *map(file_identity, files), args.copies, args.balance, args.seed]

    def plan(self) -> list[Copy]:
        args, data = self.args, self.data
        copies, self.alone = plan_copies(
            data.table("utt2spk"), data.table("utt2emo"), args.copies, args.balance == "true", args.seed)
        if not copies:
            raise SerError(f"{data.path}: no utterance has another of its speaker and emotion, whose style it could "
                           "take; it has nothing to convert")
        return copies

    def left_out(self) -> str:
        return f", {len(self.alone)} utterances without another of their speaker and emotion"

    def converter(self, utterances: Collection[str]) -> Converter:
        import torch

        from ser.apps.convert import Converter
        from ser.features.directories import require_front_end
        from ser.features.speech_store import made_by, read_styles
        from ser.features.units import read_units
        from ser.nets.vocoder import load_vocoder
        from ser.training.checkpoint import build_model, load_checkpoint

        data, device = self.data, torch.device("cuda" if torch.cuda.is_available() else "cpu")
        checkpoint = load_checkpoint(self.checkpoint)
        if checkpoint["options"]["system"] != SYNTHESIS:
            raise SerError(f"{self.checkpoint}: is no model of synthesis; train one (run.sh --task synthesis)")
        require_front_end(
            made_by([data.path]), checkpoint["front_end"], data.path, self.checkpoint, "make its spectrograms, units "
            "and styles by the same folders (steps/make_mel.sh, extract_units.sh, make_styles.sh), or train it again")
        network = build_model(checkpoint, device)
        mel = self._mel_options()
        units, _ = read_units([data.path], data.utterances)
        heard = dict(zip(data.utterances, read_styles([data.path], data.utterances), strict=True))

        @cache
        def style(utterance: str) -> torch.Tensor:
            return network.style_of(torch.from_numpy(heard[utterance]))

        return Converter(
            network, load_vocoder(self.vocoder, mel).to(device), units, style,
            {utterance: int(frames) for utterance, frames in data.table("utt2num_frames").items()},
            self._silences(utterances, mel.sample_rate), mel.sample_rate, self.args.seed,
            self.args.reject == "true", device)

    def _silences(self, utterances: Collection[str], rate: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return what utterances have before and after their speech, (n,) and (m,) int16 at `rate`."""
        from ser.features.mel import silence_around

        found, reader = {}, UtteranceReader(self.data.path, rate, only=utterances)
        for utterance, waveform in progress(reader, len(reader), "reading silences", "utt"):
            if isinstance(waveform, AudioError):
                raise SerError(f"{waveform}; mend it, or remove it from the lists")
            found[utterance] = tuple(each.round().astype("int16") for each in silence_around(waveform.samples, rate))
        return found

    def _mel_options(self) -> MelOptions:
        from ser.features.frontend import read_conf
        from ser.features.mel import CONF

        made = read_conf(self.data.path / CONF, MelOptions)
        if self.vocoder and self.vocoder.mel != made:
            theirs, ours = (" ".join(options.describe().split()) for options in (self.vocoder.mel, made))
            raise SerError(f"{self.vocoder.path}: makes waveforms of {theirs}, and {self.data.path / CONF} has {ours}; "
                           "name the vocoder that the spectrograms were made for (steps/make_mel.sh --vocoder)")
        return made


class _OfEmotions(_Conversion):
    """CycleGAN's and StarGAN's: each neutral utterance in the other emotions."""

    tables = ("utt2spk", "utt2emo", "utt2num_frames", "feats.scp")
    sets = "utt2emo"

    def options(self) -> list[object]:
        for name, default in (("vocoder", None), ("copies", 1), ("balance", "false"), ("seed", 0)):
            if getattr(self.args, name) != default:
                raise SerError(f"--{name}: is of copies in other styles; {self.checkpoint} makes other emotions")
        return []

    def plan(self) -> list[Copy]:
        from ser.training.checkpoint import load_checkpoint

        self.trained = load_checkpoint(self.checkpoint)
        if self.trained["options"]["system"] != "world":
            raise SerError(f"{self.checkpoint}: is no network that {self.checkpoint.parent / CONFIG} says; train again")
        emotions = [name for name in self.trained["classes"] if name != NEUTRAL]
        copies = plan_emotion_copies(self.data.table("utt2emo"), emotions, self.trained["options"]["network"])
        if not copies:
            raise SerError(f"{self.data.path}: has no {NEUTRAL} utterance to turn into {', '.join(emotions)}")
        return copies

    def converter(self, utterances: Collection[str]) -> Converter:
        import torch

        from ser.apps.convert_emotion import EmotionConverter
        from ser.features.directories import front_end, require_front_end
        from ser.training.checkpoint import build_model

        require_front_end(
            front_end([self.data.path]), self.trained["front_end"], self.data.path, self.checkpoint, "make its "
            "features by steps/make_world.sh of this version, and train again")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return EmotionConverter(build_model(self.trained, device), self.trained["classes"],
                                self.data.path / "feats.scp", self.args.reject == "true", device)


def _conversion(args: argparse.Namespace) -> _Conversion:
    """Return the conversion that a model is for, by the config.yaml beside it."""
    folder = args.model if args.model.is_dir() else args.model.parent
    system = TrainOptions.read([folder / CONFIG]).system if (folder / CONFIG).is_file() else SYNTHESIS
    if system != "world":
        return _OfStyles(args, folder / "best.pt" if args.model.is_dir() else args.model)
    if args.model.is_dir() and not (folder / FINISHED).exists():
        raise SerError(f"{folder}: its training has not finished; finish it, or name {folder / 'last.pt'}")
    return _OfEmotions(args, folder / "last.pt" if args.model.is_dir() else args.model)


if __name__ == "__main__":
    run_main(main)
