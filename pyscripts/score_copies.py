#!/usr/bin/env python3
"""Judge converted copies of a data directory: are they understood, who do they sound like, and how do they vary?

Example: pyscripts/score_copies.py --whisper models/whisper-base --speaker-encoder models/spkrec-ecapa-voxceleb \\
           --recogniser egs/ravdess/exp/mfcc-tdnn_clean_none_random/fold1/seed0 \\
           data/fold1/train_synthesis data/fold1/train_emoaug4

<data> is what was converted (steps/convert_data_dir.sh), <copies> what came out. Of --number copies, spread over all:

  word errors   in %, of what Whisper hears in them (--whisper); what is said is in <data>/text or, without it, what
                Whisper hears in the recording itself
  own speaker   in %, that are nearest to the mean of their own speaker's recordings, of all speakers of <data>, and the
                mean cosines to their own and to the others (--speaker-encoder)
  emotion       in %, that a trained run hears the emotion of utt2emo in, beside the recordings (--recogniser)
  spread        standard deviations over an utterance's copies: of the mean F0 in semitones, and of the speech's length
                in %

Word errors and, of copies in other styles, emotion stand beside those of recordings of <data> whose speech went through
the same vocoder: the difference is the network's. A copy and its source count once each. The figures are printed, and
written to <copies>/copies.json.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torchaudio.functional import edit_distance

from ser.apps.recogniser import Recogniser
from ser.base.arguments import positive
from ser.base.errors import SerError, run_main
from ser.base.files import write_text
from ser.base.pcm import INT16_SCALE
from ser.base.progress import progress
from ser.data.arks import read_arks
from ser.data.audio import UtteranceReader, Waveform, resample
from ser.data.datadir import validate
from ser.features.frontend import parse_conf
from ser.features.mel import CONF, silence_around, speech_range
from ser.features.world import world
from ser.nets.encoder_folder import RATE
from ser.nets.speaker import SpeakerReader, load_speaker_encoder
from ser.nets.transcriber import Transcriber
from ser.nets.vocoder import load_vocoder
from ser.nets.vocoder_folder import MelOptions, read_vocoder_folder

_SEMITONES = 12 / np.log(2)  # in a unit of log F0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whisper", type=Path, metavar="DIR", help="folder of a Whisper, with tokenizer.json")
    parser.add_argument("--speaker-encoder", type=Path, metavar="DIR", help="as of steps/make_styles.sh")
    parser.add_argument("--recogniser", type=Path, metavar="RUN", help="a finished run, as of pyscripts/predict.py")
    parser.add_argument("--encoder", default="", metavar="DIR", help="of a --recogniser on a frozen encoder: where "
                        "that lies (default: as in training)")
    parser.add_argument("--vocoder", type=Path, metavar="DIR", help="as of steps/convert_data_dir.sh")
    parser.add_argument("--number", type=positive, default=200, metavar="N", help="copies judged (default: 200)")
    parser.add_argument("data", type=Path, metavar="<data>", help="the data directory that was converted")
    parser.add_argument("copies", type=Path, metavar="<copies>", help="its copies")
    args = parser.parse_args()
    if args.whisper and not (args.data / CONF).exists():
        raise SerError(f"{args.data}: has no mel spectrograms, which --whisper hears through the vocoder; name the "
                       "data directory that was converted, of which steps/make_mel.sh has made them")
    judged = Judged(args.data, args.copies, args.number, args.vocoder)
    found = {"copies": len(judged.copies), **judged.spread()}
    if args.whisper:
        found |= judged.word_errors(args.whisper)
    if args.speaker_encoder:
        found |= judged.own_speaker(args.speaker_encoder)
    if args.recogniser:
        found |= judged.emotion(args.recogniser, args.encoder)
    write_text(args.copies / "copies.json", json.dumps(found, indent=1) + "\n")
    print("\n".join(f"{name.replace('_', ' ')}: {value:.4g}" for name, value in found.items()))


class Judged:
    """Copies that are judged, and the recordings that they are of.

    Args:
        data, copies: data directories, of recordings and of their copies.
        number: how many copies, spread over the list; fewer where there are fewer.
        vocoder: folder of a HiFi-GAN; None: Griffin and Lim's algorithm.

    Raises:
        SerError: a directory is damaged, or the second is not of copies of the first.
    """

    def __init__(self, data: Path, copies: Path, number: int, vocoder: Path | None) -> None:
        self.data, self.vocoder = data, vocoder
        own = validate(data, need=("wav.scp",))
        theirs = validate(copies, need=("wav.scp", "utt2uniq", "utt2emo"))
        self.speakers, self.texts = own["utt2spk"], own.get("text", {})
        self.sources, self.emotions = theirs["utt2uniq"], theirs["utt2emo"]
        if strange := [source for source in self.sources.values() if source not in self.speakers]:
            raise SerError(f"{copies}/utt2uniq: {strange[0]} is not in {data}; name what was converted")
        names = sorted(self.sources)
        self.copies = [names[index] for index in np.linspace(0, len(names) - 1, min(number, len(names))).astype(int)]
        self.waveforms, self.originals = read(copies), read(data)

    def spread(self) -> dict[str, float]:
        """Return how much the mean F0 and the length of the speech vary over the copies of an utterance."""
        pitches, seconds = defaultdict(list), defaultdict(list)
        chosen = {self.sources[name] for name in self.copies}
        names = [name for name in self.sources if self.sources[name] in chosen]
        for name in progress(names, len(names), "measuring F0", "copy"):
            waveform = self.waveforms[name]
            speech = waveform[speech_range(waveform, RATE)]
            f0, _ = world().dio(speech.astype(np.float64) / INT16_SCALE, RATE)
            if (f0 > 0).any():
                pitches[self.sources[name]].append(np.log(f0[f0 > 0]).mean() * _SEMITONES)
            seconds[self.sources[name]].append(len(speech))
        found = {}
        if several := [np.std(each, ddof=1) for each in pitches.values() if len(each) > 1]:
            found["spread_of_f0_in_semitones"] = float(np.mean(several))
        if several := [100 * np.std(each, ddof=1) / np.mean(each) for each in seconds.values() if len(each) > 1]:
            found["spread_of_length_in_percent"] = float(np.mean(several))
        return found

    @cached_property
    def vocoded(self) -> dict[str, np.ndarray]:
        """The copies' sources, whose speech only went through the vocoder, (n,) float32 at int16 scale and 16 kHz."""
        options = parse_conf((self.data / CONF).read_text(encoding="utf-8"), MelOptions, str(self.data / CONF))
        sound = load_vocoder(read_vocoder_folder(self.vocoder) if self.vocoder else None, options)
        sources = set(map(self.sources.__getitem__, self.copies))
        found = {}
        mels = {name: np.array(mel) for name, mel in read_arks(self.data / "feats.scp") if name in sources}
        for name, mel in progress(mels.items(), len(mels), "vocoded recordings", "utt"):
            before, after = silence_around(self.originals[name], RATE)
            with torch.inference_mode():
                samples = INT16_SCALE * sound(torch.from_numpy(mel)).numpy()
            found[name] = np.concatenate([before, resample(samples, options.sample_rate, RATE), after])
        return found

    def word_errors(self, whisper: Path) -> dict[str, float]:
        """Return the word error rates in % of the copies, and of the recordings that only went through the vocoder."""
        transcribe = Transcriber(whisper, torch.device("cpu"))
        said: dict[str, list[str]] = {}
        heard = {}
        for name, samples in progress(self.vocoded.items(), len(self.vocoded), "transcribed recordings", "utt"):
            said[name] = words(self.texts.get(name) or transcribe(self.originals[name]))
            heard[name] = words(transcribe(samples))
        vocoded = error_rate(list(said.values()), list(heard.values()))
        copies = [words(transcribe(self.waveforms[name]))
                  for name in progress(self.copies, len(self.copies), "transcribed copies", "utt")]
        rate = error_rate([said[self.sources[name]] for name in self.copies], copies)
        return {"word_errors_in_percent": rate, "word_errors_of_vocoded_recordings": vocoded}

    def own_speaker(self, folder: Path) -> dict[str, float]:
        """Return how near the copies are to their own speaker and to the others."""
        read, encoder = SpeakerReader(folder), load_speaker_encoder(folder)

        def vectors(waveforms: dict[str, np.ndarray], names: Sequence[str], what: str) -> dict[str, np.ndarray]:
            found = {}
            with torch.inference_mode():
                for name in progress(names, len(names), what, "utt"):
                    vector = encoder(read(torch.from_numpy(waveforms[name]))[None])[0].numpy()
                    found[name] = vector / np.linalg.norm(vector)
            return found

        of_speaker = defaultdict(list)
        for name, vector in vectors(self.originals, sorted(self.originals), "embedded recordings").items():
            of_speaker[self.speakers[name]].append(vector)
        who = sorted(of_speaker)
        means = np.stack([np.mean(of_speaker[speaker], 0) for speaker in who])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        copies = vectors(self.waveforms, self.copies, "embedded copies")
        cosines = np.stack([copies[name] for name in self.copies]) @ means.T
        own = np.array([who.index(self.speakers[self.sources[name]]) for name in self.copies])
        rows = np.arange(len(own))
        others = (cosines.sum(1) - cosines[rows, own]) / max(1, len(who) - 1)
        return {"own_speaker_in_percent": float(100 * (cosines.argmax(1) == own).mean()),
                "cosine_to_own_speaker": float(cosines[rows, own].mean()), "cosine_to_others": float(others.mean())}

    def emotion(self, run: Path, encoder: str) -> dict[str, float]:
        """Return in how many of the copies, and of their sources, a trained run hears their emotion, in %.

        Copies in other emotions have no spectrograms beside them that could be vocoded.
        """
        recogniser = Recogniser(run, "cpu", encoder)

        def heard(waveforms: dict[str, np.ndarray], names: Sequence[str], wanted: Sequence[str]) -> float:
            speakers = [self.speakers[self.sources.get(name, name)] for name in names]
            sources = [(waveforms[name].clip(-32768, 32767).astype(np.int16), RATE) for name in names]
            answers = recogniser.predict(sources, speakers=speakers)
            right = [answer.emotion == emotion for answer, emotion in zip(answers, wanted, strict=True)]
            return float(100 * np.mean(right))

        emotions = [self.emotions[name] for name in self.copies]
        sources = [self.sources[name] for name in self.copies]
        found = {"emotion_heard_in_percent": heard(self.waveforms, self.copies, emotions)}
        if (self.data / CONF).exists():
            found["emotion_heard_in_vocoded_recordings"] = heard(self.vocoded, sources, emotions)
        return found | {"emotion_heard_in_recordings": heard(self.originals, sources, emotions)}


def read(data: Path) -> dict[str, np.ndarray]:
    """Return a data directory's waveforms, (n,) float32 at int16 scale and 16 kHz. Raises SerError if one is bad."""
    found, reader = {}, UtteranceReader(data, RATE)
    for utterance, waveform in progress(reader, len(reader), f"read {data.name}", "utt"):
        if not isinstance(waveform, Waveform):
            raise SerError(f"{waveform}; remove it from the lists")
        found[utterance] = waveform.samples
    return found


def words(text: str) -> list[str]:
    """Return the words of a text, without punctuation, in small letters."""
    return re.findall(r"[\w']+", text.casefold())


def error_rate(said: Sequence[Sequence[str]], heard: Sequence[Sequence[str]]) -> float:
    """Return the word error rate in %: insertions, deletions and substitutions for each word said."""
    errors = sum(edit_distance(one, other) for one, other in zip(said, heard, strict=True))
    return 100 * errors / max(1, sum(map(len, said)))


if __name__ == "__main__":
    run_main(main)
