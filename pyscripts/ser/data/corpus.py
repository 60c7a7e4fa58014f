"""Functions that the preparation programs of all recipes share, from a corpus's own tree to data directories.

A preparation program finds the recordings and their labels as `EmotionRecording`s (or `SpeakerRecording`s, see
`ser.data.speaker_corpus`), checks the counts, and hands them to `write_sets`.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import os
import re
import shutil
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Protocol

import soundfile

from ser.base.errors import SerError
from ser.base.files import Marker, file_identity, fingerprint, is_lfs_pointer, write_text
from ser.base.kaldi_tables import read_table, write_table
from ser.base.progress import progress
from ser.base.words import some
from ser.data import datadir

_MARKER = ".lists.done"
_LONGEST_NAME = 60  # of lists, in characters; a checksum stands for a longer one


@dataclass(frozen=True)
class EmotionRecording:
    """An utterance with an emotion label; `utterance` must begin with `speaker`.

    It is the whole of its file, or the piece from `start` to `end` in seconds, where None stands for the file's end.
    """

    utterance: str
    speaker: str
    emotion: str
    path: Path
    start: float = 0.0
    end: float | None = None
    text: str = ""

    @property
    def is_piece(self) -> bool:
        """Whether it is a part of its file."""
        return (self.start, self.end) != (0.0, None)

    @property
    def rxfile(self) -> str:
        """The entry of the recording in wav.scp."""
        return os.path.abspath(self.path)

    @property
    def file(self) -> tuple[str, int, int]:
        """Path, size in bytes and modification time in ns of the audio file."""
        return file_identity(self.path)


class Recording(Protocol):
    """A labelled recording: an `EmotionRecording` or a `SpeakerRecording`."""

    @property
    def utterance(self) -> str: ...
    @property
    def speaker(self) -> str: ...
    @property
    def path(self) -> str | Path: ...
    @property
    def rxfile(self) -> str: ...
    @property
    def file(self) -> tuple[str, int, int]: ...


Trial = tuple[bool, str, str]  # same speaker or not, and the two utterances


class Parser(argparse.ArgumentParser):
    """The arguments of a preparation program: those that all of them take, then those that it adds as its own.

    Options that a program adds are taken to change its lists, so the driver keeps those of other values apart, in
    `data_<option>-<value>`; those without help are not. The driver asks for the names of its own ones (--list-options),
    for their help (--help-options), and for the name of the lists that they make (--data-name).

    Args:
        description: the help's first part.
        fetched: name of the corpus, if the program fetches it to `downloads/<name>` where --corpus-dir is not given.
        licensed: name of the corpus, if only its licensees have it, so that --corpus-dir must be given.
    """

    def __init__(self, description: str, fetched: str = "", licensed: str = "") -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )
        self._fetched, self._licensed = fetched, licensed
        where = f"downloads/{fetched} beside <data-dir>, where it is fetched to" if fetched else "none"
        self.add_argument(
            "--corpus-dir", type=Path, metavar="DIR", help=f"the corpus as distributed, unpacked (default: {where})"
        )
        self.add_argument("--nj", type=int, default=4, metavar="N", help="files looked at, or fetched, at a time")
        self.add_argument("--cmd", default="run.py", help="job runner, where jobs are needed (default: %(default)s)")
        for name in ("list", "help"):
            self.add_argument(f"--{name}-options", action="store_true", help=argparse.SUPPRESS)
        self.add_argument("--data-name", action="store_true", help=argparse.SUPPRESS)
        self.add_argument("data_dir", type=Path, nargs="?", help="where the data directories go")
        self._shared = len(self._actions)
        self._partial = self.add_argument(
            "--allow-partial", type=boolean, default=False, metavar="true|false",
            help="go on with a part of the corpus, leaving out what is missing or unreadable (default false)",
        )

    def parse_args(self, args: Sequence[str] | None = None, namespace: None = None) -> argparse.Namespace:  # type: ignore[override]
        """Parse, answer the driver's questions, and fill in the corpus's folder.

        Raises:
            SerError: the corpus can only be had under a licence, and --corpus-dir does not say where it is.
        """
        parsed = super().parse_args(args, namespace)
        own = self._actions[self._shared :]
        if parsed.list_options:
            print("\n".join(action.option_strings[0].removeprefix("--") for action in own))
            sys.exit()
        if parsed.help_options:
            formatter = argparse.HelpFormatter(self.prog, max_help_position=29, width=118)  # as utils/parse_options.sh
            formatter.start_section("Corpus")
            formatter.add_arguments(own)
            formatter.end_section()
            print(formatter.format_help(), end="")
            sys.exit()
        if parsed.data_name:
            print(self.data_name(parsed))
            sys.exit()
        if parsed.data_dir is None:
            self.error("name <data-dir>, where the data directories go")
        if parsed.corpus_dir is None and self._licensed:
            raise SerError(f"{self._licensed} is licensed and cannot be fetched; say where it is with --corpus-dir "
                           "(see the recipe's README.md)")
        if parsed.corpus_dir is None and self._fetched:
            parsed.corpus_dir = parsed.data_dir.parent / "downloads" / self._fetched
        return parsed

    def data_name(self, parsed: argparse.Namespace) -> str:
        """Return the name of the lists that the program's own options make, '' for the default ones."""
        of_lists = [action for action in self._actions[self._shared :]
                    if action is not self._partial and action.help != argparse.SUPPRESS]
        name = "-".join(_named(action, getattr(parsed, action.dest)) for action in of_lists
                        if getattr(parsed, action.dest) != action.default)
        return name if len(name) <= _LONGEST_NAME else f"{zlib.crc32(name.encode()):08x}"


