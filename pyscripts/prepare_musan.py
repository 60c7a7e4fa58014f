#!/usr/bin/env python3
"""Lists of noise and music files for training and for testing, out of a MUSAN tree.

Leaves `noise_train.scp`, `noise_test.scp`, `music_train.scp` and `music_test.scp` in <out-dir>, lines
`<file's name without ending> <absolute path>`, and `about`, a line that tables show. No file is in two of the lists.
The test lists get about --test-share of the files and of the duration of each of the tree's sources (free-sound,
jamendo …), long and short files alike.

--noise-dir takes the noise from another folder, one's own recordings of a classroom say, and needs no MUSAN then.
--babble true makes it of MUSAN's speech/: recordings of 3 to 7 speakers at once, equally loud, as Kaldi's recipes do;
they lie in <out-dir>/babble_train and <out-dir>/babble_test. --split shared gives training and tests the same files.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
from pathlib import Path

import numpy as np
import soundfile

from ser.base.archive import fetch_archive
from ser.base.errors import SerError, run_main
from ser.base.files import Marker, atomic_path, file_identity, fingerprint, write_text
from ser.base.kaldi_tables import write_table
from ser.base.progress import progress
from ser.features.noise import NoiseReader, draw_noise, noise_header

ENDINGS = (".wav", ".flac", ".ogg")
ARCHIVE = "https://www.openslr.org/resources/17/musan.tar.gz"
ARCHIVE_MD5 = "0c472d4fc0c5141eca47ad1ffeb2a7df"
ARCHIVE_BYTES = 11086114085
ARCHIVE_RECORDINGS = 2016
FEWEST_SPEAKERS, MOST_SPEAKERS = 3, 7  # of babble
BABBLE_SECONDS, BABBLE_RATE = 30, 16000
CANDIDATES = 200  # random splits, of which the best balanced one is taken


def find_audio(folder: Path) -> list[Path]:
    """Return the audio files below `folder`, sorted, without hidden files such as the `._*` of a Mac's archive."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()
    )


def split(seconds: dict[Path, float], test_share: float, seed: int) -> set[Path]:
    """Choose the test files.

    The files, sorted by duration, are cut into as many groups as there will be test files, and one file is drawn from
    each group, so that both lists have long and short ones. Of many such draws, the one is taken whose share of the
    duration is nearest to `test_share`. The choice depends on names, durations and seed alone, not on the tree's place.
    """
    by_duration = sorted(seconds, key=lambda path: (-seconds[path], path.name))
    num_test = min(len(by_duration) - 1, max(1, round(test_share * len(by_duration))))
    bounds = [round(group * len(by_duration) / num_test) for group in range(num_test + 1)]
    groups = [by_duration[begin:end] for begin, end in itertools.pairwise(bounds)]
    wanted = test_share * sum(seconds.values())
    generator = random.Random(seed)
    draws = [[generator.choice(group) for group in groups] for _ in range(CANDIDATES)]
    return set(min(draws, key=lambda draw: abs(sum(seconds[path] for path in draw) - wanted)))


def split_by_source(folder: Path, files: list[Path], test_share: float, seed: int) -> tuple[set[Path], dict]:
    """Split each source (a sub-folder of `folder`) separately; sources of one file are pooled.

    Returns:
        The test files, and the duration in seconds of every file.
    """
    seconds = {}
    for path in progress(files, len(files), f"reading {folder.name} headers", unit="file"):
        frames, rate = noise_header(str(path))
        seconds[path] = frames / rate
    sources: dict[str, list[Path]] = {}
    for path in files:
        sources.setdefault(path.relative_to(folder).parts[0] if path.parent != folder else "", []).append(path)
    small = [path for members in sources.values() if len(members) < 2 for path in members]
    pools = [members for members in sources.values() if len(members) >= 2]
    if len(small) == 1 and pools:
        pools[0] = pools[0] + small
    elif small:
        pools.append(small)
    test: set[Path] = set()
    for members in pools:
        test |= split({path: seconds[path] for path in members}, test_share, seed)
    return test, seconds


def as_list(files: list[Path]) -> dict[str, str]:
    """Return the list of these files: absolute path by name without ending.

    Raises:
        SerError: two files have the same name.
    """
    entries: dict[str, str] = {}
    for path in files:
        noise_id = re.sub(r"\s", "_", path.stem)
        if noise_id in entries:
            raise SerError(f"{path}: {entries[noise_id]} has the same name; rename one, names are what lists go by")
        entries[noise_id] = str(path)
    return entries


