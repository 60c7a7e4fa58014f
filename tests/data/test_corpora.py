"""The corpus recipes' lists, on replicas of the corpora; what must come out is worked out here from the label files."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table

if TYPE_CHECKING:
    from conftest import Shell
    from http_server import Server

pytest_plugins = "http_server"


# ---- helpers ---------------------------------------------------------------------------------------------------------


def load(corpus: str) -> ModuleType:
    """The preparation program of a recipe, as a module."""
    path = ROOT / "egs" / corpus / "local" / "prepare.py"
    spec = importlib.util.spec_from_file_location(f"prepare_{corpus}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def emotions(folder: Path) -> Counter[str]:
    return Counter(read_table(folder / "utt2emo").values())


def speakers(folder: Path) -> set[str]:
    return set(read_table(folder / "utt2spk").values())


def check_data_dir(folder: Path, corpus: Path) -> None:
    """All tables cover the same utterances, sorted and prefixed; audio is there, and none of it junk."""
    tables = {name: read_table(folder / name) for name in ("wav.scp", "utt2spk", "utt2emo", "utt2dur", "spk2utt")}
    utterances = list(tables["utt2spk"])
    assert utterances == sorted(utterances, key=str.encode)
    for name in ("wav.scp", "utt2emo", "utt2dur"):
        assert list(tables[name]) == utterances
    assert all(utterance.startswith(speaker) for utterance, speaker in tables["utt2spk"].items())
    spk2utt = {speaker: ids.split() for speaker, ids in tables["spk2utt"].items()}
    assert {u: s for s, ids in spk2utt.items() for u in ids} == tables["utt2spk"]
    assert list(itertools.chain(*spk2utt.values())) == utterances  # sorting by speaker is sorting by utterance
    for utterance, name in tables["wav.scp"].items():
        path = Path(name)
        assert path.is_absolute() and path.is_relative_to(corpus) and not path.name.startswith(".")
        assert float(tables["utt2dur"][utterance]) == pytest.approx(soundfile.info(path).duration, rel=1e-5)


def check_disjoint(*folders: Path) -> None:
    for one, other in itertools.combinations(folders, 2):
        assert not speakers(one) & speakers(other), f"{one} and {other} share speakers"


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and inode of every file: equal before and after means nothing was rewritten."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_ino)
        for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def replica(shared: Path, tmp_path_factory: pytest.TempPathFactory):
    """`replica(corpus, fraction)` lays the corpus out as it looks on disk, once."""
    made: dict[str, Path] = {}

    def make(corpus: str, fraction: float) -> Path:
        if corpus not in made:
            folder = tmp_path_factory.mktemp("replica") / corpus
            subprocess.run(
                [sys.executable, shared / "tools" / "make_replica.py", corpus, folder, "--fraction", str(fraction)],
                check=True, capture_output=True,
            )
            made[corpus] = folder
        return made[corpus]

    return make


def tiny_wav(path: Path, rate: int = 16000, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full((160, channels), 0.1), rate, subtype="PCM_16")


# ---- RAVDESS ---------------------------------------------------------------------------------------------------------

RAVDESS_NAME = re.compile(r"03-01-(\d\d)-(\d\d)-0[12]-0[12]-(\d\d)\.wav")


@pytest.fixture(scope="module")
def tiny_ravdess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 1440 official names around 10 ms of nothing in particular."""
    folder = tmp_path_factory.mktemp("ravdess")
    for actor in range(1, 25):
        for emotion, intensity, statement, repetition in itertools.product(range(1, 9), (1, 2), (1, 2), (1, 2)):
            if (emotion, intensity) != (1, 2):
                name = f"03-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}.wav"
                tiny_wav(folder / f"Actor_{actor:02d}" / name, 48000, 2 if (actor, emotion) == (1, 5) else 1)
    return folder


