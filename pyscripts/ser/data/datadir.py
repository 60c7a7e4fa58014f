"""Kaldi data directories: reading and checking them. `ser.data.rearrange` mends, cuts and joins them.

A data directory is a folder of text tables (`ser.base.kaldi_tables`) keyed by utterance, speaker or recording. Ids of
utterances start with their speaker's id, so that one sorted order (C locale, which for UTF-8 is the order of Python
strings) serves both. Relative paths inside tables count from the working directory, as in Kaldi.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ser.base.errors import SerError
from ser.base.files import is_lfs_pointer
from ser.base.kaldi_tables import read_table
from ser.base.problems import Location, Problems
from ser.base.words import some

UTTERANCE_TABLES = (
    "utt2spk", "utt2emo", "utt2dur", "utt2num_frames", "utt2noise", "utt2perturb", "feats.scp", "vad.scp", "segments",
    "text", "utt2lang", "utt2uniq", "utt2warp", "utt2cmvn", "utt2num_cmvn", "units.scp", "units.txt",
    "styles.scp", "utt2ref",
)
SPEAKER_TABLES = ("spk2utt", "spk2gender", "spk2warp", "cmvn.scp")
RECORDING_TABLES = ("wav.scp", "reco2dur", "reco2file_and_channel")  # keyed by utterance where there is no `segments`
_KALDI_SPEED = re.compile(r"^sp\d+(\.\d+)?-")  # before the id of a speaker
HOW_MADE = ("utt2noise", "utt2perturb")  # what is done to audio while it is read
TABLES = UTTERANCE_TABLES + SPEAKER_TABLES + RECORDING_TABLES

MAKERS = {  # what makes a table that is missing
    "wav.scp": "make the directory again (stage 0)",
    "utt2emo": "make the directory again (stage 0)",
    "spk2utt": "run utils/fix_data_dir.sh on the directory",
    "feats.scp": "run steps/make_mfcc.sh (stage 1)",
    "utt2num_frames": "run steps/make_mfcc.sh (stage 1)",
    "vad.scp": "run steps/compute_vad.sh (stage 1)",
    "cmvn.scp": "run steps/compute_cmvn_stats.sh (stage 1)",
    "utt2cmvn": "run steps/compute_cmvn_stats.sh (stage 1)",
    "units.txt": "run steps/extract_units.sh",
    "styles.scp": "run steps/make_styles.sh",
    "utt2noise": "run steps/augment_data_dir.sh (stage 2)",
    "utt2perturb": "run steps/perturb_data_dir.sh",
}

_ODD_SPACE = re.compile(r"[^\S \t]")  # \r, no-break space…: Kaldi takes them for a part of a word

Tables = dict[str, dict[str, str]]


class DataDir:
    """A data directory that is assumed to be valid (see `validate`); each table is read once, when it is asked for.

    Raises:
        SerError: there is no such directory, or a table asked for is missing or malformed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise SerError(f"{path}: no such data directory")
        self._tables: Tables = {}

    @functools.cached_property
    def utterances(self) -> list[str]:
        """Utterance ids, sorted."""
        return list(self.table("utt2spk"))

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def table(self, name: str) -> dict[str, str]:
        """Return a table, from key to the rest of the line, in sorted order."""
        if name not in self._tables:
            self._tables[name] = read_table(self.path / name)
        return self._tables[name]


