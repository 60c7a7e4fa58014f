#!/usr/bin/env python3
"""Data directories out of CREMA-D, fetched from its public repository when it is not there.

The corpus is a folder AudioWAV of files <actor>_<sentence>_<emotion>_<level>.wav. Leaves <data-dir>/{train,dev,test}
with the actors of ../conf/split.txt. The label is the emotion that the actor was asked for.
"""

from __future__ import annotations

import csv
import gzip
import re
import shutil
import tarfile
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ser.base.download import download
from ser.base.errors import SerError, run_main
from ser.base.progress import progress
from ser.base.words import some
from ser.data import corpus
from ser.data.corpus import EmotionRecording

SPLIT = Path(__file__).resolve().parent.parent / "conf" / "split.txt"
REPOSITORY = "https://github.com/CheyneyComputerScience/CREMA-D"
ARCHIVE_URL = f"{REPOSITORY}/archive/refs/heads/master.tar.gz"
MEDIA_URL = "https://media.githubusercontent.com/media/CheyneyComputerScience/CREMA-D/master"
CLASSES = {"ANG": "angry", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
COUNTS = {"ANG": 1271, "DIS": 1271, "FEA": 1271, "HAP": 1271, "NEU": 1087, "SAD": 1271}
SPEECHLESS = "1076_MTI_SAD_XX"
NAME = re.compile(r"(1\d{3})_[A-Z]{3}_(ANG|DIS|FEA|HAP|NEU|SAD)_[A-Z]{1,2}\.wav")
POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n")
REMEDY = "name the folder that holds AudioWAV, or a new folder to have the corpus fetched into"


def fetch(folder: Path, jobs: int, archive_url: str = ARCHIVE_URL, media_url: str = MEDIA_URL,
          count: int = sum(COUNTS.values())) -> None:
    """Make `folder` from the public repository, every recording checked against the SHA-256 that Git LFS keeps.

    The repository's archive holds pointers in place of the recordings; these come one by one from the LFS store.
    What a killed run had fetched is used, and `folder` appears when it is complete.
    """
    partial = folder.with_name(folder.name + ".partial")
    tree = partial / "tree"
    print(f"{folder} does not exist: fetching CREMA-D (ODbL 1.0; about 0.6 GB) into {partial}")
    try:
        archive = download(archive_url, partial / "repository.tar.gz")
        pointers = _unpack(archive, tree)
        listed = pointers.keys() | {path.name for path in (tree / "AudioWAV").glob("*.wav")}
        if len(listed) != count:
            raise SerError(f"{archive_url}: lists {len(listed)} recordings where {count} were expected")
        with ThreadPoolExecutor(max(1, jobs)) as pool:
            wanted = [
                pool.submit(download, f"{media_url}/AudioWAV/{name}", tree / "AudioWAV" / name,
                            size=size, sha256=sha256, quiet=True)
                for name, (sha256, size) in pointers.items()
            ]
            try:
                for done in progress(wanted, len(wanted), "fetching recordings", unit="file"):
                    done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except SerError as error:
        raise SerError(f"{error}. What has arrived is kept for the next run. Or clone {REPOSITORY} with Git LFS "
                       "and name the clone with --corpus-dir") from None
    tree.rename(folder)
    shutil.rmtree(partial)


def _unpack(archive: Path, tree: Path) -> dict[str, tuple[str, int]]:
    """Unpack AudioWAV and the tables; return SHA-256 and size of the recordings that are pointers, by file name."""
    pointers: dict[str, tuple[str, int]] = {}
    (tree / "AudioWAV").mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                path = Path(member.name)
                is_recording = path.parent.name == "AudioWAV" and path.suffix == ".wav"
                if not member.isfile() or not (is_recording or (len(path.parts) == 2 and path.suffix == ".csv")):
                    continue
                content = tar.extractfile(member).read()
                if is_recording and (pointer := POINTER.fullmatch(content)):
                    pointers[path.name] = pointer[1].decode(), int(pointer[2])
                else:
                    (tree / ("AudioWAV" if is_recording else ".") / path.name).write_bytes(content)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        archive.unlink()
        raise SerError(f"{archive}: not a usable archive ({error}); it was removed") from None
    return pointers


def find(folder: Path, allow_partial: bool) -> list[EmotionRecording]:
    """Return the recordings of the four classes, and print what is left out.

    Raises:
        SerError: there are no recordings, or (unless `allow_partial`) one of the four classes is incomplete.
    """
    corpus.require_folder(folder, "AudioWAV/*.wav", REMEDY)
    recordings, found, other = [], Counter(), []
    for path in sorted((folder / "AudioWAV").glob("*.wav")):
        if match := NAME.fullmatch(path.name):
            actor, emotion = match.groups()
            found[emotion] += 1
            if emotion in CLASSES:
                recordings.append(EmotionRecording(path.stem, actor, CLASSES[emotion], path))
        else:
            other.append(path.name)
    if other:
        corpus.warn(f"{folder}: {len(other)} files are not named as CREMA-D's and are ignored: {some(other)}")
    if missing := _missing(folder):
        corpus.warn(f"{folder}: SentenceFilenames.csv lists {len(missing)} recordings that are not here: "
                    f"{some(missing)}")
    corpus.check_counts(str(folder), found, {code: COUNTS[code] for code in CLASSES}, allow_partial)
    print("left out: " + ", ".join(f"{code} {found[code]}" for code in sorted(COUNTS.keys() - CLASSES.keys())))
    if any(recording.utterance == SPEECHLESS for recording in recordings):
        print(f"{SPEECHLESS} is known to hold no speech; it stays in the lists, and voice activity detection drops it")
    return recordings


def _missing(folder: Path) -> list[str]:
    """Return the recordings that the corpus's own table names and AudioWAV lacks."""
    table = folder / "SentenceFilenames.csv"
    if not table.is_file():
        return []
    with open(table, encoding="utf-8-sig", newline="") as file:
        names = [row.get("Filename") or "" for row in csv.DictReader(file)]
    return [f"{name}.wav" for name in names if name and not (folder / "AudioWAV" / f"{name}.wav").is_file()]


def main() -> None:
    args = corpus.Parser(__doc__, fetched="cremad").parse_args()
    if not args.corpus_dir.exists():
        fetch(args.corpus_dir, args.nj)
    recordings = find(args.corpus_dir, args.allow_partial)
    seconds = corpus.measure(recordings, args.nj, args.allow_partial)
    corpus.write_sets(args.data_dir, corpus.split_by_speaker(recordings, corpus.read_lists(SPLIT)), seconds)


if __name__ == "__main__":
    run_main(main)
