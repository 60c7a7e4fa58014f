"""Functions that the preparation programs of the speaker recipes share, from recordings to three sets and trials.

A program finds `SpeakerRecording`s, takes the speakers of the trials out of training (`without`), holds a part of the
training speakers' recordings out (`hold_out`), and hands the three sets and the trials to `ser.data.corpus.write_sets`.
A corpus may have a million recordings, so nothing here opens one.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shlex
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ser.base.errors import SerError
from ser.base.words import some
from ser.data.corpus import Trial

MONO_16K = "ffmpeg -nostdin -v error -xerror -threads 1 -i {} -ac 1 -ar 16000 -c:a pcm_s16le -f wav - |"
_MIN_SESSIONS, _MIN_SPEAKERS, _MIN_UTTERANCES = 3, 20, 3  # of `hold_out`


@dataclass(frozen=True, slots=True)
class SpeakerRecording:
    """An utterance with a speaker label: a file, or one channel of a file.

    `utterance` begins with `speaker`. A session is one occasion (a video, a call, a chapter); its name is unique
    within the speaker. `size` in bytes and `modified` in ns are the file's. `command` is a Kaldi pipe with {} for the
    path, or empty where libsndfile reads the file itself.
    """

    utterance: str
    speaker: str
    session: str
    path: str
    size: int
    modified: int
    command: str = ""

    @property
    def rxfile(self) -> str:
        """The entry of the recording in wav.scp."""
        return self.command.replace("{}", shlex.quote(self.path)) if self.command else self.path

    @property
    def file(self) -> tuple[str, int, int]:
        """Path, size in bytes and modification time in ns of the audio file."""
        return self.path, self.size, self.modified


def require_program(name: str, why: str, remedy: str) -> None:
    """Raise SerError unless `name` is on PATH: pipes that need it would fail hours later, one by one."""
    if shutil.which(name) is None:
        raise SerError(f"{name} is not on PATH, and {why}; {remedy}")


def require_ffmpeg(why: str) -> None:
    require_program("ffmpeg", why, "install ffmpeg (a package of every distribution) on every machine that runs jobs")


def require_unique(recordings: Iterable[SpeakerRecording], remedy: str) -> None:
    """Raise SerError if an utterance id occurs twice, naming both files."""
    first: dict[str, SpeakerRecording] = {}
    twice = [(first[r.utterance], r) for r in recordings if first.setdefault(r.utterance, r) is not r]
    if twice:
        one, other = twice[0]
        more = f" (and {len(twice) - 1} more such pairs)" if len(twice) > 1 else ""
        raise SerError(f"{other.path} is utterance {one.utterance}, which {one.path} is too{more}; {remedy}")


def leave_out_empty(recordings: Sequence[SpeakerRecording], allow_partial: bool) -> list[SpeakerRecording]:
    """Return the recordings whose file is not empty.

    Raises:
        SerError: some files have 0 bytes; with `allow_partial` they are named and left out instead.
    """
    empty = [recording.path for recording in recordings if recording.size == 0]
    if empty:
        message = f"{len(empty)} of {len(recordings)} files are empty (0 bytes): {some(empty)}"
        if not allow_partial:
            raise SerError(f"{message}; fetch them again, or leave them out with --allow-partial true")
        print(f"{message}; left out")
    return [recording for recording in recordings if recording.size]


def without(recordings: Sequence[SpeakerRecording], speakers: Collection[str], why: str) -> list[SpeakerRecording]:
    """Return the recordings of all speakers but these, and print how many are left out and `why`."""
    kept = [recording for recording in recordings if recording.speaker not in speakers]
    if gone := len(recordings) - len(kept):
        names = sorted({recording.speaker for recording in recordings} & set(speakers))
        print(f"left out of training: {gone} recordings of {len(names)} speakers, {why}: {some(names)}")
    return kept


def hold_out(
    recordings: Sequence[SpeakerRecording], most: int
) -> tuple[list[SpeakerRecording], list[SpeakerRecording]]:
    """Divide the training speakers' recordings into train and dev, and print by which rule.

    Dev gets one whole session of at most `most` speakers who have 3 sessions or more, because recordings of one
    session are too alike to show over-training. If fewer than 20 speakers have 3 sessions, dev gets one recording of
    at most `most` speakers who have 3 recordings or more. Speakers and sessions are ranked by a hash of their names,
    so the choice depends on nothing else.

    Raises:
        SerError: no speaker has enough recordings for either rule.
    """
    by_speaker: dict[str, dict[str, list[SpeakerRecording]]] = defaultdict(lambda: defaultdict(list))
    for recording in recordings:
        by_speaker[recording.speaker][recording.session].append(recording)
    unit = "session"
    groups = {speaker: of for speaker, of in by_speaker.items() if len(of) >= _MIN_SESSIONS}
    several = len(groups)
    if several < _MIN_SPEAKERS:
        unit = "recording"
        groups = {}
        for speaker, sessions in by_speaker.items():
            own = {recording.utterance: [recording] for recording in itertools.chain(*sessions.values())}
            if len(own) >= _MIN_UTTERANCES:
                groups[speaker] = own
    if not groups:
        raise SerError(
            f"{len(by_speaker)} training speakers, of which {several} have {_MIN_SESSIONS} sessions and none "
            f"{_MIN_UTTERANCES} recordings: nothing can be held out for the dev set; add recordings per speaker"
        )
    chosen = sorted(groups, key=_rank)[:most]
    held = {recording.utterance for speaker in chosen
            for recording in groups[speaker][min(groups[speaker], key=lambda name, of=speaker: _rank(of, name))]}
    dev = [recording for recording in recordings if recording.utterance in held]
    train = [recording for recording in recordings if recording.utterance not in held]
    enough = f"{_MIN_SESSIONS} sessions" if unit == "session" else f"{_MIN_UTTERANCES} recordings"
    reason = "" if unit == "session" else f" (fewer than {_MIN_SPEAKERS}, {several}, have {_MIN_SESSIONS} sessions)"
    print(f"dev: one {unit} of each of {len(chosen)} training speakers, of the {len(groups)} with {enough} or more"
          f"{reason}: {len(dev)} of {len(recordings)} recordings")
    return train, dev


def _rank(*names: str) -> bytes:
    return hashlib.sha256("\0".join(names).encode()).digest()


def read_trials(path: Path) -> Iterator[tuple[str, bool, str, str]]:
    """Yield file and line, whether the speaker is the same, and the two names, of lines `<1|0> <name> <name>`.

    Raises:
        SerError: the file is missing, empty or not text, or a line has another form.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise SerError(f"{path}: no such list of trials") from None
    except UnicodeDecodeError as error:
        raise SerError(f"{path}: not a UTF-8 text file ({error})") from None
    some_line = False
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        some_line = True
        if len(fields) != 3 or fields[0] not in ("0", "1"):
            raise SerError(f"{path}:{number}: expected '<1|0> <recording> <recording>', found {line!r}")
        yield f"{path}:{number}", fields[0] == "1", fields[1], fields[2]
    if not some_line:
        raise SerError(f"{path}: is empty; copy the list of trials again")