def test_ravdess_real(shared: Path, shell: Shell, tmp_path: Path):
    corpus, data = shared / "data" / "ravdess", tmp_path / "data"
    code = {"01": "neutral", "02": "neutral", "03": "happy", "04": "sad", "05": "angry"}
    labels = {}
    for path in corpus.glob("Actor_*/*.wav"):
        emotion, _, actor = RAVDESS_NAME.fullmatch(path.name).groups()
        if emotion in code:
            labels[f"Actor{actor}-{path.stem}"] = code[emotion]
    done = shell(f"egs/ravdess/local/prepare.py --corpus-dir {corpus} --nj 2 {data}")
    assert read_table(data / "all" / "utt2emo") == dict(sorted(labels.items()))
    assert emotions(data / "all") == {"neutral": 288, "happy": 192, "sad": 192, "angry": 192}
    said = read_table(data / "all" / "text")
    assert said["Actor01-03-01-01-01-01-01-01"] == "Kids are talking by the door" and len(said) == 864
    assert set(said.values()) == {"Kids are talking by the door", "Dogs are sitting by the door"}
    assert "864 at 16000 Hz mono" in done.stdout
    missing = 1440 - sum(1 for _ in corpus.glob("Actor_*/*.wav"))
    assert f"{missing} of the 1440 official recordings are not here" in done.stderr

    tested = []
    for fold in range(1, 7):
        train, dev, test = (data / f"fold{fold}" / name for name in ("train", "dev", "test"))
        check_disjoint(train, dev, test)
        for folder, men, women in ((train, 8, 8), (dev, 2, 2), (test, 2, 2)):
            check_data_dir(folder, corpus)
            sexes = Counter(int(speaker[-2:]) % 2 for speaker in speakers(folder))
            assert sexes == {1: men, 0: women}
            wanted = {utt: emo for utt, emo in labels.items() if utt[:7] in speakers(folder)}
            assert read_table(folder / "utt2emo") == dict(sorted(wanted.items()))
        tested += sorted(speakers(test))
    assert len(tested) == len(set(tested)) == 24


def test_ravdess_rerun_leaves_all_alone_and_a_change_replaces_whole_directories(
    tiny_ravdess: Path, shell: Shell, tmp_path: Path
):
    command = f"egs/ravdess/local/prepare.py --corpus-dir {tiny_ravdess} {tmp_path}/data"
    first = shell(command)
    assert "at 48000 Hz mono, 8 at 48000 Hz with 2 channels" in first.stdout
    assert "left out: disgust 192, fearful 192, surprised 192; calm 192 joined to neutral" in first.stdout
    train = tmp_path / "data" / "fold1" / "train"
    (train / "feats.scp").write_text("made later\n")
    before = snapshot(tmp_path)
    assert "19 of 19 data directories are up to date" in shell(command).stdout
    assert snapshot(tmp_path) == before

    (train.parent / ".train.new").mkdir()  # what a killed run leaves
    (train.parent / ".train.old").mkdir()
    shell(f"{command.replace('prepare.py', 'prepare.py --calm drop')}")
    assert emotions(tmp_path / "data" / "all") == {"neutral": 96, "happy": 192, "sad": 192, "angry": 192}
    assert not (train / "feats.scp").exists()  # features of other lists do not fit
    assert sorted(path.name for path in train.parent.iterdir()) == ["dev", "test", "train"]


def test_ravdess_incomplete_or_odd(tiny_ravdess: Path, shell: Shell, tmp_path: Path):
    corpus = tmp_path / "corpus"
    shutil.copytree(tiny_ravdess, corpus, copy_function=os.link)
    program = f"egs/ravdess/local/prepare.py --corpus-dir {corpus}"
    tiny_wav(corpus / "Actor_01" / "03-02-05-01-01-01-01.wav")  # song
    (corpus / "Actor_01" / "._03-01-05-01-01-01-01.wav").write_bytes(b"\0\5\26\7")
    assert "2 files are no RAVDESS speech" in shell(f"{program} {tmp_path}/one").stderr
    check_data_dir(tmp_path / "one" / "all", corpus)

    (corpus / "Actor_03" / "03-01-05-01-01-01-03.wav").unlink()
    failed = shell(f"{program} {tmp_path}/two", ok=False)
    assert "angry 191 of 192" in failed.stderr and "--allow-partial true" in failed.stderr
    assert not (tmp_path / "two").exists()
    shell(f"{program} --allow-partial true {tmp_path}/two")
    assert emotions(tmp_path / "two" / "all")["angry"] == 191

    text = corpus / "Actor_04" / "03-01-05-01-01-01-04.wav"
    text.unlink()  # a hard link to the complete corpus
    text.write_text("not audio")
    assert "not an audio file" in shell(f"{program} --allow-partial true {tmp_path}/two").stderr
    assert emotions(tmp_path / "two" / "all")["angry"] == 190

    (corpus / "Actor_05" / "03-01-05-01-01-01-05.wav").rename(corpus / "Actor_06" / "03-01-05-01-01-01-05.wav")
    assert "move it to Actor_05" in shell(f"{program} {tmp_path}/three", ok=False).stderr
    assert f"did you mean --corpus-dir {corpus}" in shell(
        f"egs/ravdess/local/prepare.py --corpus-dir {tmp_path} {tmp_path}/three", ok=False).stderr


