"""Conversions of a data directory: copies in other styles or emotions, made in batches by any number of jobs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ser.apps.converted import Batch, Converter, Copy
from ser.augment.emotion_copies import plan_emotion_copies
from ser.augment.style_copies import plan_copies
from ser.base.errors import SerError
from ser.base.files import Marker, file_identity, fingerprint
from ser.base.kaldi_tables import write_table
from ser.base.progress import progress
from ser.data import rearrange
from ser.data.arks import ark_identities
from ser.data.audio import AudioError, UtteranceReader
from ser.data.datadir import HOW_MADE, DataDir, spk2utt, validate
from ser.data.labels import NEUTRAL
from ser.nets.speechbrain_folder import HYPERPARAMS
from ser.nets.vocoder_folder import GENERATOR, MelOptions, read_vocoder_folder
from ser.training.options import TrainOptions
from ser.training.run_folder import CONFIG, FINISHED
from ser.training.systems import SYNTHESIS

if TYPE_CHECKING:
    import numpy as np

_BATCH = 32  # copies that are made side by side
_CARRIED = ("utt2spk", "utt2emo", "text", "utt2lang")


@dataclass(frozen=True)
class Settings:
    """What is converted, and how.

    Attributes:
        data: the data directory.
        out: where the copies go.
        vocoder: folder of a HiFi-GAN in SpeechBrain's format; None for Griffin and Lim's algorithm.
        copies: of each utterance.
        balance: whether rarer emotions have more of them, so that all are as many.
        seed: of the styles that are drawn.
        reject: whether a copy that has a fault is tried again, and given up in the end.
    """

    data: Path
    out: Path
    vocoder: Path | None = None
    copies: int = 1
    balance: bool = False
    seed: int = 0
    reject: bool = True


def conversion_of(model: Path, settings: Settings) -> Conversion:
    """Return the conversion that a model is for, by the config.yaml beside it.

    Args:
        model: folder of a finished training of synthesis, CycleGAN or StarGAN, or a checkpoint.
        settings: of the conversion.

    Raises:
        SerError: the model or a table is missing, the training has not finished, the settings are not for this
            model, or there is nothing to convert.
    """
    folder = model if model.is_dir() else model.parent
    system = TrainOptions.read([folder / CONFIG]).system if (folder / CONFIG).is_file() else SYNTHESIS
    if system != "world":
        return _OfStyles(settings, folder / "best.pt" if model.is_dir() else model)
    if model.is_dir() and not (folder / FINISHED).exists():
        raise SerError(f"{folder}: its training has not finished; finish it, or name {folder / 'last.pt'}")
    return _OfEmotions(settings, folder / "last.pt" if model.is_dir() else model)


class Conversion(ABC):
    """A conversion of a data directory: its copies in batches, which are the same for any number of jobs."""

    tables: tuple[str, ...]  # that it reads
    arks: tuple[str, ...]  # likewise; those that say where in arks something is
    sets: str  # the table that says what a copy took, an utterance's style or an emotion

    def __init__(self, settings: Settings, checkpoint: Path) -> None:
        self.settings, self.checkpoint = settings, checkpoint
        self.folder = settings.out.resolve() / "wav"
        if settings.out.resolve() == settings.data.resolve():
            raise SerError(f"{settings.out}: the copies would overwrite the data directory; give it another name")
        tables = (*self.tables, *self.arks)
        validate(settings.data, need=tables)
        self.data = data = DataDir(settings.data)
        if copy := [name for name in HOW_MADE if data.has(name)]:
            raise SerError(f"{data.path}: is a copy itself (it has {copy[0]}); convert the original data")
        if not checkpoint.is_file():
            raise SerError(f"{checkpoint}: no such model; train one (run.sh --task synthesis)")
        digest = fingerprint(
            checkpoint, *(data.path / name for name in tables), *sorted((data.path / "conf").glob("*.conf")),
            *(sorted(ark_identities(data.path / name, data.table(name)).values()) for name in self.arks),
            str(settings.reject).lower(), *self.options())
        self.marker = Marker(settings.out / ".convert_data_dir.done", digest)
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
            return bool(validate(self.settings.out, need=("wav.scp", "utt2emo", self.sets)))
        except SerError:
            return False

    def run(self, job: int, jobs: int) -> None:
        """Do the batches of a job."""
        own = [batch for batch in self.batches[job - 1 :: jobs] if batch.outcomes() is None]
        if own:
            converter = self.converter({copy.utterance for batch in own for copy in batch.copies})
            for batch in progress(own, len(own), "converting", "batch"):
                batch.run(converter)

    def collect(self, log: Path) -> None:
        """Write the tables of the copies that are good, list in `log` what was rejected, and print how it went.

        Raises:
            SerError: a job has not finished, or all copies were rejected.
        """
        found = [batch.outcomes() for batch in self.batches]
        if None in found:
            raise SerError(f"{self.settings.out}: a job has not finished; see its log, and run the step again")
        outcomes = {outcome.name: outcome for each, _ in found for outcome in each}
        good = {name: outcome for name, outcome in sorted(outcomes.items()) if outcome.ref}
        rejected = {name: "; ".join(f"{fault} ({ref})" for ref, fault in outcome.faults)
                    for name, outcome in outcomes.items() if outcome.faults}
        log.unlink(missing_ok=True)
        if rejected:
            write_table(log, rejected)
        faults = Counter(fault for outcome in outcomes.values() for _, fault in outcome.faults)
        counted = "".join(f"\n  {count} {fault}" for fault, count in faults.most_common())
        if not good:
            raise SerError(f"{self.settings.out}: all {len(outcomes)} copies were rejected, listed in {log}; train the "
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
        rearrange.write(self.settings.out, write, {})
        for path in self.folder.glob("*.wav"):
            if path.stem not in good:
                path.unlink()
        for path in self.folder.glob("batch*.json"):
            if int(path.stem.removeprefix("batch")) >= len(self.batches):
                path.unlink()
        self.marker.write(())  # steps may since drop utterances, and a rerun must not undo that
        seconds, silence = (sum(getattr(each, name) for each in good.values()) for name in ("seconds", "silence"))
        spent = {part: sum(each[part] for _, each in found) / (seconds - silence) for part in ("network", "vocoder")}
        print(f"{self.settings.out}: {len(good)} copies of {len(self.data.utterances)} utterances, "
              f"{seconds / 3600:.2f} h, {len(outcomes) - len(good)} given up{self.left_out()}; real-time factor "
              f"{spent['network']:.3f} (network) + {spent['vocoder']:.3f} (vocoder)")
        if faults:
            print(f"attempts rejected, listed in {log}:{counted}")

    def left_out(self) -> str:
        """Return what to say of utterances without copies."""
        return ""


class _OfStyles(Conversion):
    """EmoAug's: each utterance in the style of others."""

    tables, arks = ("utt2spk", "utt2emo", "utt2num_frames", "units.txt", "wav.scp"), ("styles.scp",)
    sets = "utt2ref"

    def options(self) -> list[object]:
        settings, vocoder = self.settings, self.settings.vocoder
        self.vocoder = read_vocoder_folder(vocoder) if vocoder else None
        files = [vocoder / HYPERPARAMS, vocoder / GENERATOR] if vocoder else []
        segments = self.data.path / "segments"
        return [segments, *map(file_identity, files), settings.copies, settings.balance, settings.seed]

    def plan(self) -> list[Copy]:
        settings, data = self.settings, self.data
        copies, self.alone = plan_copies(
            data.table("utt2spk"), data.table("utt2emo"), settings.copies, settings.balance, settings.seed)
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
            self._silences(utterances, mel.sample_rate), mel.sample_rate, self.settings.seed,
            self.settings.reject, device)

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


class _OfEmotions(Conversion):
    """CycleGAN's and StarGAN's: each neutral utterance in the other emotions."""

    tables, arks = ("utt2spk", "utt2emo", "utt2num_frames"), ("feats.scp",)
    sets = "utt2emo"

    def options(self) -> list[object]:
        for name in ("vocoder", "copies", "balance", "seed"):
            if getattr(self.settings, name) != getattr(Settings, name):
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
                                self.data.path / "feats.scp", self.settings.reject, device)