def spk2utt(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """Return the table `spk2utt`: each speaker's utterances, sorted, with spaces between them."""
    utterances = defaultdict(list)
    for utt in sorted(utt2spk):
        utterances[utt2spk[utt]].append(utt)
    return {speaker: " ".join(utts) for speaker, utts in utterances.items()}


def class_counts(path: str | os.PathLike[str]) -> dict[str, int]:
    """Count the utterances of each emotion; emotions come in alphabetical order."""
    return dict(sorted(Counter(DataDir(path).table("utt2emo").values()).items()))


def check_disjoint(*paths: str | os.PathLike[str]) -> None:
    """Check that no speaker occurs in two of the directories (train, dev, test).

    Kaldi's utils/perturb_data_dir_speed.sh calls a speaker's copies sp0.9-<speaker>: that is the speaker all the same.

    Raises:
        SerError: some do; the message names them and the directories.
    """
    speakers = [(path, {_KALDI_SPEED.sub("", name) for name in DataDir(path).table("utt2spk").values()})
                for path in paths]
    problems = []
    for (one, these), (other, those) in itertools.combinations(speakers, 2):
        if shared := sorted(these & those):
            number = "1 speaker" if len(shared) == 1 else f"{len(shared)} speakers"
            problems.append(f"{number} in both {one} and {other}: {some(shared, 20)}")
    if problems:
        raise SerError("; ".join(problems) + "; every speaker may be in one split only: correct the lists")


def validate(
    path: str | os.PathLike[str],
    *,
    need: Sequence[str] = ("utt2emo",),
    emotions: Iterable[str] | None = None,
    speaker_order: bool = True,
) -> Tables:
    """Check a data directory, at least as strictly as Kaldi's `validate_data_dir.sh`, and return its tables by name.

    Args:
        path: the directory; it must have `utt2spk` and `spk2utt` always.
        need: tables that it must have too. The files that a needed `wav.scp`, `feats.scp`, `vad.scp` or `utt2noise`
            names must exist; files named by a table that is not needed are not checked.
        emotions: the labels allowed in `utt2emo`; None allows any.
        speaker_order: require ids to start with the speaker's id, so that sorting by utterance also sorts by speaker.

    Raises:
        SerError: every problem (the first ten kinds), each with file, line and remedy.
    """
    path = Path(path)
    if not path.is_dir():
        raise SerError(f"{path}: no such data directory")
    problems = Problems(path)
    for name in dict.fromkeys(("utt2spk", "spk2utt", *need)):
        if not (path / name).is_file():
            problems.add(path / name, what="no such file", remedy=MAKERS.get(name, "make the directory again"))
    lines: dict[str, dict[str, int]] = {}
    tables: Tables = {}
    for name in TABLES:
        if (path / name).is_file():
            lines[name], tables[name] = _read(path / name, problems)
            _check_values(path / name, lines[name], tables[name], problems)
    if tables.get("utt2spk"):
        _check_keys(path, lines, tables, problems)
        _check_speakers(path, lines, tables, problems, speaker_order)
    if emotions is not None and "utt2emo" in tables:
        allowed = set(emotions)
        for unknown in sorted(set(tables["utt2emo"].values()) - allowed):
            wrong = [(lines["utt2emo"][utt], f"unknown label '{unknown}' of {utt}")
                     for utt, label in tables["utt2emo"].items() if label == unknown]
            problems.add(path / "utt2emo", wrong, f"the labels are {' '.join(sorted(allowed))}: correct it")
    for name in need:
        if name in tables:
            _check_files(path / name, lines[name], tables[name], problems)
    if (path / "frame_shift").is_file() and not _positive((path / "frame_shift").read_text(errors="replace")):
        problems.add(path / "frame_shift", what="is not a number of seconds", remedy=MAKERS["feats.scp"])
    problems.raise_any()
    return tables


def _read(path: Path, problems: Problems) -> tuple[dict[str, int], dict[str, str]]:
    """Read a table; return line numbers and values, both by key."""
    remedy = f"run utils/fix_data_dir.sh {path.parent}"
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        problems.add(path, what=f"not UTF-8 text (byte {error.start})", remedy="convert it with iconv")
        return {}, {}
    if not text:
        problems.add(path, what="is empty", remedy=MAKERS.get(path.name, "make it again, or remove it"))
        return {}, {}
    rows = text.split("\n")
    if rows.pop():
        last = [(len(rows) + 1, "the last line does not end (is the file cut short?)")]
        problems.add(path, last, f"make it again, or if the line is whole {remedy}")
        rows.append(text.rsplit("\n", 1)[-1])
    if _ODD_SPACE.search(text.replace("\n", "")):
        odd = [(number, f"{row!r} has a blank that is no space or tab")
               for number, row in enumerate(rows, 1) if _ODD_SPACE.search(row)]
        problems.add(path, odd, "write it with plain spaces and Unix line ends")
    lines: dict[str, int] = {}
    table: dict[str, str] = {}
    short, twice = [], []
    for number, row in enumerate(rows, 1):
        fields = row.split(None, 1)
        if len(fields) < 2 and (path.name != "text" or not fields):
            short.append((number, f"expected a key and a value, found '{row}'"))
        elif fields[0] in table:
            twice.append((number, f"{fields[0]} is also in line {lines[fields[0]]}"))
        else:
            lines[fields[0]] = number
            table[fields[0]] = fields[1].rstrip() if len(fields) > 1 else ""
    problems.add(path, short, "complete or remove the line")
    problems.add(path, twice, "keep one of the lines")
    keys = list(table)
    if keys != sorted(keys):
        late = [(lines[key], f"{key} is out of order (after {before})")
                for before, key in itertools.pairwise(keys) if key < before]
        problems.add(path, late, f"{remedy} (LC_ALL=C sort)")
    return lines, table


def _positive(value: str) -> bool:
    try:
        return 0 < float(value) < float("inf")
    except ValueError:
        return False


def _is_segment(value: str) -> bool:
    fields = value.split()
    try:
        start, end = float(fields[1]), float(fields[2])
        return len(fields) == 3 and (0 <= start < end < float("inf") or (start >= 0 and end == -1))
    except (ValueError, IndexError):
        return False


def _is_noise(value: str) -> bool:
    fields = value.split(None, 2)
    try:
        return len(fields) == 3 and abs(float(fields[0])) < float("inf") and fields[1].isdecimal()
    except ValueError:
        return False


def _is_perturbation(value: str) -> bool:
    kind, _, amount = value.partition(" ")
    try:
        return kind in ("speed", "pitch", "vtlp") and abs(float(amount)) < float("inf")
    except ValueError:
        return False


def _is_word(value: str) -> bool:
    return len(value.split(None, 1)) == 1


FORMATS: dict[str, tuple[Callable[[str], bool], str]] = {
    "utt2spk": (_is_word, "an utterance and one speaker"),
    "utt2emo": (_is_word, "an utterance and one label"),
    "utt2dur": (_positive, "an utterance and its seconds, over 0"),
    "reco2dur": (_positive, "a recording and its seconds, over 0"),
    "utt2num_frames": (lambda value: value.isdecimal() and int(value) > 0, "an utterance and its frames, 1 or more"),
    "utt2num_cmvn": (str.isdecimal, "an utterance and the recordings that its statistics are of"),
    "segments": (_is_segment, "<utterance> <recording> <start> <end> with 0 <= start < end in s, or end -1"),
    "utt2noise": (_is_noise, "<utterance> <SNR in dB> <first sample> <noise file>"),
    "utt2perturb": (_is_perturbation, "an utterance, speed, pitch or vtlp, and a number"),
    "utt2uniq": (_is_word, "an utterance and the one it is a copy of"),
    "utt2ref": (_is_word, "an utterance and the one whose style it has"),
    "wav.scp": (lambda value: not value.startswith("~"), "a path without ~, which only a shell expands"),
    "spk2gender": (lambda value: value in ("m", "f"), "a speaker and m or f"),
    "spk2warp": (lambda value: _positive(value) and 0.5 < float(value) < 1.5, "a speaker and a factor 0.5 to 1.5"),
    "utt2warp": (lambda value: _positive(value) and 0.5 < float(value) < 1.5, "an utterance and a factor 0.5 to 1.5"),
    "reco2file_and_channel": (
        lambda value: len(value.split()) == 2 and value.split()[1] in ("A", "B", "1"),
        "<recording> <file> <A or B>",
    ),
    "text": (
        lambda value: not {"<s>", "</s>", "#0"} & set(value.split()), "words other than <s>, </s> and #0",
    ),
}


def _check_values(path: Path, lines: dict[str, int], table: dict[str, str], problems: Problems) -> None:
    if path.name in FORMATS:
        right, form = FORMATS[path.name]
        wrong = [(lines[key], f"'{key} {value}'") for key, value in table.items() if not right(value)]
        problems.add(path, wrong, f"expected {form}: correct it")


def _check_keys(path: Path, lines: dict[str, dict[str, int]], tables: Tables, problems: Problems) -> None:
    """Check that all tables have the utterances, speakers and recordings that `utt2spk` and `segments` have."""
    utt2spk = tables["utt2spk"]
    segments = tables.get("segments")
    first_line: dict[str, int] = {}
    for utt, speaker in utt2spk.items():
        first_line.setdefault(speaker, lines["utt2spk"][utt])
    speakers = ("utt2spk", "speaker", first_line)
    utterances = ("utt2spk", "utterance", lines["utt2spk"])
    recordings = utterances
    if segments is not None:
        if "wav.scp" not in tables:
            problems.add(path / "segments", what="there is no wav.scp beside it", remedy=MAKERS["wav.scp"])
        used = {value.split()[0]: lines["segments"][utt] for utt, value in reversed(segments.items())}
        recordings = ("segments", "recording", used)
    for name, table in tables.items():
        if name == "utt2spk" or not table:  # an empty one was reported as such
            continue
        reference, noun, where = (
            speakers if name in SPEAKER_TABLES else recordings if name in RECORDING_TABLES else utterances
        )
        if where.keys() == table.keys():
            continue
        missing = [(line, f"{noun} {key} is not in {name}") for key, line in where.items() if key not in table]
        extra = [(line, f"{noun} {key} is not in {reference}") for key, line in lines[name].items() if key not in where]
        fixing = f"utils/fix_data_dir.sh {path}"
        problems.add(path / reference, missing, f"complete {name}, or drop what is not in all tables with {fixing}")
        problems.add(path / name, extra, f"complete {reference}, or drop the line with {fixing}")


def _check_speakers(
    path: Path, lines: dict[str, dict[str, int]], tables: Tables, problems: Problems, speaker_order: bool
) -> None:
    utt2spk = tables["utt2spk"]
    if speaker_order:
        foreign = [(lines["utt2spk"][utt], f"utterance {utt} does not start with the id of its speaker, {speaker}")
                   for utt, speaker in utt2spk.items() if not utt.startswith(speaker)]
        problems.add(path / "utt2spk", foreign, "make the speaker a prefix of the utterance id, in all tables")
        late = [(lines["utt2spk"][utt], f"speaker {speaker} is out of order (after {before})")
                for (_, before), (utt, speaker) in itertools.pairwise(sorted(utt2spk.items())) if speaker < before]
        if not foreign:
            problems.add(path / "utt2spk", late, "end all speaker ids in the same separator, or make them equally long")
    if "spk2utt" in tables:
        expected = spk2utt(utt2spk)
        wrong = [(lines["spk2utt"][speaker], f"utterances of {speaker} are not those of utt2spk")
                 for speaker, utts in tables["spk2utt"].items()
                 if speaker in expected and utts.split() != expected[speaker].split()]
        problems.add(path / "spk2utt", wrong, f"run utils/fix_data_dir.sh {path}")


def _check_files(path: Path, lines: dict[str, int], table: dict[str, str], problems: Problems) -> None:
    """Check that the files that a table names exist and are not empty; pipes are not run."""
    found: dict[tuple[str, str], list[Location]] = defaultdict(list)
    if path.name == "wav.scp":
        lost = f"put it back (is the disk mounted?), or remove the line and run utils/fix_data_dir.sh {path.parent}"
        files = {value: key for key, value in table.items()}
    elif path.name in ("feats.scp", "vad.scp"):
        lost = MAKERS[path.name] + " again"
        files = {}
        for key, value in table.items():
            files.setdefault(re.sub(r":\d+(\[.*\])?$", "", value), key)
    elif path.name == "utt2noise":
        lost = "put it back, or make the noisy copy again"
        files = {}
        for key, value in table.items():
            files.setdefault(value.split(None, 2)[-1], key)
    else:
        return
    for file, key in files.items():
        if file.endswith("|"):
            continue
        try:
            status = os.stat(file)
        except OSError as error:
            found[error.strerror or str(error), lost].append((lines[key], f"{file}: {error.strerror}"))
            continue
        if stat.S_ISDIR(status.st_mode):
            found["folder", lost].append((lines[key], f"{file}: is a folder"))
        elif status.st_size == 0 and stat.S_ISREG(status.st_mode):
            found["empty", lost].append((lines[key], f"{file}: is empty"))
        elif status.st_size < 1024 and stat.S_ISREG(status.st_mode) and is_lfs_pointer(file):
            remedy = "run 'git lfs pull' where the corpus was cloned, or download the audio"
            found["lfs", remedy].append((lines[key], f"{file}: is a Git LFS pointer, not audio"))
    for (_, remedy), locations in found.items():
        problems.add(path, locations, remedy)