def _named(action: argparse.Action, value: object) -> str:
    """Return an option's part of the name of the lists that it makes, in letters, digits, '.', '+' and '-'."""
    name, text = action.option_strings[0].removeprefix("--"), str(value)
    if value is True:
        return name
    if "/" in text:  # a path
        return f"{name}-{zlib.crc32(text.encode()):08x}"
    return f"{name}-{re.sub('[^A-Za-z0-9.+-]', '-', text.replace(' ', '+'))}"


def boolean(text: str) -> bool:
    """Convert the shell scripts' `true` and `false`."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false")
    return text == "true"


def warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def require_folder(folder: Path, pattern: str, remedy: str) -> None:
    """Raise SerError unless something in `folder` matches `pattern`; point at a subfolder where it does."""
    if not folder.is_dir():
        raise SerError(f"{folder}: no such folder; {remedy}")
    if next(folder.glob(pattern), None) is None:
        inside = next((child for child in sorted(folder.iterdir()) if next(child.glob(pattern), None)), None)
        hint = f"did you mean --corpus-dir {inside}?" if inside else remedy
        raise SerError(f"{folder}: has no {pattern}; {hint}")


def check_counts(corpus: str, found: Mapping[str, int], expected: Mapping[str, int], allow_partial: bool) -> None:
    """Compare counts per label with those of the complete release.

    Raises:
        SerError: they differ; with `allow_partial` that is a warning instead.
    """
    wrong = [f"{label} {found.get(label, 0)} of {count}" for label, count in expected.items()
             if found.get(label, 0) != count]
    if wrong:
        message = f"{corpus}: not the complete release: {', '.join(wrong)} recordings"
        if not allow_partial:
            raise SerError(f"{message}; complete it, or use what there is with --allow-partial true")
        warn(message)


def read_lists(path: Path) -> dict[str, list[str]]:
    """Read lists of speakers, one a line: the name of the data directory (`train`, `fold1/dev`), then its speakers.

    Raises:
        SerError: a speaker occurs in two sets of a fold, or twice in one.
    """
    lists = {name: line.split() for name, line in read_table(path, sorted_keys=False).items()}
    seen: dict[tuple[str, str], str] = {}
    for name, speakers in lists.items():
        for speaker in speakers:
            key = os.path.dirname(name), speaker
            if key in seen:
                raise SerError(f"{path}: {speaker} is in {seen[key]} and in {name}; keep one of them")
            seen[key] = name
    return lists


def split_by_speaker(
    recordings: Sequence[EmotionRecording], lists: Mapping[str, list[str]]
) -> dict[str, list[EmotionRecording]]:
    """Return the recordings of each list's speakers. Every speaker must be in one list of every fold.

    Raises:
        SerError: a speaker is in none of the lists.
    """
    by_speaker = defaultdict(list)
    for recording in recordings:
        by_speaker[recording.speaker].append(recording)
    for fold in {os.path.dirname(name) for name in lists}:
        listed = {speaker for name in lists if os.path.dirname(name) == fold for speaker in lists[name]}
        if strangers := sorted(by_speaker.keys() - listed):
            raise SerError(f"speaker {some(strangers)} is in no list of the split{' ' + fold if fold else ''}")
    return {name: [recording for speaker in speakers for recording in by_speaker[speaker]]
            for name, speakers in lists.items()}


def _path_of(recording: Recording) -> str:
    return str(recording.path)


def measure(
    recordings: Sequence[Recording], jobs: int, allow_partial: bool, name: Callable[[Recording], str] = _path_of
) -> dict[str, float]:
    """Read the duration in seconds of each recording's file, by utterance id, from the file headers.

    Args:
        name: how messages name a recording.

    Raises:
        SerError: files are missing, empty, no audio, or Git LFS pointers. With `allow_partial` they are named in a
            warning and absent from the result.
    """
    seconds: dict[str, float] = {}
    bad: dict[str, list[str]] = defaultdict(list)
    kinds: Counter[str] = Counter()
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        looks = pool.map(_look, (recording.path for recording in recordings))
        for recording, look in zip(recordings, progress(looks, len(recordings), "reading headers"), strict=True):
            if isinstance(look, str):
                bad[look].append(name(recording))
            else:
                duration, rate, channels = look
                seconds[recording.utterance] = duration
                kinds[f"{rate} Hz {'mono' if channels == 1 else f'with {channels} channels'}"] += 1
    for problem, names in bad.items():
        message = f"{len(names)} of {len(recordings)} recordings: {problem}: {some(names)}"
        if not allow_partial:
            raise SerError(f"{message}; mend them, or leave them out with --allow-partial true")
        warn(f"{message}; left out")
    formats = ", ".join(f"{count} at {kind}" for kind, count in kinds.most_common())
    print(f"{len(seconds)} recordings, {sum(seconds.values()) / 3600:.2f} h: {formats or 'none usable'}")
    return seconds


def _look(path: str | Path) -> tuple[float, int, int] | str:
    """Return duration in s, sampling rate in Hz and number of channels of a file, or what is wrong with it."""
    try:
        if os.stat(path).st_size == 0:
            return "empty file"
        info = soundfile.info(path)
    except FileNotFoundError:
        return "no such file"
    except PermissionError:
        return "not readable for you"
    except soundfile.LibsndfileError:
        if is_lfs_pointer(path):
            return "Git LFS pointer, not audio (run `git lfs pull` in that repository)"
        return "not an audio file"
    return (info.frames / info.samplerate, info.samplerate, info.channels) if info.frames else "no samples"


def write_sets(
    data_dir: Path, sets: Mapping[str, Sequence[Recording]], seconds: Mapping[str, float] | None = None,
    trials: Sequence[Trial] = (),
) -> None:
    """Write each set of recordings as the data directory `data_dir/<name>`, and `trials` to `data_dir/test/trials`.

    A directory that was made from the same lists is kept, with the features in it, also if later steps took unusable
    utterances out of it. Any other is replaced as a whole, since features made from other lists would not fit. A
    directory that lost utterances is replaced too once any recording changes, because the user may have mended it.

    Args:
        seconds: durations, for `utt2dur`; recordings without one are left out. None: no durations are known.

    Raises:
        SerError: a set is empty, an utterance id occurs twice, or something else is where a directory should go.
    """
    unchanged = 0
    for name, recordings in sets.items():
        usable = sorted((recording for recording in recordings if seconds is None or recording.utterance in seconds),
                        key=attrgetter("utterance"))
        if not usable:
            raise SerError(f"{data_dir / name}: no recording is left for this set; see the counts above")
        if twice := [one.utterance for one, other in pairwise(usable) if one.utterance == other.utterance]:
            raise SerError(f"utterances {some(twice)} occur twice; remove one of the copies from the corpus")
        folder, of_test = data_dir / name, trials if name == "test" else ()
        if _replace_dir(folder, partial(_write_tables, usable, seconds, of_test), _identity(usable)):
            classes = Counter(recording.emotion for recording in usable if isinstance(recording, EmotionRecording))
            print(f"{folder}: {len(usable)} utterances of {len({r.speaker for r in usable})} speakers"
                  + ": " * bool(classes) + ", ".join(f"{emotion} {classes[emotion]}" for emotion in sorted(classes)))
        else:
            unchanged += 1
    if unchanged:
        print(f"{data_dir}: {unchanged} of {len(sets)} data directories are up to date")


def _write_tables(recordings: Sequence[Recording], seconds: Mapping[str, float] | None, trials: Sequence[Trial],
                  folder: Path) -> None:
    utt2spk = {recording.utterance: recording.speaker for recording in recordings}
    labelled = [recording for recording in recordings if isinstance(recording, EmotionRecording)]
    if any(recording.is_piece for recording in labelled):
        names = {r.rxfile: f"{slug(r.path.stem)}-{zlib.crc32(os.fsencode(r.rxfile)):08x}" for r in labelled}
        write_table(folder / "wav.scp", {name: rxfile for rxfile, name in names.items()})
        write_table(folder / "segments", {r.utterance: f"{names[r.rxfile]} {r.start:.4f} {_end(r)}" for r in labelled})
    else:
        write_table(folder / "wav.scp", {recording.utterance: recording.rxfile for recording in recordings})
    write_table(folder / "utt2spk", utt2spk)
    write_table(folder / "spk2utt", datadir.spk2utt(utt2spk))
    if labelled:
        write_table(folder / "utt2emo", {recording.utterance: recording.emotion for recording in labelled})
        if all(recording.text for recording in labelled):
            write_table(folder / "text", {recording.utterance: recording.text for recording in labelled})
    if seconds is not None:
        write_table(folder / "utt2dur", {utterance: f"{seconds[utterance]:.6g}" for utterance in utt2spk})
    if trials:
        write_text(folder / "trials", "".join(f"{target:d} {one} {other}\n" for target, one, other in trials))


def _end(recording: EmotionRecording) -> str:
    return "-1" if recording.end is None else f"{recording.end:.4f}"


def slug(text: str) -> str:
    """Return a text as a part of an id: letters, digits, '_' and '.'; anything else, '-' too, becomes '_'.

    Ids that are joined with '-' sort like their first parts, since nothing that is left sorts before '-'.
    """
    return re.sub(r"[^\w.]", "_", text)


def _identity(recordings: Iterable[Recording]) -> str:
    """Return a hash that changes when one of the files does; a list would take more memory than the recordings."""
    digest = hashlib.sha256()
    for path, size, modified in (recording.file for recording in recordings):
        digest.update(f"{path}\0{size} {modified}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _replace_dir(folder: Path, write: Callable[[Path], None], audio: str) -> bool:
    """Replace the data directory `folder`, as a whole, by what `write` writes into the folder that it is given.

    Args:
        audio: a hash of the recordings.

    Returns:
        False if `folder` was kept because it was made from the same lists and `audio`, see `write_sets`.

    Raises:
        SerError: `folder` exists and is no data directory.
    """
    folder = Path(os.path.realpath(folder))  # a link to a larger disk stays one
    new, old = (folder.with_name(f".{folder.name}.{end}") for end in ("new", "old"))
    for leftover in (new, old):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        write(new)
        names = sorted(os.listdir(new))
        digest = fingerprint(*(new / name for name in names), audio)
        if filecmp.cmpfiles(new, folder, names, shallow=False)[0] == names:
            return False
        if Marker(folder / _MARKER, digest).is_current() and _is_part(folder, new):
            return False
        Marker(new / _MARKER, digest).write(())
        if folder.exists():
            if not (folder / "utt2spk").is_file() and not (folder.is_dir() and not any(folder.iterdir())):
                raise SerError(f"{folder}: is in the way and is no data directory; move it elsewhere")
            os.rename(folder, old)
        os.rename(new, folder)
        shutil.rmtree(old, ignore_errors=True)
        return True
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _is_part(folder: Path, whole: Path) -> bool:
    """Return whether a data directory has the lists of `whole`, complete or without some of the utterances."""
    # utt2dur is not compared because steps/make_mfcc.sh rewrites it; `validate` compares spk2utt with utt2spk.
    tables = [name for name in ("wav.scp", "segments", "utt2spk", "utt2emo") if (whole / name).exists()]
    others = [name for name in os.listdir(whole) if name not in datadir.TABLES]  # a list of trials
    try:
        datadir.validate(folder, need=tables)
        return filecmp.cmpfiles(whole, folder, others, shallow=False)[0] == others and all(
            read_table(folder / name).items() <= read_table(whole / name).items() for name in tables
        )
    except SerError:
        return False
