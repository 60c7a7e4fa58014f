"""Kaldi data directories: reading, checking, mending, cutting and joining them.

A data directory is a folder of text tables (`ser.base.kaldi_tables`) keyed by utterance, speaker or recording. Ids of
utterances start with their speaker's id, so that one sorted order (C locale, which for UTF-8 is the order of Python
strings) serves both. Relative paths inside tables count from the working directory, as in Kaldi.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import os
import random
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path

from ser.base.errors import SerError
from ser.base.files import atomic_path, write_text
from ser.base.kaldi_tables import read_table

UTTERANCE_TABLES = (
    "utt2spk", "utt2emo", "utt2dur", "utt2num_frames", "utt2noise", "feats.scp", "vad.scp", "segments",
    "text", "utt2lang", "utt2uniq", "utt2warp",
)
SPEAKER_TABLES = ("spk2utt", "spk2gender", "spk2warp", "cmvn.scp")
RECORDING_TABLES = ("wav.scp", "reco2dur", "reco2file_and_channel")  # keyed by utterance where there is no `segments`
TABLES = UTTERANCE_TABLES + SPEAKER_TABLES + RECORDING_TABLES

_MOST_PROBLEMS = 10
_LFS_POINTER = b"version https://git-lfs"

Tables = dict[str, dict[str, str]]
Location = tuple[int, str]  # line number, what is wrong there


class DataDir:
    """A data directory that is taken to be valid (see `validate`); tables are read when asked for, and once.

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
        """Key to the rest of the line, in sorted order."""
        if name not in self._tables:
            self._tables[name] = read_table(self.path / name)
        return self._tables[name]


