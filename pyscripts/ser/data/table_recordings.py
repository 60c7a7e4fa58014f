"""The recordings that the rows of a table name: their ids, and how long they are."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Mapping

from ser.base.errors import SerError
from ser.base.problems import Problems
from ser.data import corpus
from ser.data.audio import OVERSHOOT_SECONDS
from ser.data.corpus import EmotionRecording
from ser.data.corpus_table import Table, who_speaks


def recordings(table: Table) -> dict[EmotionRecording, int]:
    """Return the recordings of a table and the row of each.

    Ids are `<speaker>-<file>`, of pieces `<speaker>-<file>-<start in ms>`, with a checksum where two would be alike.
    Where nobody knows the speakers, the file stands for its speaker.

    Raises:
        SerError: two speakers' names become the same id.
    """
    speakers = _speaker_ids(table)
    ids = {}
    for row in table.rows:
        name = speakers[who_speaks(row)] + (f"-{corpus.slug(row.path.stem)}" if row.speaker else "")
        ids[row] = name + (f"-{round(1000 * row.start):07d}" if row.start or row.end is not None else "")
    alike = Counter(ids.values())
    found = {}
    for row, name in ids.items():
        if alike[name] > 1:
            name += f"-{_checksum(f'{row.path} {row.start} {row.end}')}"
        piece = (row.path, row.start, row.end, row.text)
        found[EmotionRecording(name, speakers[who_speaks(row)], row.emotion, *piece)] = row.number
    return found


def _speaker_ids(table: Table) -> dict[str, str]:
    """Return the id of each speaker."""
    first = {who_speaks(row): row for row in reversed(table.rows)}
    ids = {who: corpus.slug(row.speaker or row.path.stem) for who, row in first.items()}
    alike = Counter(ids.values())
    for who, name in ids.items():
        if alike[name] == 1:
            continue
        if first[who].speaker:
            alike_rows = (row for other, row in first.items() if ids[other] == name)
            one, two = sorted(alike_rows, key=lambda row: row.number)[:2]
            raise SerError(f"{table.path}:{two.number}: speaker '{two.speaker}' cannot be told from '{one.speaker}' of "
                           f"row {one.number} by an id, which is {name} for both; rename one of them")
        ids[who] = f"{name}_{_checksum(who)}"
    return ids


def _checksum(text: str) -> str:
    return f"{zlib.crc32(os.fsencode(text)):08x}"


def measure(
    table: Table, found: Mapping[EmotionRecording, int], jobs: int, allow_partial: bool
) -> dict[str, float]:
    """Return the seconds of each recording, by utterance.

    Raises:
        SerError: files are missing or no audio, or pieces are not inside theirs; each is named with its row. With
            `allow_partial` they are named in a warning and are absent from the result.
    """
    files = {recording.path: recording for recording in reversed(found)}
    lengths = corpus.measure(
        list(files.values()), jobs, allow_partial,
        lambda recording: f"{recording.path} (row {found[recording]})",  # type: ignore[index]
    )
    length = {path: lengths[recording.utterance] for path, recording in files.items() if recording.utterance in lengths}
    seconds, outside = {}, []
    for recording, number in found.items():
        if recording.path not in length:
            continue
        whole = length[recording.path]
        end = whole if recording.end is None else recording.end
        if recording.start >= whole or end > whole + OVERSHOOT_SECONDS:
            outside.append((number, f"{recording.path.name} is {whole:.3f} s long, and the row's piece is from "
                                    f"{recording.start:g} to {end:g} s"))
        else:
            seconds[recording.utterance] = min(end, whole) - recording.start
    problems = Problems(table.path)
    problems.add(table.path, outside, "correct the times"
                 + ("" if allow_partial else ", or leave such pieces out with --allow-partial true"))
    if not allow_partial:
        problems.raise_any()
    for message in problems.found:
        corpus.warn(f"{message}; left out")
    return seconds