def make_babble(folder: Path, speech: list[Path], seed: int) -> list[Path]:
    """Write recordings in which 3 to 7 speech files sound at once, and return them; those that are there are kept.

    There are as many as speech files, but at least 10, of 30 s each, mono, 16 kHz, 16 bits. Every speaker has the same
    mean power; who speaks, and from which sample on, is a pure function of names, number and seed.

    Raises:
        SerError: there are fewer than 3 files, or one cannot be read.
    """
    if len(speech) < FEWEST_SPEAKERS:
        raise SerError(f"{folder.name}: babble needs {FEWEST_SPEAKERS} files of speech or more, and has {len(speech)}; "
                       "add recordings to the tree's speech/")
    sources, reader = as_list(speech), NoiseReader(BABBLE_RATE)
    paths = [folder / f"babble-{number:04d}.wav" for number in range(max(10, len(sources)))]
    marker = Marker(folder / ".babble.done", fingerprint(*map(file_identity, speech), seed, len(paths)))
    if marker.is_current():
        return paths
    marker.clear()
    for path in progress(paths, len(paths), f"making {folder.name}", unit="file"):
        chance = random.Random(f"{seed} {path.stem}")
        speakers = chance.sample(sorted(sources), chance.randint(FEWEST_SPEAKERS, min(MOST_SPEAKERS, len(sources))))
        voices = []
        for name in speakers:
            spec = draw_noise({name: sources[name]}, path.stem, BABBLE_SECONDS, 0, "babble", seed)
            voice = reader.read(spec, BABBLE_SECONDS * BABBLE_RATE)
            voices.append(voice / np.sqrt(np.mean(voice**2)))
        babble = np.sum(voices, axis=0)
        with atomic_path(path) as temporary:
            soundfile.write(temporary, 0.5 * babble / np.abs(babble).max(), BABBLE_RATE, subtype="PCM_16", format="WAV")
    marker.write(paths)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another split (default 0)")
    parser.add_argument("--test-share", type=float, default=0.2, help="of files and duration (default 0.2)")
    parser.add_argument("--download", choices=("true", "false"), default="true",
                        help=f"fetch {ARCHIVE} (11 GB) when <musan-dir> does not exist (default true)")
    parser.add_argument("--noise-dir", type=Path, metavar="DIR", help="of noise, instead of MUSAN's noise/")
    parser.add_argument("--babble", choices=("true", "false"), default="false", help="make noise of MUSAN's speech/")
    parser.add_argument("--split", choices=("disjoint", "shared"), default="disjoint",
                        help="whether tests have other files than training (default: %(default)s)")
    parser.add_argument("musan_dir", type=Path, metavar="musan-dir", nargs="?",
                        help="the folder that holds noise/ and music/; not needed with --noise-dir, unless for music")
    parser.add_argument("out_dir", type=Path, metavar="out-dir")
    arguments = parser.parse_args()
    if not 0 < arguments.test_share < 1:
        raise SerError(f"--test-share {arguments.test_share}: must lie between 0 and 1")
    babble = arguments.babble == "true"
    if arguments.noise_dir and babble:
        raise SerError("--noise-dir and --babble are two sources of noise; choose one")
    if not arguments.musan_dir and not arguments.noise_dir:
        parser.error("name <musan-dir>, or --noise-dir")

    folders = {"noise": arguments.noise_dir.absolute()} if arguments.noise_dir else {}
    if arguments.musan_dir:
        musan_dir = arguments.musan_dir.absolute()
        if not musan_dir.is_dir():
            if arguments.download == "false":
                raise SerError(f"{musan_dir}: no such folder; name the one that holds MUSAN's noise/ and music/")
            print(f"{musan_dir}: no such folder; fetching MUSAN (11 GB), --download false forbids it", flush=True)
            fetch_archive(ARCHIVE, musan_dir, "musan", ARCHIVE_RECORDINGS, size=ARCHIVE_BYTES, md5=ARCHIVE_MD5,
                          option="--musan-dir")
        folders = {"noise": musan_dir / ("speech" if babble else "noise"), "music": musan_dir / "music"} | folders

    lists: dict[str, list[Path]] = {}
    for kind, folder in folders.items():
        if not folder.is_dir():
            own = arguments.noise_dir and kind == "noise"
            remedy = "mend --noise-dir" if own else f"{folder.parent} is no MUSAN tree, or an incomplete one"
            raise SerError(f"{folder}: no such folder; {remedy}")
        files = find_audio(folder)
        if len(files) < 2:
            raise SerError(
                f"{folder}: holds {len(files)} audio file(s) ({' '.join(ENDINGS)}); training and test need one each at "
                "least, since a noise that was trained on is no test"
            )
        as_list(files)  # a name that occurs twice is an error even if its files come into different lists
        test, seconds = split_by_source(folder, files, arguments.test_share, arguments.seed)
        shared = arguments.split == "shared"
        lists[f"{kind}_train"] = [path for path in files if shared or path not in test]
        lists[f"{kind}_test"] = [path for path in files if shared or path in test]
        total = sum(seconds.values())
        for name in (f"{kind}_train", f"{kind}_test"):
            duration = sum(seconds[path] for path in lists[name])
            print(f"{name}: {len(lists[name])} files, {duration / 3600:.2f} h ({duration / total:.1%} of all {kind})")
    about = describe(folders["noise"], babble, arguments.split, lists)
    if babble:
        for name in ("noise_train", "noise_test"):
            own = arguments.out_dir.absolute() / name.replace("noise", "babble")
            lists[name] = make_babble(own, lists[name], arguments.seed)
    write_text(arguments.out_dir / "about", f"{about}\n")
    for name, files in lists.items():
        write_table(arguments.out_dir / f"{name}.scp", as_list(files))


def describe(folder: Path, babble: bool, split: str, lists: dict[str, list[Path]]) -> str:
    """Return the sentence that tables have about the noise."""
    what = f"babble of {FEWEST_SPEAKERS} to {MOST_SPEAKERS} of the speakers in" if babble else "recordings in"
    used = f"{len(lists['noise_train'])} to train, {len(lists['noise_test'])} to test"
    same = "THE SAME FILES to train and to test" if split == "shared" else "other files to train than to test"
    return f"noise: {what} {folder} ({used}), {same}"


if __name__ == "__main__":
    run_main(main)
