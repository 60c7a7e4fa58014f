"""Mending, cutting and joining Kaldi data directories."""

from __future__ import annotations

import bisect
import itertools
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path

from ser.base.errors import SerError
from ser.base.files import atomic_path, write_text
from ser.base.words import some
from ser.data.datadir import (
    FORMATS,
    HOW_MADE,
    MAKERS,
    RECORDING_TABLES,
    SPEAKER_TABLES,
    TABLES,
    UTTERANCE_TABLES,
    DataDir,
    Tables,
    spk2utt,
    validate,
)


def fix(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Sort all tables, drop utterances that are missing from any of them, and write `spk2utt` anew from `utt2spk`.

    The old version of every file that changes is kept in `<path>/.backup`, beside a list `dropped_utterances`.

    Returns:
        The dropped utterances, by the table that they were missing from or malformed in.

    Raises:
        SerError: an id has two values, between which only the user can choose, or no utterance would remain (nothing
            is changed then); or dropping does not make the directory valid, as with ids without speaker prefix.
    """
    path = Path(path)
    if not (path / "utt2spk").is_file():
        raise SerError(f"{path}/utt2spk: no such file; without it {path} is not a data directory")
    tables = {name: _read_leniently(path / name) for name in TABLES if (path / name).is_file()}
    tables.pop("spk2utt", None)
    segments = tables.get("segments")
    if segments is not None and "wav.scp" not in tables:
        raise SerError(f"{path}/segments: there is no wav.scp beside it; {MAKERS['wav.scp']}")
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

    content = _content(restrict(tables, kept))
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
    validate(path, need=())
    return dropped


def listed_utterances(path: str | os.PathLike[str]) -> set[str]:
    """Return the utterances of a data directory, those that `fix` has dropped included."""
    dropped = Path(path) / ".backup" / "dropped_utterances"
    lines = dropped.read_text(encoding="utf-8").splitlines() if dropped.exists() else []
    return {*DataDir(path).utterances, *(line.split()[0] for line in lines)}


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
    """Write the part of `src` with these utterances to `dst`: every table, `conf/` and `frame_shift`.

    The tables that `dst` held are replaced; other folders in it (arks) stay. Equal content is not written again.

    Raises:
        SerError: `src` is not valid, none of the utterances is in it, or `dst` is `src`.
    """
    src, dst = Path(src), Path(dst)
    _check_apart(dst, [src])
    tables = validate(src, need=(), speaker_order=False)
    keep = {utt: tables["utt2spk"][utt] for utt in set(utterances) & tables["utt2spk"].keys()}
    if not keep:
        raise SerError(f"{src}: none of the utterances asked for is in it; {dst} was not written")
    write(dst, restrict(tables, keep), _extras(src))


def filter_speakers(
    data: DataDir, min_utts: int = 1, min_frames: int = 1, speakers: Container[str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Choose the utterances of speakers with enough data.

    Args:
        min_utts: drop speakers with fewer utterances of sufficient length.
        min_frames: drop utterances with fewer frames (`utt2num_frames`); with 1 that table is not read.
        speakers: drop all speakers but these; None keeps all.

    Returns:
        The utterances kept, and for each dropped one the reason: `speaker`, `frames` or `utterances`.

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

    A table is kept if every source has it. If only some sources have `utt2noise` or `utt2perturb` (a training set
    and its copies), the tables that lead to audio are left out as well: the features remain, and a `wav.scp` without
    these would say that the copies are originals.

    Returns:
        The sources that lack a table, by the name of each table that was left out (none for tables left out with it).

    Raises:
        SerError: an utterance is in two sources, a speaker or recording has two different values, some sources have
            `segments` and some do not, features were made with different options, or a source is not valid.
    """
    dst, paths = Path(dst), [Path(source) for source in sources]
    _check_apart(dst, paths)
    loaded = [validate(path, need=(), speaker_order=False) for path in paths]
    lacking = {
        name: [str(path) for path, tables in zip(paths, loaded, strict=True) if name not in tables]
        for name in TABLES
        if any(name in tables for tables in loaded)
    }
    left_out = {name: without for name, without in lacking.items() if without}
    if "segments" in left_out:
        raise SerError(f"{some(left_out['segments'])} without segments cannot be joined with directories that have it")
    for table in left_out.keys() & HOW_MADE:
        if "feats.scp" not in lacking or "feats.scp" in left_out:
            raise SerError(
                f"{some(left_out[table])} without {table} cannot be joined with copies that have it before all "
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
    write(dst, restrict(joined, joined["utt2spk"]), extras)
    left_out.pop("spk2utt", None)
    return left_out


def split(path: str | os.PathLike[str], parts: int, per_utt: bool = False) -> list[Path]:
    """Cut into `parts` directories `<path>/split<parts>/<k>` (with `per_utt` `split<parts>utt/<k>`), k from 1.

    Parts are consecutive pieces of the sorted list, so tables made of them are in order when concatenated. They have
    numbers of utterances as equal as whole speakers allow; with `per_utt`, or with fewer speakers than parts, a
    speaker may be in two parts. Only files whose content changes are written.

    Raises:
        SerError: there are fewer utterances than parts, or the directory is not valid.
    """
    path = Path(path)
    tables = validate(path, need=(), speaker_order=False)
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
        after = bisect.bisect_left(ends, aim)  # the unit across the boundary joins the part that holds more of it
        if after < len(ends) and ends[after] - aim <= aim - (ends[after - 1] if after else 0):
            after += 1
        after = min(max(after, first + 1), len(units) - (parts - part))
        keep = {utt: utt2spk[utt] for utts in units[first:after] for utt in utts}
        directories.append(path / f"split{parts}{'utt' if per_utt else ''}" / str(part))
        write(directories[-1], restrict(tables, keep), extras)
        first = after
    return directories


def _read_leniently(path: Path) -> dict[str, str]:
    """Read a table in any order, counting repeated lines once and skipping malformed ones."""
    form = FORMATS.get(path.name, (lambda value: True, ""))[0]
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


def restrict(tables: Tables, utt2spk: dict[str, str]) -> Tables:
    """Return the part of all tables that belongs to these utterances."""
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
    """Return the text of each file by name; `utt2spk` comes last: without it no program accepts a directory."""
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
    """Read the files that describe a directory's features as a whole: `frame_shift` and those of `conf/`."""
    files = [path / "frame_shift", *sorted((path / "conf").glob("*"))]
    return {str(file.relative_to(path)): file.read_bytes() for file in files if file.is_file()}


def write(directory: Path, tables: Tables, extras: dict[str, bytes]) -> None:
    """Make the directory hold exactly these tables, writing only what differs."""
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