def spk2utt(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """The table from speaker to the utterances of each, sorted, as words."""
    utterances = defaultdict(list)
    for utt in sorted(utt2spk):
        utterances[utt2spk[utt]].append(utt)
    return {speaker: " ".join(utts) for speaker, utts in utterances.items()}


def class_counts(path: str | os.PathLike[str]) -> dict[str, int]:
    """Utterances per emotion, sorted by its name."""
    return dict(sorted(Counter(DataDir(path).table("utt2emo").values()).items()))


def check_disjoint(*paths: str | os.PathLike[str]) -> None:
    """Check that no speaker occurs in two of the directories (train, dev, test).

    Raises:
        SerError: some do; the message names them and the directories.
    """
    speakers = [(path, set(DataDir(path).table("utt2spk").values())) for path in paths]
    problems = []
    for (one, these), (other, those) in itertools.combinations(speakers, 2):
        if shared := sorted(these & those):
            problems.append(f"{_count(len(shared), 'speaker')} in both {one} and {other}: {_some(shared)}")
    if problems:
        raise SerError("; ".join(problems) + "; every speaker may be in one split only: correct the lists")


def validate(
    path: str | os.PathLike[str],
    *,
    need: Sequence[str] = ("utt2emo",),
    emotions: Iterable[str] | None = None,
    speaker_order: bool = True,
) -> None:
    """Check a data directory: what Kaldi's `validate_data_dir.sh` rejects is rejected, and more.

    Args:
        path: the directory; `utt2spk` and `spk2utt` must be there always.
        need: tables that must be there too. The files that a needed `wav.scp`, `feats.scp` or `vad.scp` names
            must exist; those of a table that is there but not needed are not looked at.
        emotions: the labels allowed in `utt2emo`; None allows any.
        speaker_order: ids must start with the speaker's id, so that sorting by utterance also sorts by speaker.

    Raises:
        SerError: every problem (the first ten kinds), each with file, line and remedy.
    """
    _load(Path(path), need=need, emotions=emotions, speaker_order=speaker_order)


def fix(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Sort all tables, drop utterances that are missing from any of them, and write `spk2utt` anew from `utt2spk`.

    The old version of every file that changes is kept in `<path>/.backup`, beside a list `dropped_utterances`.

    Returns:
        The table that an utterance was missing from (or malformed in) -> those utterances, for all that were dropped.

    Raises:
        SerError: a choice is the user's (one id with two values) or nothing would be left; nothing is changed then.
            Or what remains is not valid for a reason that dropping cannot cure, such as ids without speaker prefix.
    """
    path = Path(path)
    if not (path / "utt2spk").is_file():
        raise SerError(f"{path}/utt2spk: no such file; without it {path} is not a data directory")
    tables = {name: _read_leniently(path / name) for name in TABLES if (path / name).is_file()}
    tables.pop("spk2utt", None)
    segments = tables.get("segments")
    if segments is not None and "wav.scp" not in tables:
        raise SerError(f"{path}/segments: there is no wav.scp beside it; {_MAKERS['wav.scp']}")
    by_utterance = [name for name in tables
                    if name in UTTERANCE_TABLES or (name in RECORDING_TABLES and segments is None)]
    kept = {utt: tables["utt2spk"].get(utt) for utt in sorted(set().union(*(tables[name] for name in by_utterance)))}
    dropped: dict[str, list[str]] = {}

    def drop(name: str, bad: Callable[[str], bool]) -> None:
        if gone := [utt for utt in kept if bad(utt)]:
            dropped[name] = gone
            for utt in gone:
                del kept[utt]

    for name in by_utterance:
        drop(name, lambda utt, table=tables[name]: utt not in table)
    for name in tables:
        if name in SPEAKER_TABLES:
            drop(name, lambda utt, table=tables[name]: kept[utt] not in table)
        elif name not in by_utterance:
            drop(name, lambda utt, table=tables[name]: segments[utt].split()[0] not in table)
    if not kept:
        listing = "; ".join(f"{_count(len(utts), 'utterance')} not in {name}" for name, utts in dropped.items())
        raise SerError(f"{path}: no utterance is in all of its tables ({listing}); nothing was changed")

    content = _content(_restrict(tables, kept))
    changed = {name: text for name, text in content.items() if _bytes(path / name) != text.encode()}
    for name in changed:
        if (path / name).is_file():
            with atomic_path(path / ".backup" / name) as copy:
                copy.write_bytes((path / name).read_bytes())
    if dropped:
        write_text(
            path / ".backup" / "dropped_utterances",
            "".join(f"{utt} {name}\n" for name, utts in dropped.items() for utt in utts),
        )
    for name, text in changed.items():
        write_text(path / name, text)
    _load(path, speaker_order=True)
    return dropped


def pick(data: DataDir, how: str, number: int, seed: int = 0) -> list[str]:
    """Choose utterances.

    Args:
        how: `spread` (evenly over the sorted list), `first`, `last`, `shortest` (by `utt2num_frames` or `utt2dur`),
            `per-spk` (`number` of every speaker, spread evenly), `speakers` (whole speakers in random order until
            there are at least `number` utterances).

    Raises:
        SerError: there are fewer than `number` utterances (in `per-spk` fewer is right), or lengths are unknown.
    """
    utterances, utt2spk = data.utterances, data.table("utt2spk")
    if number < 1:
        raise SerError(f"cannot pick {number} utterances; at least 1")
    by_speaker = defaultdict(list)
    for utt in utterances:
        by_speaker[utt2spk[utt]].append(utt)
    if how == "per-spk":
        return [utt for utts in by_speaker.values() for utt in _spread(utts, min(number, len(utts)))]
    if number > len(utterances):
        raise SerError(f"{data.path}: cannot pick {number} utterances, there are {len(utterances)}")
    if how == "speakers":
        speakers = sorted(by_speaker)
        random.Random(seed).shuffle(speakers)
        picked: list[str] = []
        for speaker in speakers:
            if len(picked) < number:
                picked += by_speaker[speaker]
        return picked
    if how == "shortest":
        name = "utt2num_frames" if data.has("utt2num_frames") else "utt2dur"
        if not data.has(name):
            raise SerError(f"{data.path}: the shortest utterances need utt2num_frames or utt2dur; neither is there")
        lengths = data.table(name)
        return sorted(utterances, key=lambda utt: (float(lengths[utt]), utt))[:number]
    return {"spread": _spread, "first": lambda u, n: u[:n], "last": lambda u, n: u[-n:]}[how](utterances, number)


def subset(src: str | os.PathLike[str], dst: str | os.PathLike[str], utterances: Iterable[str]) -> None:
    """Write the part of `src` with these utterances to `dst`, every table, `conf/` and `frame_shift` included.

    What `dst` held before is replaced; other folders in it (arks) stay. Equal content is not written again.

    Raises:
        SerError: `src` is not valid, none of the utterances is in it, or `dst` is `src`.
    """
    src, dst = Path(src), Path(dst)
    _check_apart(dst, [src])
    tables = _load(src)
    keep = {utt: tables["utt2spk"][utt] for utt in set(utterances) & tables["utt2spk"].keys()}
    if not keep:
        raise SerError(f"{src}: none of the utterances asked for is in it; {dst} was not written")
    _write(dst, _restrict(tables, keep), _extras(src))


def filter_speakers(
    data: DataDir, min_utts: int = 1, min_frames: int = 1, speakers: Container[str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Choose the utterances of speakers with enough data.

    Args:
        min_utts: speakers with fewer utterances that are long enough go.
        min_frames: utterances with fewer frames (`utt2num_frames`) go; not looked at if it is 1.
        speakers: other speakers than these go; None keeps all.

    Returns:
        The utterances kept, and for each of the others why not: `speaker`, `frames` or `utterances`.

    Raises:
        SerError: there is no `utt2num_frames`.
    """
    utt2spk = data.table("utt2spk")
    frames = data.table("utt2num_frames") if min_frames > 1 else {}
    why: dict[str, str] = {}
    for utt, speaker in utt2spk.items():
        if speakers is not None and speaker not in speakers:
            why[utt] = "speaker"
        elif min_frames > 1 and int(frames[utt]) < min_frames:
            why[utt] = "frames"
    left = Counter(speaker for utt, speaker in utt2spk.items() if utt not in why)
    why |= {utt: "utterances" for utt, speaker in utt2spk.items() if utt not in why and left[speaker] < min_utts}
    return [utt for utt in utt2spk if utt not in why], why


def combine(dst: str | os.PathLike[str], sources: Sequence[str | os.PathLike[str]]) -> dict[str, list[str]]:
    """Join data directories into one.

    A table is kept if every source has it. Where only some sources have `utt2noise` (a training set with its noisy
    copies) the features are what is joined: `wav.scp` would then say that noisy utterances are clean, so the
    tables that lead to audio are left out.

    Returns:
        Name of each table that was left out -> the sources that lack it (for those left out with them: empty).

    Raises:
        SerError: an utterance is in two sources, a speaker or recording has two different values, some sources have
            `segments` and some do not, features were made with different options, or a source is not valid.
    """
    dst, paths = Path(dst), [Path(source) for source in sources]
    _check_apart(dst, paths)
    loaded = [_load(path) for path in paths]
    lacking = {
        name: [str(path) for path, tables in zip(paths, loaded, strict=True) if name not in tables]
        for name in TABLES
        if any(name in tables for tables in loaded)
    }
    left_out = {name: without for name, without in lacking.items() if without}
    if "segments" in left_out:
        raise SerError(f"{_some(left_out['segments'])} without segments cannot be joined with directories that have it")
    if "utt2noise" in left_out:
        if "feats.scp" not in lacking or "feats.scp" in left_out:
            raise SerError(
                f"{_some(left_out['utt2noise'])} without utt2noise cannot be joined with noisy copies before all "
                "have features; run steps/make_mfcc.sh on each"
            )
        left_out |= {name: [] for name in ("segments", *RECORDING_TABLES) if name in lacking and name not in left_out}

    joined: Tables = {}
    for name in lacking.keys() - left_out.keys() - {"spk2utt"}:
        joined[name], origin = {}, {}
        for path, tables in zip(paths, loaded, strict=True):
            for key, value in tables[name].items():
                if key in joined[name] and (name in UTTERANCE_TABLES or joined[name][key] != value):
                    raise SerError(
                        f"{path / name}: {key} is also in {origin[key] / name}; give one of them another id"
                        + (" (a prefix or suffix)" if name in UTTERANCE_TABLES else " or the same value")
                    )
                joined[name][key], origin[key] = value, path
    extras: dict[str, bytes] = {}
    for name in sorted({name for path in paths for name in _extras(path)}):
        versions = {path: _extras(path).get(name) for path in paths}
        there = {path: version for path, version in versions.items() if version is not None}
        one = next(iter(there))
        unlike = [path for path in there if there[path] != there[one]]
        if unlike and "feats.scp" in joined:
            raise SerError(
                f"{one / name} and {unlike[0] / name} differ, so their features do not go together; "
                "make both with the same options"
            )
        if not unlike and len(there) == len(paths):
            extras[name] = there[one]
        else:
            left_out[name] = [str(path) for path in paths if path not in there]
    _write(dst, _restrict(joined, joined["utt2spk"]), extras)
    left_out.pop("spk2utt", None)
    return left_out


def split(path: str | os.PathLike[str], parts: int, per_utt: bool = False) -> list[Path]:
    """Cut into `parts` directories `<path>/split<parts>/<k>` (with `per_utt` `split<parts>utt/<k>`), k from 1.

    Parts are consecutive pieces of the sorted list, so that tables made of them are in order when concatenated, and
    are as equal in utterances as whole speakers allow; `per_utt`, or having fewer speakers than parts, lets a
    speaker be in two parts. Only files whose content changes are written.

    Raises:
        SerError: there are fewer utterances than parts, or the directory is not valid.
    """
    path = Path(path)
    tables = _load(path)
    utt2spk = tables["utt2spk"]
    if not 1 <= parts <= len(utt2spk):
        raise SerError(f"{path}: cannot cut {_count(len(utt2spk), 'utterance')} into {parts} parts; use a smaller --nj")
    units = [list(utts) for _, utts in itertools.groupby(utt2spk, key=utt2spk.__getitem__)]
    if per_utt or len(units) < parts:
        units = [[utt] for utt in utt2spk]
    ends = list(itertools.accumulate(len(utts) for utts in units))
    first, extras, directories = 0, _extras(path), []
    for part in range(1, parts + 1):
        aim = len(utt2spk) * part / parts
        after = bisect.bisect_left(ends, aim)  # the unit that crosses the aim goes to the part that it overlaps more
        if after < len(ends) and ends[after] - aim <= aim - (ends[after - 1] if after else 0):
            after += 1
        after = min(max(after, first + 1), len(units) - (parts - part))
        keep = {utt: utt2spk[utt] for utts in units[first:after] for utt in utts}
        directories.append(path / f"split{parts}{'utt' if per_utt else ''}" / str(part))
        _write(directories[-1], _restrict(tables, keep), extras)
        first = after
    return directories


# ---- reading and checking -------------------------------------------------------------------------------------------


class _Problems:
    """Problems of a directory, one entry for all lines of a file that share a kind."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.found = directory, []

    def add(self, where: Path, locations: Sequence[Location] = (), remedy: str = "", what: str = "") -> None:
        if locations:
            (line, what), rest = locations[0], locations[1:]
            numbers = ", ".join(str(number) for number, _ in rest[:5]) + (", …" if len(rest) > 5 else "")
            more = f" (and {len(rest)} more, line {numbers})" if rest else ""
            self.found.append(f"{where}:{line}: {what}{more}; {remedy}")
        elif what:
            self.found.append(f"{where}: {what}; {remedy}")

    def raise_any(self) -> None:
        if not self.found:
            return
        if len(self.found) == 1:
            raise SerError(self.found[0])
        shown, hidden = self.found[:_MOST_PROBLEMS], len(self.found) - _MOST_PROBLEMS
        lines = [f"{self.directory}: {len(self.found)} kinds of problems", *shown]
        raise SerError("\n  ".join(lines + ([f"… and {hidden} more"] if hidden > 0 else [])))


_ODD_SPACE = re.compile(r"[^\S \t]")  # \r, no-break space…: Kaldi takes them for a part of a word


def _load(
    path: Path, *, need: Sequence[str] = (), emotions: Iterable[str] | None = None, speaker_order: bool = False
) -> Tables:
    """Read and check a whole directory, see `validate`."""
    if not path.is_dir():
        raise SerError(f"{path}: no such data directory")
    problems = _Problems(path)
    for name in dict.fromkeys(("utt2spk", "spk2utt", *need)):
        if not (path / name).is_file():
            problems.add(path / name, what="no such file", remedy=_MAKERS.get(name, "make the directory again"))
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
        problems.add(path / "frame_shift", what="is not a number of seconds", remedy=_MAKERS["feats.scp"])
    problems.raise_any()
    return tables


_MAKERS = {
    "wav.scp": "make the directory again (stage 0)",
    "utt2emo": "make the directory again (stage 0)",
    "spk2utt": "run utils/fix_data_dir.sh on the directory",
    "feats.scp": "run steps/make_mfcc.sh (stage 1)",
    "utt2num_frames": "run steps/make_mfcc.sh (stage 1)",
    "vad.scp": "run steps/compute_vad.sh (stage 1)",
    "utt2noise": "run steps/augment_data_dir.sh (stage 2)",
}


def _read(path: Path, problems: _Problems) -> tuple[dict[str, int], dict[str, str]]:
    """One table: key -> line number, key -> value."""
    remedy = f"run utils/fix_data_dir.sh {path.parent}"
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        problems.add(path, what=f"not UTF-8 text (byte {error.start})", remedy="convert it with iconv")
        return {}, {}
    if not text:
        problems.add(path, what="is empty", remedy=_MAKERS.get(path.name, "make it again, or remove it"))
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


def _is_word(value: str) -> bool:
    return len(value.split(None, 1)) == 1


_FORMATS: dict[str, tuple[Callable[[str], bool], str]] = {
    "utt2spk": (_is_word, "an utterance and one speaker"),
    "utt2emo": (_is_word, "an utterance and one label"),
    "utt2dur": (_positive, "an utterance and its seconds, over 0"),
    "reco2dur": (_positive, "a recording and its seconds, over 0"),
    "utt2num_frames": (lambda value: value.isdecimal() and int(value) > 0, "an utterance and its frames, 1 or more"),
    "segments": (_is_segment, "<utterance> <recording> <start> <end> with 0 <= start < end in s, or end -1"),
    "utt2noise": (_is_noise, "<utterance> <SNR in dB> <first sample> <noise file>"),
    "utt2uniq": (_is_word, "an utterance and the one it is a copy of"),
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


def _check_values(path: Path, lines: dict[str, int], table: dict[str, str], problems: _Problems) -> None:
    if path.name in _FORMATS:
        right, form = _FORMATS[path.name]
        wrong = [(lines[key], f"'{key} {value}'") for key, value in table.items() if not right(value)]
        problems.add(path, wrong, f"expected {form}: correct it")


def _check_keys(path: Path, lines: dict[str, dict[str, int]], tables: Tables, problems: _Problems) -> None:
    """All tables must have the utterances, speakers and recordings that `utt2spk` and `segments` have."""
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
            problems.add(path / "segments", what="there is no wav.scp beside it", remedy=_MAKERS["wav.scp"])
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
    path: Path, lines: dict[str, dict[str, int]], tables: Tables, problems: _Problems, speaker_order: bool
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


def _check_files(path: Path, lines: dict[str, int], table: dict[str, str], problems: _Problems) -> None:
    """The files that a table names must be there and hold something; pipes are not run."""
    found: dict[tuple[str, str], list[Location]] = defaultdict(list)
    if path.name == "wav.scp":
        lost = f"put it back (is the disk mounted?), or remove the line and run utils/fix_data_dir.sh {path.parent}"
        files = {value: key for key, value in table.items()}
    elif path.name in ("feats.scp", "vad.scp"):
        lost = _MAKERS[path.name] + " again"
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
        elif status.st_size < 1024 and stat.S_ISREG(status.st_mode):
            with open(file, "rb") as stream:
                pointer = stream.read(len(_LFS_POINTER)) == _LFS_POINTER
            if pointer:
                remedy = "run 'git lfs pull' where the corpus was cloned, or download the audio"
                found["lfs", remedy].append((lines[key], f"{file}: is a Git LFS pointer, not audio"))
    for (_, remedy), locations in found.items():
        problems.add(path, locations, remedy)


# ---- writing --------------------------------------------------------------------------------------------------------


def _read_leniently(path: Path) -> dict[str, str]:
    """A table in any order; repeated lines count once and malformed ones not at all."""
    form = _FORMATS.get(path.name, (lambda value: True, ""))[0]
    table: dict[str, str] = {}
    try:
        rows = path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise SerError(f"{path}: not UTF-8 text (byte {error.start}); convert it with iconv") from None
    for number, row in enumerate(rows, 1):
        fields = row.split(None, 1)
        if not fields:
            continue
        key, value = fields[0], fields[1].rstrip() if len(fields) > 1 else ""
        if (not value and path.name != "text") or not form(value):
            continue
        if table.setdefault(key, value) != value:
            raise SerError(f"{path}:{number}: {key} occurs twice with different values; keep one of the lines")
    return table


def _restrict(tables: Tables, utt2spk: dict[str, str]) -> Tables:
    """The part of all tables that belongs to these utterances."""
    segments = tables.get("segments")
    speakers = set(utt2spk.values())
    recordings = utt2spk.keys() if segments is None else {segments[utt].split()[0] for utt in utt2spk}
    part: Tables = {"spk2utt": spk2utt(utt2spk)}
    for name, table in tables.items():
        if name == "spk2utt":
            continue
        keep = speakers if name in SPEAKER_TABLES else recordings if name in RECORDING_TABLES else utt2spk.keys()
        part[name] = {key: table[key] for key in keep}
    return part


def _content(tables: Tables) -> dict[str, str]:
    """File name -> text; `utt2spk` last, because nothing takes a directory without it for a data directory."""
    return {
        name: "".join(f"{key} {table[key]}\n" for key in sorted(table))
        for name, table in sorted(tables.items(), key=lambda item: item[0] == "utt2spk")
    }


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _extras(path: Path) -> dict[str, bytes]:
    """What describes a directory's features as a whole: `frame_shift` and the files of `conf/`."""
    files = [path / "frame_shift", *sorted((path / "conf").glob("*"))]
    return {str(file.relative_to(path)): file.read_bytes() for file in files if file.is_file()}


def _write(directory: Path, tables: Tables, extras: dict[str, bytes]) -> None:
    """Make the directory hold exactly these tables; touches nothing that is right already."""
    content = extras | {name: text.encode() for name, text in _content(tables).items()}
    changed = [name for name, data in content.items() if _bytes(directory / name) != data]
    stale = [name for name in (*TABLES, *_extras(directory)) if name not in content and (directory / name).exists()]
    if not changed and not stale:
        return
    (directory / "utt2spk").unlink(missing_ok=True)
    for name in stale:
        (directory / name).unlink()
    for name in dict.fromkeys([*changed, "utt2spk"]):
        with atomic_path(directory / name) as temporary:
            temporary.write_bytes(content[name])


def _check_apart(dst: Path, sources: Iterable[Path]) -> None:
    for src in sources:
        if dst.resolve() == src.resolve():
            raise SerError(f"{dst}: is a source as well; write to another directory")


def _spread(items: list[str], number: int) -> list[str]:
    return [items[index * len(items) // number] for index in range(number)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _some(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" … ({len(names)} in all)" if len(names) > most else "")
