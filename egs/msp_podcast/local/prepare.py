#!/usr/bin/env python3
"""Data directories out of MSP-Podcast: train (Train), dev (Validation or Development) and test (Test1) of the release.

Labels come from Labels/labels_consensus.csv (or labels_concensus.csv). Where that table has no column SpkrID or
Split_Set, as in older releases, speakers come from Speaker_ids.txt and splits from Partitions.txt.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from ser.base.errors import SerError, run_main
from ser.base.words import some
from ser.data import corpus
from ser.data.corpus import EmotionRecording

TABLES = ("Labels/labels_consensus.csv", "Labels/labels_concensus.csv")
AUDIO_FOLDERS = ("Audios", "Audio")
SPLITS = {"train": "train", "validation": "dev", "development": "dev", "test1": "test"}
CLASSES = {"A": "angry", "D": "disgust", "H": "happy", "N": "neutral", "S": "sad"}
UNKNOWN = ("unknown", "")
# Utterances and speakers per split. Release 1.4: of the five classes, as in the paper. Release 1.11: of all classes,
# as its publishers give them; train has recordings of unknown speakers besides.
PAPER = {"train": (14200, 610), "dev": (2893, 30), "test": (6482, 50)}
RELEASE_1_11 = {"train": 84030, "dev": 19815, "test": 30647}
REMEDY = "name the folder of the release, which holds Audios and Labels"


@dataclass(frozen=True)
class Segment:
    """One row of the label table."""

    name: str
    label: str
    speaker: str
    split: str


def read_segments(folder: Path) -> list[Segment]:
    """Read all labelled segments of a release.

    Raises:
        SerError: there is no label table, a row is malformed, or a segment occurs twice or has no speaker or split.
    """
    table = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if table is None:
        raise SerError(f"{folder}: has neither {TABLES[0]} nor {TABLES[1]}; {REMEDY}")
    segments: dict[str, Segment] = {}
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True, skipinitialspace=True)
            columns = {name.strip(): name for name in reader.fieldnames or ()}
            if lacking := {"FileName", "EmoClass"} - columns.keys():
                raise SerError(f"{table}:1: has no column {some(sorted(lacking))}; is this the label table?")
            speakers = None if "SpkrID" in columns else _read_pairs(folder / "Speaker_ids.txt")
            splits = None if "Split_Set" in columns else _read_pairs(folder / "Partitions.txt")
            for row in reader:
                where = f"{table}:{reader.line_num}"
                if None in row or None in row.values():
                    raise SerError(f"{where}: not {len(columns)} columns as in the header; copy the file again")
                name = row[columns["FileName"]].strip()
                if not re.fullmatch(r"[\w.-]+\.wav", name):
                    raise SerError(f"{where}: {name!r} is not the name of a WAV file; copy the table again")
                if name in segments:
                    raise SerError(f"{where}: {name} occurs twice; keep one of the rows")
                speaker = row[columns["SpkrID"]] if speakers is None else speakers.get(name, "Unknown")
                split = row[columns["Split_Set"]] if splits is None else splits.get(name, "")
                if not split.strip():
                    raise SerError(f"{where}: {name} is in no split; add it to Split_Set or Partitions.txt")
                segments[name] = Segment(name, row[columns["EmoClass"]].strip(), speaker.strip(), split.strip())
    except (csv.Error, UnicodeDecodeError) as error:
        raise SerError(f"{table}:{reader.line_num}: not a CSV table in UTF-8 ({error}); copy it again") from None
    print(f"labels: {table}" + ("" if speakers is None else ", Speaker_ids.txt")
          + ("" if splits is None else ", Partitions.txt"))
    return list(segments.values())


def _read_pairs(path: Path) -> dict[str, str]:
    """Read lines `value; file.wav` or `file.wav; value` of the older layout, skipping lines without a WAV file."""
    if not path.is_file():
        raise SerError(f"{path}: no such file, and the label table has no column in its place; {REMEDY}")
    pairs: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        fields = [field.strip() for field in line.split(";")]
        names = [field for field in fields if field.endswith(".wav")]
        if not names:
            continue
        values = [field for field in fields if field and field not in names]
        if len(names) != 1 or len(values) != 1:
            raise SerError(f"{path}:{number}: expected a WAV file and one value, found {line!r}")
        if pairs.setdefault(names[0], values[0]) != values[0]:
            raise SerError(f"{path}:{number}: {names[0]} was {pairs[names[0]]} before; keep one of the lines")
    return pairs


def speaker_id(segment: Segment) -> str:
    """Return a padded speaker number; the unknown speaker of a segment counts as one who speaks in no other."""
    if segment.speaker.casefold() in UNKNOWN:
        return f"Unknown-{Path(segment.name).stem}"
    return f"Spk{segment.speaker:0>5}" if segment.speaker.isdigit() else re.sub(r"[^\w.-]", "_", segment.speaker)


def select(folder: Path, segments: list[Segment]) -> dict[str, list[EmotionRecording]]:
    """Return the recordings of the five classes by split, and print what is left out.

    Raises:
        SerError: there is no audio folder, or a speaker is in two splits.
    """
    audio = next((folder / name for name in AUDIO_FOLDERS if (folder / name).is_dir()), None)
    if audio is None:
        raise SerError(f"{folder}: has no folder {AUDIO_FOLDERS[0]}; {REMEDY}")
    sets: dict[str, list[EmotionRecording]] = {"train": [], "dev": [], "test": []}
    splits_of, strangers = defaultdict(set), defaultdict(set)
    other_splits, other_labels = Counter(), Counter()
    for segment in segments:
        split = SPLITS.get(segment.split.casefold())
        if split is None:
            other_splits[segment.split] += 1
        elif segment.label not in CLASSES:
            other_labels[segment.label] += 1
        else:
            speaker, stem = speaker_id(segment), Path(segment.name).stem
            unknown = segment.speaker.casefold() in UNKNOWN
            splits_of[speaker].add(split)
            if unknown:
                strangers[stem.split("_")[1] if "_" in stem else stem].add(split)
            utterance = speaker if unknown else f"{speaker}-{stem}"
            sets[split].append(EmotionRecording(utterance, speaker, CLASSES[segment.label], audio / segment.name))
    for what, counts in (("splits not used", other_splits), ("classes not used", other_labels)):
        print(f"{what}: " + (", ".join(f"{name} {counts[name]}" for name in sorted(counts)) or "none"))
    if crossing := sorted(speaker for speaker, splits in splits_of.items() if len(splits) > 1):
        raise SerError(f"{folder}: speakers in more than one split: {some(crossing)}; "
                       "scores would not be speaker-independent: give them one split in the label table")
    nameless = sum(speaker.startswith("Unknown-") for speaker in splits_of)
    print(f"speakers: {len(splits_of) - nameless} known; each of {nameless} utterances of unknown ones is its own")
    if shared := sorted(podcast for podcast, splits in strangers.items() if len(splits) > 1):
        corpus.warn(f"{folder}: unknown speakers of podcast {some(shared)} are in more than one split "
                    "and may be the same people")
    return sets


def report_release(folder: Path, segments: list[Segment], sets: dict[str, list[EmotionRecording]]) -> None:
    """Print which release this looks like, and warn if it is not the one of the paper."""
    ours = {name: (len(recordings), len({r.speaker for r in recordings if not r.speaker.startswith("Unknown-")}))
            for name, recordings in sets.items()}
    total = Counter(SPLITS.get(segment.split.casefold(), "") for segment in segments)
    named = re.search(r"1\.\d+", folder.resolve().name)
    if all(ours[name][0] == PAPER[name][0] for name in PAPER):
        guess = "Release 1.4, as in the paper"
    elif all(total[name] == count for name, count in RELEASE_1_11.items()):
        guess = "Release 1.11"
    elif named:
        guess = f"Release {named[0]}, going by the folder's name"
    else:
        size = sum(total[name] for name in RELEASE_1_11)
        guess = "a part of a release" if size < sum(count for count, _ in PAPER.values()) else (
            "a release between 1.4 and 1.11" if size < sum(RELEASE_1_11.values()) else "a release after 1.11"
        )
    print(f"{folder}: looks like {guess} ({len(segments)} labelled segments)")
    differing = [f"{name} {ours[name][0]} utterances of {ours[name][1]} known speakers "
                 f"(paper: {PAPER[name][0]} of {PAPER[name][1]})" for name in PAPER if ours[name] != PAPER[name]]
    if differing:
        corpus.warn(f"not the counts of Release 1.4, which the paper used: {', '.join(differing)}; "
                    "scores cannot be compared with the paper's directly")


def main() -> None:
    args = corpus.Parser(__doc__, licensed="MSP-Podcast").parse_args()
    corpus.require_folder(args.corpus_dir, "Labels/*", REMEDY)
    segments = read_segments(args.corpus_dir)
    sets = select(args.corpus_dir, segments)
    report_release(args.corpus_dir, segments, sets)
    seconds = corpus.measure([recording for name in sets for recording in sets[name]], args.nj, args.allow_partial)
    corpus.write_sets(args.data_dir, sets, seconds)


if __name__ == "__main__":
    run_main(main)