def draw_trials(utt2spk: Mapping[str, str], number: int, seed: int) -> list[Trial]:
    """Draw for every utterance up to `number` others of its speaker and `number` of other speakers; no pair twice.

    The draw of an utterance depends on the seed, its id, and who else is there.

    Raises:
        SerError: there is no pair of one speaker, or of two.
    """
    utterances = sorted(utt2spk)
    of_speaker: dict[str, list[str]] = defaultdict(list)
    for utterance in utterances:
        of_speaker[utt2spk[utterance]].append(utterance)
    trials: set[Trial] = set()
    for utterance in utterances:
        draw = random.Random(f"{seed} {utterance}")
        own = [other for other in of_speaker[utt2spk[utterance]] if other != utterance]
        others = len(utterances) - len(own) - 1
        partners = [(True, other) for other in draw.sample(own, min(number, len(own)))]
        strangers: set[str] = set()
        while len(strangers) < min(number, others):
            other = draw.choice(utterances)
            if utt2spk[other] != utt2spk[utterance]:
                strangers.add(other)
        partners += [(False, other) for other in sorted(strangers)]
        trials.update((target, *sorted((utterance, other))) for target, other in partners)
    for target, what in ((True, "two recordings of one speaker"), (False, "two speakers")):
        if not any(trial[0] is target for trial in trials):
            raise SerError(f"the test set has no {what}, so no trials can be drawn; name more test data")
    return sorted(trials, key=lambda trial: (trial[1:], trial[0]))


def file_recording(
    path: str, status: os.stat_result, speaker: str, session: str, name: str, command: str = ""
) -> SpeakerRecording:
    """Return the recording for a whole file; its utterance id is `<speaker>-<name>`."""
    return SpeakerRecording(f"{speaker}-{name}", speaker, session, path, status.st_size, status.st_mtime_ns, command)
