"""SPHERE files: what their headers say, how a channel is decoded, and the recordings that this makes."""

from __future__ import annotations

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from ser.base.errors import SerError
from ser.base.progress import progress
from ser.base.words import some
from ser.data import corpus
from ser.data import speaker_corpus as speakers
from ser.data.speaker_corpus import SpeakerRecording
from telephone.release import Side

FFMPEG = ('ffmpeg -nostdin -v error -xerror -threads 1 -i {{}} -af "pan=mono|c0=c{channel}" -c:a pcm_s16le -f wav - |')
SPH2PIPE = "sph2pipe -f wav -p -c {number} {{}} |"


def recordings(sides: Iterable[Side], prefix: str, allow_partial: bool) -> list[SpeakerRecording]:
    """Return a recording for each side, its speaker id with `prefix`; a call is a session.

    Raises:
        SerError: a side has two speakers, an id is malformed, a file is not SPHERE or lacks that channel.
    """
    unique: dict[tuple[str, int], Side] = {}
    for side in sides:
        first = unique.setdefault((side.path, side.channel), side)
        if first.speaker != side.speaker:
            raise SerError(f"{side.where}: {side.path}, channel {'AB'[side.channel]}, is speaker {side.speaker}, but "
                           f"{first.speaker} in {first.where}; correct one of the tables")
        if not re.fullmatch(r"[\w.]+", side.speaker, re.ASCII):
            raise SerError(f"{side.where}: speaker {side.speaker!r}: letters, digits, _ and . only, please")
    found: list[SpeakerRecording] = []
    problems: dict[str, list[str]] = defaultdict(list)
    kinds: Counter[str] = Counter()
    for side in progress(unique.values(), len(unique), "reading SPHERE headers", unit="side"):
        try:
            channels, coding = read_header(side.path)
            command = decoder(side, channels, coding)
        except SerError as error:
            problems[str(error)].append(f"{side.path} ({side.where})")
            continue
        kinds[f"{coding}, {channels} channel{'s' if channels > 1 else ''}"] += 1
        stem = re.sub(r"\s", "_", os.path.splitext(os.path.basename(side.path))[0])
        found.append(speakers.file_recording(
            side.path, os.stat(side.path), f"{prefix}-{side.speaker}", stem, f"{stem}_{'ab'[side.channel]}", command
        ))
    for problem, files in problems.items():
        message = f"{len(files)} of {len(unique)} sides of {prefix}: {problem}: {some(files)}"
        if not allow_partial:
            raise SerError(f"{message}; mend that, or leave them out with --allow-partial true")
        corpus.warn(f"{message}; left out")
    speakers.require_unique(found, "rename one of the files")
    formats = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    print(f"{prefix}: {len(found)} sides of {len({r.speaker for r in found})} speakers ({formats})")
    return found


def read_header(path: str) -> tuple[int, str]:
    """Return number of channels and coding (`pcm`, `ulaw`, `ulaw,embedded-shorten-v2.00`…) of a SPHERE file.

    Format: NIST SPHERE, lines `<name> -<i|r|s<length>> <value>` after NIST_1A and the header's size, until end_head.

    Raises:
        SerError: the file is empty, no SPHERE file or cut short; the message does not name it.
    """
    with open(path, "rb") as file:
        start = file.read(16)
        if not start:
            raise SerError("empty file")
        if not re.fullmatch(rb"NIST_1A\n *\d+\n", start):
            raise SerError("not a SPHERE file")
        header = file.read(int(start[8:]) - len(start)).decode("latin-1")
        fields = dict(re.findall(r"^(\w+) -\w+ (.*?)\s*$", header.partition("end_head")[0], re.MULTILINE))
        numbers = [fields.get(name, "") for name in ("channel_count", "sample_count", "sample_n_bytes")]
        coding = fields.get("sample_coding", "pcm")
        size = os.fstat(file.fileno()).st_size - int(start[8:])
        if not numbers[0].isdecimal() or size < 1:
            raise SerError("a SPHERE file cut short")
        if "," not in coding and all(map(str.isdecimal, numbers)) and size < math.prod(map(int, numbers)):
            raise SerError(f"a SPHERE file cut short: {size} bytes of audio, {math.prod(map(int, numbers))} promised")
    return int(numbers[0]), coding


def decoder(side: Side, channels: int, coding: str) -> str:
    """Return the pipe that decodes one channel.

    ffmpeg reads plain and shorten-compressed PCM and plain mu-law and A-law. It has no decoder for mu-law compressed
    by shorten, in which parts of Switchboard came; for that there is sph2pipe, LDC's own.

    Raises:
        SerError: the file lacks the channel, or sph2pipe is needed and not there.
    """
    if side.channel >= channels:
        raise SerError("there is no channel B in a file of one channel")
    if coding == "pcm" or coding.startswith("pcm,embedded-shorten") or coding in ("ulaw", "mu-law", "alaw"):
        return FFMPEG.format(channel=side.channel)
    if "embedded-shorten" in coding:
        speakers.require_program("sph2pipe", f"ffmpeg cannot decode SPHERE coding {coding}",
                                 "install LDC's sph2pipe on every machine that runs jobs")
        return SPH2PIPE.format(number=side.channel + 1)
    raise SerError(f"SPHERE coding {coding} is not supported; convert it to plain PCM")