def test_never_replaces_a_folder_that_is_no_data_directory(tiny_ravdess: Path, shell: Shell, tmp_path: Path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "thesis.tex").write_text("years of work")
    failed = shell(f"egs/ravdess/local/prepare.py --corpus-dir {tiny_ravdess} {tmp_path}", ok=False)
    assert "is in the way" in failed.stderr
    assert (tmp_path / "all" / "thesis.tex").read_text() == "years of work"


def test_ravdess_download(tiny_ravdess: Path, server: Server, tmp_path: Path):
    prepare = load("ravdess")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(tiny_ravdess.rglob("*.wav")):
            archive.write(path, path.relative_to(tiny_ravdess))
    content = packed.getvalue()
    server.files["/speech.zip"] = content
    target = tmp_path / "new" / "ravdess"
    partial = target.with_name("ravdess.partial")
    partial.mkdir(parents=True)
    (partial / "speech.zip.part").write_bytes(content[:5000])  # of a run that was killed
    prepare.fetch(target, server.url("/speech.zip"), len(content), hashlib.md5(content).hexdigest())
    assert server.asked == ["bytes=5000-"]
    assert sum(1 for _ in target.glob("Actor_*/*.wav")) == 1440
    assert not partial.exists()

    with pytest.raises(SerError, match=r"404.*--corpus-dir"):
        prepare.fetch(tmp_path / "other", server.url("/nothing"))
    assert not (tmp_path / "other").exists()


def test_ravdess_without_network(shell: Shell, tmp_path: Path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/speech.zip"
    command = f"no_proxy='*' egs/ravdess/local/prepare.py --corpus-dir {tmp_path}/corpus --url {url} {tmp_path}/data"
    failed = shell(command, ok=False)
    assert "cannot be reached" in failed.stderr and "--corpus-dir" in failed.stderr
    assert not (tmp_path / "corpus").exists() and not (tmp_path / "data").exists()


# ---- CREMA-D ---------------------------------------------------------------------------------------------------------


def cremad_split() -> dict[str, set[str]]:
    lines = (ROOT / "egs" / "cremad" / "conf" / "split.txt").read_text().splitlines()
    return {line.split()[0]: set(line.split()[1:]) for line in lines}


def test_cremad_split_is_balanced_and_what_its_script_makes(shared: Path, shell: Shell):
    table = shared / "metadata" / "cremad_VideoDemographics.csv"
    with open(table, newline="") as file:
        sex = {row["ActorID"]: row["Sex"] for row in csv.DictReader(file)}
    split = cremad_split()
    assert {name: len(actors) for name, actors in split.items()} == {"train": 51, "dev": 8, "test": 32}
    assert set().union(*split.values()) == set(sex)
    for actors in split.values():
        men = sum(sex[actor] == "Male" for actor in actors)
        assert men / len(actors) == pytest.approx(48 / 91, abs=0.03)
    made = shell(f"egs/cremad/local/make_split.py {table}").stdout
    assert made == (ROOT / "egs" / "cremad" / "conf" / "split.txt").read_text()


def test_cremad_replica(replica, shell: Shell, tmp_path: Path):
    corpus, data = replica("cremad", 0.06), tmp_path / "data"
    junk = corpus / "AudioWAV" / "._1001_DFA_ANG_XX.wav"
    junk.write_bytes(b"\0\5\26\7")
    failed = shell(f"egs/cremad/local/prepare.py --corpus-dir {corpus} {data}", ok=False)
    assert re.search(r"not the complete release: ANG \d+ of 1271, HAP \d+ of 1271, NEU \d+ of 1087, SAD", failed.stderr)
    assert not data.exists()
    shell(f"egs/cremad/local/prepare.py --corpus-dir {corpus} --allow-partial true {data}")

    code = {"ANG": "angry", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
    files = [name[:-4].split("_") for name in os.listdir(corpus / "AudioWAV") if not name.startswith(".")]
    for name, actors in cremad_split().items():
        wanted = Counter(code[emo] for actor, _, emo, _ in files if actor in actors and emo in code)
        assert emotions(data / name) == wanted
        assert speakers(data / name) <= actors
        check_data_dir(data / name, corpus)
    check_disjoint(*(data / name for name in cremad_split()))


def test_cremad_counts_of_the_full_release(shared: Path, tmp_path: Path):
    """Every official name: the counts of the four classes, and per split those that README.md promises."""
    prepare = load("cremad")
    (tmp_path / "AudioWAV").mkdir()
    with open(shared / "metadata" / "cremad_audiowav.tsv", newline="") as file:
        names = [row["file"] for row in csv.DictReader(file, delimiter="\t")]
    for name in names:
        (tmp_path / "AudioWAV" / name).touch()
    assert len(names) == 7442
    recordings = prepare.find(tmp_path, False)
    sets = {name: [r for r in recordings if r.speaker in actors] for name, actors in cremad_split().items()}
    counts = {name: Counter(r.emotion for r in found) for name, found in sets.items()}
    assert sum(counts.values(), Counter()) == {"angry": 1271, "happy": 1271, "neutral": 1087, "sad": 1271}
    table = re.findall(r"^\| (train|dev|test) \| .* \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$",
                       (ROOT / "egs" / "cremad" / "README.md").read_text(), re.MULTILINE)
    assert {name: dict(zip(("angry", "happy", "neutral", "sad"), map(int, row), strict=True))
            for name, *row in table} == counts
    assert any(r.utterance == "1076_MTI_SAD_XX" for r in recordings)  # it has no speech


def test_cremad_lists_survive_a_dropped_recording(replica, shell: Shell, tmp_path: Path):
    """steps/make_mfcc.sh takes a bad recording out of the lists; a rerun must not put it back and all features anew."""
    corpus, data = tmp_path / "CREMA-D", tmp_path / "data"
    shutil.copytree(replica("cremad", 0.03), corpus, copy_function=os.link)
    lists = f"egs/cremad/local/prepare.py --corpus-dir {corpus} --allow-partial true {data}"
    features = f"steps/make_mfcc.sh --nj 2 {data}/train"
    actors = cremad_split()["train"]
    bad = next(path for path in sorted(corpus.glob("AudioWAV/1*_NEU_*.wav")) if path.name[:4] in actors)
    samples, rate = soundfile.read(bad)
    bad.unlink()  # a hard link to the replica
    soundfile.write(bad, np.where(np.arange(len(samples)) == 100, np.nan, samples), rate, subtype="FLOAT")

    shell(lists)
    whole = emotions(data / "train")
    assert "1 of" in shell(features).stdout
    assert emotions(data / "train") == whole - Counter(neutral=1)
    before = snapshot(data)
    assert "3 of 3 data directories are up to date" in shell(lists).stdout
    assert "up to date" in shell(features).stdout
    assert snapshot(data) == before

    emotion = read_table(data / "train" / "utt2emo")
    (data / "train" / "utt2emo").write_text("".join(f"{u} sad\n" for u in emotion))  # edited by hand: no part of ours
    shell(lists)
    assert emotions(data / "train") == whole
    shell(features)
    soundfile.write(bad, samples, rate, subtype="PCM_16")
    shell(lists)
    shell(features)
    assert emotions(data / "train") == whole


def test_cremad_git_lfs_pointers_are_explained(replica, shell: Shell, tmp_path: Path):
    corpus = tmp_path / "CREMA-D"
    shutil.copytree(replica("cremad", 0.06), corpus, copy_function=os.link)
    pointer = next(corpus.glob("AudioWAV/1*_SAD_*.wav"))
    pointer.unlink()
    pointer.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 72862\n")
    command = f"egs/cremad/local/prepare.py --corpus-dir {corpus} {tmp_path}/data --allow-partial true"
    done = shell(command)
    assert "1 of" in done.stderr and "Git LFS pointer" in done.stderr and pointer.name in done.stderr
    assert "git lfs pull" in done.stderr
    assert not any(pointer.stem in (tmp_path / "data" / name / "wav.scp").read_text() for name in cremad_split())


def test_cremad_download(server: Server, tmp_path: Path):
    """From an archive with Git LFS pointers to recordings that match them; a stopped download goes on."""
    prepare = load("cremad")
    contents = {f"{actor}_DFA_ANG_XX.wav": b"RIFF%d" % actor for actor in range(1001, 1011)}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        files = {f"CREMA-D-master/AudioMP3/{n[:-4]}.mp3": b"pointer" for n in contents}
        files["CREMA-D-master/SentenceFilenames.csv"] = b'"Stimulus_Number","Filename"\n'
        for name, content in contents.items():
            files[f"CREMA-D-master/AudioWAV/{name}"] = (
                "version https://git-lfs.github.com/spec/v1\n"
                f"oid sha256:{hashlib.sha256(content).hexdigest()}\nsize {len(content)}\n"
            ).encode()
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    server.files["/master.tar.gz"] = packed.getvalue()
    server.files |= {f"/media/AudioWAV/{name}": content for name, content in contents.items()}
    lost = server.files.pop("/media/AudioWAV/1010_DFA_ANG_XX.wav")
    target = tmp_path / "cremad"
    arguments = target, 2, server.url("/master.tar.gz"), server.url("/media")
    with pytest.raises(SerError, match=r"1010_DFA_ANG_XX.*404.*kept for the next run"):
        prepare.fetch(*arguments, count=10)
    assert not target.exists()
    server.files["/media/AudioWAV/1010_DFA_ANG_XX.wav"] = b"RIFF0000"  # as long, but another recording
    with pytest.raises(SerError, match="sha256"):
        prepare.fetch(*arguments, count=10)
    server.files["/media/AudioWAV/1010_DFA_ANG_XX.wav"] = lost
    server.asked.clear()
    prepare.fetch(*arguments, count=10)
    assert len(server.asked) == 1
    assert {path.name: path.read_bytes() for path in (target / "AudioWAV").iterdir()} == contents
    assert sorted(path.name for path in target.iterdir()) == ["AudioWAV", "SentenceFilenames.csv"]
    assert not target.with_name("cremad.partial").exists()
    with pytest.raises(SerError, match="lists 10 recordings where 7442"):
        prepare.fetch(tmp_path / "again", *arguments[1:])


# ---- IEMOCAP ---------------------------------------------------------------------------------------------------------


def iemocap_turns(corpus: Path) -> dict[str, tuple[str, int]]:
    """Label and session of each turn, by splitting lines at tabs."""
    turns = {}
    for session in range(1, 6):
        for path in (corpus / f"Session{session}" / "dialog" / "EmoEvaluation").iterdir():
            if path.is_file() and path.name.startswith("Ses"):
                for line in path.read_text().splitlines():
                    if line.startswith("["):
                        _, turn, label, _ = line.split("\t")
                        turns[turn] = label, session
    return turns


@pytest.mark.parametrize("merge", [False, True])
def test_iemocap_replica(replica, shell: Shell, tmp_path: Path, merge: bool):
    corpus, data = replica("iemocap", 0.05), tmp_path / "data"
    command = f"egs/iemocap/local/prepare.py --corpus-dir {corpus} --merge-excited {str(merge).lower()}"
    failed = shell(f"{command} {data}", ok=False)
    assert re.search(r"ang \d+ of 1103, hap \d+ of 595, exc \d+ of 1041, sad \d+ of 1084, neu \d+ of 1708",
                     failed.stderr)
    shell(f"{command} --allow-partial true {data}")
    code = {"ang": "angry", "hap": "happy", "neu": "neutral", "sad": "sad"} | ({"exc": "happy"} if merge else {})
    turns = {turn: (code[label], session) for turn, (label, session) in iemocap_turns(corpus).items() if label in code}
    assert emotions(data / "all") == Counter(emotion for emotion, _ in turns.values())
    check_data_dir(data / "all", corpus)
    for utterance, speaker in read_table(data / "all" / "utt2spk").items():
        turn = utterance.removeprefix(f"{speaker}-")
        assert speaker == turn[:5] + turn.split("_")[-1][0]
    tested, developed = [], []
    for fold in range(1, 6):
        train, dev, test = (data / f"fold{fold}" / name for name in ("train", "dev", "test"))
        check_disjoint(train, dev, test)
        for folder, number in ((train, 3), (dev, 1), (test, 1)):
            sessions = {int(speaker[3:5]) for speaker in speakers(folder)}
            assert len(sessions) == number
            assert emotions(folder) == Counter(emotion for emotion, session in turns.values() if session in sessions)
        tested.append(*{int(speaker[3:5]) for speaker in speakers(test)})
        developed.append(*{int(speaker[3:5]) for speaker in speakers(dev)})
    assert sorted(tested) == sorted(developed) == [1, 2, 3, 4, 5]


def test_iemocap_improvised_part_with_excitement(replica, shell: Shell, tmp_path: Path):
    corpus, data = replica("iemocap", 0.05), tmp_path / "data"
    command = f"egs/iemocap/local/prepare.py --corpus-dir {corpus} --scenario improvised --dataset aesn"
    said = shell(f"{command} --allow-partial true {data}").stdout
    assert re.search(r"left out: .*hap \d+.*; \d+ scripted turns of the classes used", said)
    code = {"ang": "angry", "exc": "excited", "neu": "neutral", "sad": "sad"}
    wanted = {turn: code[label] for turn, (label, _) in iemocap_turns(corpus).items()
              if label in code and "_impro" in turn}
    found = read_table(data / "all" / "utt2emo")
    assert {utterance.split("-", 1)[1]: label for utterance, label in found.items()} == wanted
    assert "leave one out" in shell(f"{command} --merge-excited true {data}", ok=False).stderr
    scripted = tmp_path / "scripted"
    shutil.copytree(corpus, scripted, copy_function=os.link, ignore=shutil.ignore_patterns("*_impro*"))
    command = command.replace(str(corpus), str(scripted))
    said = shell(f"{command} --allow-partial true {data}", ok=False).stderr
    assert "has no improvised dialogs" in said and "--scenario all" in said


def test_iemocap_counts_of_the_full_release(tmp_path: Path):
    """4490 utterances in four classes, 5531 with excited, from evaluation files with the published counts."""
    prepare = load("iemocap")
    labels = [label for label, count in (("ang", 1103), ("hap", 595), ("exc", 1041), ("sad", 1084), ("neu", 1708),
                                         ("fru", 1849), ("xxx", 2507)) for _ in range(count)]
    for session in range(1, 6):
        folder = tmp_path / f"Session{session}" / "dialog" / "EmoEvaluation"
        folder.mkdir(parents=True)
        lines = [f"[{n}.0000 - {n + 1}.5000]\tSes{session:02d}F_script01_1_M{n:03d}\t{label}\t[2.5, 2.5, 2.5]\r\n"
                 for n, label in enumerate(labels[session - 1::5])]
        (folder / f"Ses{session:02d}F_script01_1.txt").write_text("\ufeff% header\r\n\r\n" + "".join(lines))
    assert len(prepare.find(tmp_path, False, False)) == 4490
    merged = prepare.find(tmp_path, True, False)
    assert len(merged) == 5531
    assert Counter(recording.emotion for recording in merged)["happy"] == 1636

    path = folder / "Ses05F_script01_1.txt"
    path.write_text(path.read_text() + "[1.0 - 2.0]\tSes05F_script01_1_M999 hap\n")
    with pytest.raises(SerError, match=r"Ses05F_script01_1.txt:\d+: expected"):
        prepare.find(tmp_path, False, False)


def test_iemocap_missing_audio_is_named(replica, shell: Shell, tmp_path: Path):
    corpus = tmp_path / "corpus"
    shutil.copytree(replica("iemocap", 0.05), corpus, copy_function=os.link)
    turn = next(turn for turn, (label, _) in iemocap_turns(corpus).items() if label == "neu")
    next(corpus.glob(f"Session*/sentences/wav/*/{turn}.wav")).unlink()
    command = f"egs/iemocap/local/prepare.py --corpus-dir {corpus} --allow-partial true {tmp_path}/data"
    done = shell(command)
    assert "no such file" in done.stderr and turn in done.stderr
    assert turn not in (tmp_path / "data" / "all" / "utt2spk").read_text()
    assert "--corpus-dir" in shell(f"egs/iemocap/local/prepare.py {tmp_path}/data", ok=False).stderr


# ---- MSP-Podcast -----------------------------------------------------------------------------------------------------


def msp_rows(corpus: Path) -> list[dict[str, str]]:
    with open(corpus / "Labels" / "labels_concensus.csv", newline="") as file:
        return list(csv.DictReader(file))


def msp_copy(replica: Path, folder: Path, rows: list[dict[str, str]], name: str = "labels_consensus.csv",
             encoding: str = "utf-8", end: str = "\n") -> Path:
    """A corpus with the replica's audio and other labels."""
    (folder / "Labels").mkdir(parents=True)
    (folder / "Audios").symlink_to(replica / "Audios")
    text = end.join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + end
    (folder / "Labels" / name).write_text(text, encoding=encoding, newline="")
    return folder


def test_msp_podcast_replica(replica, shell: Shell, tmp_path: Path):
    corpus, data = replica("msp_podcast", 0.02), tmp_path / "data"
    done = shell(f"egs/msp_podcast/local/prepare.py --corpus-dir {corpus} {data}")
    assert "a part of a release" in done.stdout and "not the counts of Release 1.4" in done.stderr
    code = {"A": "angry", "H": "happy", "S": "sad", "N": "neutral", "D": "disgust"}
    rows = [row for row in msp_rows(corpus) if row["EmoClass"] in code]
    for name, split in (("train", "Train"), ("dev", "Validation"), ("test", "Test1")):
        mine = [row for row in rows if row["Split_Set"] == split]
        assert emotions(data / name) == Counter(code[row["EmoClass"]] for row in mine)
        unknown = sum(row["SpkrID"] == "Unknown" for row in mine)
        known = {row["SpkrID"] for row in mine} - {"Unknown"}
        assert len(speakers(data / name)) == len(known) + unknown
        check_data_dir(data / name, corpus)
    assert any(row["SpkrID"] == "Unknown" for row in rows)
    check_disjoint(*(data / name for name in ("train", "dev", "test")))


def test_msp_podcast_layouts_give_the_same_lists(replica, shell: Shell, tmp_path: Path):
    """The later spelling, BOM and CRLF, Development; and the older layout, without speakers and splits in the table."""
    corpus = replica("msp_podcast", 0.02)
    rows = msp_rows(corpus)
    later = msp_copy(corpus, tmp_path / "MSP-PODCAST-Publish-1.7", [
        row | {"Split_Set": row["Split_Set"].replace("Validation", "Development")} for row in rows
    ], encoding="utf-8-sig", end="\r\n")
    older = msp_copy(corpus, tmp_path / "older", [
        {name: row[name] for name in ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom")} for row in rows
    ], name="labels_concensus.csv")
    (older / "Partitions.txt").write_bytes((corpus / "Partitions.txt").read_bytes() + b"\r\n")
    (older / "Speaker_ids.txt").write_text(
        "Speaker_1; Male\n\n" + "".join(f"{row['FileName']}; {row['SpkrID']}\n" for row in rows))
    lists = {}
    for folder in (corpus, later, older):
        data = tmp_path / "data" / folder.name
        done = shell(f"egs/msp_podcast/local/prepare.py --corpus-dir {folder} {data}")
        lists[folder.name] = {f"{name}/{table}": (data / name / table).read_text()
                              for name in ("train", "dev", "test") for table in ("utt2spk", "utt2emo", "utt2dur")}
        assert ("Release 1.7" in done.stdout) == (folder is later)
    assert lists[later.name] == lists[older.name] == lists[corpus.name]
    (older / "Partitions.txt").unlink()
    assert "Partitions.txt: no such file" in shell(
        f"egs/msp_podcast/local/prepare.py --corpus-dir {older} {tmp_path}/data/older", ok=False).stderr


def test_msp_podcast_release_1_4_is_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    prepare = load("msp_podcast")
    (tmp_path / "Audios").mkdir()
    counts = {"Train": (14200, 610, 1), "Validation": (2893, 30, 1001), "Test1": (6482, 50, 2001)}
    segments = [
        prepare.Segment(f"MSP-PODCAST_{first:04d}_{n:05d}.wav", "AHSND"[n % 5], str(first + n % speakers), split)
        for split, (number, speakers, first) in counts.items() for n in range(number)
    ]
    prepare.report_release(tmp_path, segments, prepare.select(tmp_path, segments))
    captured = capsys.readouterr()
    assert "looks like Release 1.4, as in the paper" in captured.out and not captured.err
    prepare.report_release(tmp_path, segments[1:], prepare.select(tmp_path, segments[1:]))
    assert "train 14199 utterances of 610 known speakers (paper: 14200 of 610)" in capsys.readouterr().err


def test_msp_podcast_bad_tables(replica, tmp_path: Path):
    prepare = load("msp_podcast")
    corpus = replica("msp_podcast", 0.02)
    rows = msp_rows(corpus)
    test_speaker = next(row["SpkrID"] for row in rows if row["Split_Set"] == "Test1" and row["EmoClass"] == "N")
    first = next(n for n, row in enumerate(rows) if row["Split_Set"] == "Train" and row["EmoClass"] == "N")

    def changed(number: int, **values: str) -> list[dict[str, str]]:
        return [row | values if n == number else row for n, row in enumerate(rows)]

    def attempt(name: str, table: list[dict[str, str]]) -> None:
        folder = msp_copy(corpus, tmp_path / name, table)
        prepare.select(folder, prepare.read_segments(folder))

    with pytest.raises(SerError, match=f"more than one split: Spk{int(test_speaker):05d}"):
        attempt("crossing", changed(first, SpkrID=test_speaker))
    with pytest.raises(SerError, match=r"labels_consensus.csv:12: .* occurs twice"):
        attempt("twice", changed(10, FileName=rows[3]["FileName"]))
    with pytest.raises(SerError, match=r"labels_consensus.csv:7: not 8 columns"):
        attempt("long", changed(5, Gender="Female,Male"))
    with pytest.raises(SerError, match=r"labels_consensus.csv:8: '' is not the name"):
        attempt("nameless", changed(6, FileName=""))
    with pytest.raises(SerError, match=r"labels_consensus.csv:9: .* is in no split"):
        attempt("splitless", changed(7, Split_Set=""))
    with pytest.raises(SerError, match="no column EmoClass"):
        attempt("columns", [{"FileName": row["FileName"]} for row in rows])
    with pytest.raises(SerError, match=r"neither Labels/labels_consensus\.csv nor"):
        prepare.read_segments(tmp_path)


def test_msp_podcast_unknown_speakers_and_other_splits(replica, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    prepare = load("msp_podcast")
    row = {"EmoClass": "N", "EmoAct": "4", "EmoVal": "4", "EmoDom": "4", "SpkrID": "Unknown", "Gender": "Unknown"}
    rows = [row | {"FileName": f"MSP-PODCAST_0001_{n:04d}.wav", "Split_Set": split}
            for n, split in enumerate(("Train", "Train", "Development", "Test1", "Test2", "Test2"))]
    folder = msp_copy(replica("msp_podcast", 0.02), tmp_path / "msp", rows)
    sets = prepare.select(folder, prepare.read_segments(folder))
    assert {name: len({r.speaker for r in recordings}) for name, recordings in sets.items()} == {
        "train": 2, "dev": 1, "test": 1}
    captured = capsys.readouterr()
    assert "splits not used: Test2 2" in captured.out
    assert "may be the same people" in captured.err


# ---- the recipes as a whole ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corpus", ["ravdess", "cremad", "iemocap", "msp_podcast"])
def test_recipe_help_and_unknown_option(corpus: str, shell: Shell):
    text = shell(f"egs/{corpus}/local/prepare.py --help").stdout
    assert "--corpus-dir" in text and "--allow-partial" in text and "usage:" in text
    failed = shell(f"egs/{corpus}/local/prepare.py --nonsense 1 data", ok=False)
    assert "unrecognized arguments: --nonsense" in failed.stderr
