"""The speaker recipes' lists, on a replica of VoxCeleb and on small trees made here; and the tools for speaker sets."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import itertools
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table, write_table
from ser.data import datadir, rearrange
from ser.data import speaker_corpus as speakers
from ser.data.audio import AudioError, decode

if TYPE_CHECKING:
    from http_server import Server

pytest_plugins = "http_server"

Prepare = Callable[..., str]
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg on PATH")


# ---- helpers ---------------------------------------------------------------------------------------------------------


def load(recipe: str, program: str = "prepare") -> ModuleType:
    """A program of a recipe, as a module."""
    path = ROOT / "egs" / recipe / "local" / f"{program}.py"
    spec = importlib.util.spec_from_file_location(f"{program}_{recipe}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Prepare:
    """Run a recipe's preparation program; returns what it printed."""

    def run(recipe: str, corpus_dir: Path, data_dir: Path, *options: object, **changes: object) -> str:
        monkeypatch.syspath_prepend(ROOT / "egs" / recipe / "local")
        module = load(recipe)
        for name, value in changes.items():
            monkeypatch.setattr(module, name, value)
        arguments = ["prepare.py", "--corpus-dir", corpus_dir, *options, data_dir]
        monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
        module.main()
        captured = capsys.readouterr()
        return captured.out + captured.err

    return run


def check_sets(data: Path) -> dict[str, dict[str, str]]:
    """The three sets are valid and as every speaker recipe must leave them; returns utt2spk of each."""
    tables = {}
    for name in ("train", "dev", "test"):
        datadir.validate(data / name, need=("wav.scp",))
        tables[name] = read_table(data / name / "utt2spk")
        assert not (data / name / "utt2emo").exists()
        assert list(tables[name]) == sorted(tables[name], key=str.encode)
        assert tables[name].items() >= {(utt, utt[: len(spk)]) for utt, spk in tables[name].items()}
    assert not set(tables["train"].values()) & set(tables["test"].values())
    assert set(tables["dev"].values()) <= set(tables["train"].values())
    assert not tables["dev"].keys() & tables["train"].keys()
    for line in (data / "test" / "trials").read_text().splitlines():
        target, one, other = line.split()
        assert (target == "1") is (tables["test"][one] == tables["test"][other])
    return tables


def touch(path: Path, content: bytes = b"not opened") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def vox(folder: Path, speaker_numbers: Iterable[int], videos: int = 3, each: int = 2, ending: str = ".wav") -> None:
    """Recordings that nothing may open: their content is no audio."""
    for speaker, video, number in itertools.product(speaker_numbers, range(videos), range(each)):
        touch(folder / f"id{speaker:05d}" / f"video-{video}__xx" / f"{number + 1:05d}{ending}")


TRIALS = """\
1 id10270/video-0__xx/00001.wav id10270/video-1__xx/00002.wav
0 id10270/video-0__xx/00001.wav id10271/video-0__xx/00001.wav
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """25 training and 2 test speakers in the official tree of VoxCeleb1."""
    corpus = tmp_path / "corpus"
    vox(corpus / "vox1/dev/wav", range(10001, 10026))
    vox(corpus / "vox1/test/wav", (10270, 10271))
    touch(corpus / "vox1/veri_test.txt", TRIALS.encode())
    return corpus


# ---- VoxCeleb --------------------------------------------------------------------------------------------------------


def test_voxceleb_replica(shared: Path, tmp_path: Path, prepare: Prepare) -> None:
    corpus, data = tmp_path / "corpus", tmp_path / "data"
    maker = shared / "tools" / "make_replica.py"
    subprocess.run([sys.executable, maker, "voxceleb", corpus, "--fraction", "0.1"], check=True, capture_output=True)
    log = prepare("voxceleb", corpus, data)
    tables = check_sets(data)

    on_disk = {path.relative_to(corpus).as_posix().split("wav/")[1] for path in corpus.rglob("*.wav")}
    lines = (corpus / "vox1/veri_test.txt").read_text().splitlines()
    named = {name for line in lines for name in line.split()[1:]}
    as_name = {utt: "/".join((utt[:7], utt[8:-6], f"{utt[-5:]}.wav")) for table in tables.values() for utt in table}
    assert {as_name[utt] for utt in tables["test"]} == named
    trained = {as_name[utt] for utt in (*tables["train"], *tables["dev"])}
    assert trained == {name for name in on_disk if name[:7] < "id10270"}
    assert [" ".join([line[0], *map(as_name.get, line.split()[1:])])
            for line in (data / "test/trials").read_text().splitlines()] == lines
    assert f"{len(lines)} trials" in log
    for table in tables:
        for utt, path in read_table(data / table / "wav.scp").items():
            assert path.endswith(as_name[utt]) and Path(path).is_file()


@pytest.mark.parametrize("layout", ["official", "archives", "merged", "linked twice"])
def test_layouts(tmp_path: Path, prepare: Prepare, layout: str) -> None:
    corpus, data = tmp_path / "corpus", tmp_path / "data"
    dev, test = {
        "official": ("vox1/dev/wav", "vox1/test/wav"),
        "archives": ("vox1_dev_wav/wav", "vox1_test_wav/wav"),
        "merged": ("voxceleb1/wav", "voxceleb1/wav"),
        "linked twice": ("vox1/dev/wav", "vox1/test/wav"),
    }[layout]
    vox(corpus / dev, range(10001, 10026))
    vox(corpus / test, (10270, 10271))
    touch(corpus / "veri_test2.txt", TRIALS.encode())
    if layout == "linked twice":
        (corpus / "again").symlink_to(corpus / "vox1")
    log = prepare("voxceleb", corpus, data)
    tables = check_sets(data)
    assert len(tables["train"]) + len(tables["dev"]) == 25 * 6
    # One whole video of each of 25 speakers, never a part of one.
    assert Counter(tables["dev"].values()) == dict.fromkeys(tables["train"].values(), 2)
    assert "one session of each of 25 training speakers" in log
    assert set(tables["test"]) == {"id10270-video-0__xx-00001", "id10270-video-1__xx-00002",
                                   "id10271-video-0__xx-00001"}
    assert "VoxCeleb1: 162 recordings of 27 speakers" in log
    assert "12 recordings of 2 speakers, whom the trials name" in log


def test_rerun_changes_nothing_until_the_corpus_does(small: Path, tmp_path: Path, prepare: Prepare) -> None:
    data = tmp_path / "data"
    prepare("voxceleb", small, data)
    touch(data / "train/data/feats.ark")
    assert "3 of 3 data directories are up to date" in prepare("voxceleb", small, data, "--nj", 1)
    # Later steps may take an utterance out; that is no reason to make all features again …
    gone, *kept = read_table(data / "train/utt2spk")
    rearrange.subset(data / "train", tmp_path / "part", kept)
    shutil.copytree(tmp_path / "part", data / "train", dirs_exist_ok=True)
    assert "3 of 3 data directories are up to date" in prepare("voxceleb", small, data)
    # … until some recording is replaced, or the trials are.
    speaker, video, number = gone[:7], gone[8:-6], gone[-5:]
    touch(small / "vox1/dev/wav" / speaker / video / f"{number}.wav", b"mended")
    assert "2 of 3 data directories are up to date" in prepare("voxceleb", small, data)
    assert gone in read_table(data / "train/utt2spk") and not (data / "train/data").exists()
    touch(small / "vox1/veri_test.txt", TRIALS.splitlines(True)[0].encode() + b"0 id10270/video-0__xx/00001.wav "
          b"id10271/video-1__xx/00001.wav\n")
    assert "2 of 3 data directories are up to date" in prepare("voxceleb", small, data)
    assert "id10271-video-1__xx-00001" in (data / "test/trials").read_text()


def test_speakers_of_the_trials_leave_training(small: Path, tmp_path: Path, prepare: Prepare) -> None:
    """As with VoxCeleb1-E and -H, whose trials name speakers of the dev part."""
    trials = touch(small / "hard.txt", b"1 id10001/video-0__xx/00001.wav id10001/video-2__xx/00001.wav\n"
                                       b"0 id10001/video-0__xx/00001 id10002/video-0__xx/00002\n")
    log = prepare("voxceleb", small, tmp_path / "data", "--trials", trials)
    tables = check_sets(tmp_path / "data")
    assert set(tables["test"].values()) == {"id10001", "id10002"} and len(set(tables["train"].values())) == 23
    assert "12 recordings of 2 speakers, whom the trials name" in log
    assert "12 recordings of 2 speakers, who are in the published test part" in log
    assert prepare("voxceleb", small, tmp_path / "data", "--trials", "hard.txt").endswith("up to date\n")


@needs_ffmpeg
def test_compressed_recordings_are_decoded(small: Path, tmp_path: Path, prepare: Prepare) -> None:
    rate, seconds = 44100, 1.5
    tone = 0.3 * np.sin(2 * np.pi * 500 * np.arange(int(rate * seconds)) / rate)
    soundfile.write(tmp_path / "tone.wav", np.stack([tone, tone], 1), rate)
    encode = ["ffmpeg", "-v", "error", "-i", tmp_path / "tone.wav", "-movflags", "+faststart", "-c:a", "aac"]
    subprocess.run([*encode, tmp_path / "tone.m4a"], check=True)
    odd = small / "vox2/dev/aac of John's disk"
    vox(odd, range(12, 15), ending=".m4a")
    for path in odd.rglob("*.m4a"):
        shutil.copy(tmp_path / "tone.m4a", path)
    touch(small / "vox2/dev/mp4/id00012/video-0__xx/00001.mp4")
    both = odd / "id00012/video-0__xx/00001.wav"
    shutil.copy(tmp_path / "tone.wav", both)
    log = prepare("voxceleb", small, tmp_path / "data")
    tables = check_sets(tmp_path / "data")
    assert "VoxCeleb2: 18 recordings of 3 speakers" in log and "the .wav is used" in log and "it is no audio" in log
    wavs = read_table(tmp_path / "data/train/wav.scp") | read_table(tmp_path / "data/dev/wav.scp")
    own = {utt: rxfile for utt, rxfile in wavs.items() if utt.startswith("id0")}
    assert len(own) == 18 and own.pop("id00012-video-0__xx-00001") == str(both)
    assert all(rxfile.endswith("|") for rxfile in own.values())
    recording = decode(next(iter(own.values())))
    assert (recording.rate, recording.channels) == (16000, 1)
    assert len(recording.samples) == pytest.approx(16000 * seconds, abs=2100)  # AAC pads to frames
    middle = recording.samples[8000:16000]
    assert np.abs(np.fft.rfft(middle * np.hanning(8000))).argmax() == 500 * 8000 // 16000
    assert np.abs(middle).max() == pytest.approx(0.3 * 32768, rel=0.05)
    # A file that was cut short is an error, not a shorter recording.
    utt, rxfile = next(iter(own.items()))
    path = odd / utt[:7] / utt[8:-6] / f"{utt[-5:]}.m4a"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(AudioError, match="exit status"):
        decode(rxfile)
    assert "dev" in tables


def test_without_ffmpeg_nothing_starts(
    small: Path, tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "up to date" not in prepare("voxceleb", small, tmp_path / "data")  # wav needs none
    vox(small / "vox2/dev/aac", (12,), ending=".m4a")
    with pytest.raises(SerError, match=r"ffmpeg is not on PATH.*vox2/dev/aac.*install ffmpeg"):
        prepare("voxceleb", small, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    shutil.rmtree(small / "vox2")
    for option in ("--sre-dirs", "--swbd-dirs"):
        with pytest.raises(SerError, match="ffmpeg is not on PATH"):
            prepare("voxceleb", small, tmp_path / "none", option, small)


def break_duplicate(corpus: Path) -> None:
    vox(corpus / "copy/wav", (10003,), videos=1, each=1)


def break_no_trials(corpus: Path) -> None:
    (corpus / "vox1/veri_test.txt").unlink()


def break_two_lists(corpus: Path) -> None:
    touch(corpus / "veri_test.txt", b"1 a b\n")


def break_missing_recording(corpus: Path) -> None:
    (corpus / "vox1/test/wav/id10271/video-0__xx/00001.wav").unlink()


def break_trial_line(corpus: Path) -> None:
    touch(corpus / "vox1/veri_test.txt", TRIALS.encode() + b"yes id10270/a/00001.wav id10270/b/00001.wav\n")


def break_trial_name(corpus: Path) -> None:
    touch(corpus / "vox1/veri_test.txt", TRIALS.encode() + b"1 Adam/a/00001.wav Adam/b/00001.wav\n")


def break_trial_label(corpus: Path) -> None:
    touch(corpus / "vox1/veri_test.txt", TRIALS.replace("0 id", "1 id").encode())


def break_empty_list(corpus: Path) -> None:
    touch(corpus / "vox1/veri_test.txt", b"\n")


def break_empty_file(corpus: Path) -> None:
    touch(corpus / "vox1/dev/wav/id10003/video-0__xx/00001.wav", b"")


def break_no_training(corpus: Path) -> None:
    shutil.rmtree(corpus / "vox1/dev")


def break_no_tree(corpus: Path) -> None:
    shutil.rmtree(corpus / "vox1/dev")
    shutil.rmtree(corpus / "vox1/test")


@pytest.mark.parametrize(("damage", "message"), [
    (break_duplicate, r"dev/wav/id10003/\S+/00001.wav is utterance id10003-\S+, which \S+copy/wav\S+ is too.*remove"),
    (break_no_trials, r"corpus: has no veri_test.txt or veri_test2.txt.*--trials"),
    (break_two_lists, r"veri_test.txt and \S+veri_test.txt differ; choose one with --trials"),
    (break_missing_recording, r"veri_test.txt:2: recording id10271/video-0__xx/00001.wav is not under .*complete"),
    (break_trial_line, r"veri_test.txt:3: expected '<1\|0> <recording> <recording>', found 'yes "),
    (break_trial_name, r"veri_test.txt:3: expected <speaker>/<video>/<number>.wav, found Adam/a/00001.wav"),
    (break_trial_label, r"veri_test.txt:2: says one speaker of id10270/\S+ and id10271/"),
    (break_empty_list, r"veri_test.txt: is empty"),
    (break_empty_file, r"1 of 162 files are empty \(0 bytes\): \S+id10003/video-0__xx/00001.wav.*--allow-partial"),
    (break_no_training, r"every speaker is one of the trials or of a test part"),
    (break_no_tree, r"holds no recordings of VoxCeleb; name the folder"),
])
def test_bad_corpus(
    small: Path, tmp_path: Path, prepare: Prepare, damage: Callable[[Path], None], message: str
) -> None:
    damage(small)
    with pytest.raises(SerError, match=message):
        prepare("voxceleb", small, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_what_is_left_out_is_named(small: Path, tmp_path: Path, prepare: Prepare) -> None:
    break_empty_file(small)
    touch(small / "vox1/dev/wav/id10003/video-0__xx/._00001.wav")
    touch(small / "vox1/dev/wav/id10003/notes.txt")
    log = prepare("voxceleb", small, tmp_path / "data", "--allow-partial", "true")
    assert "2 files are no recordings" in log and "notes.txt" in log and "._00001.wav" in log
    assert "1 of 162 files are empty" in log
    tables = check_sets(tmp_path / "data")
    assert len(tables["train"]) + len(tables["dev"]) == 149
    with pytest.raises(SerError, match=r"nowhere.txt: no such list of trials"):
        prepare("voxceleb", small, tmp_path / "data", "--trials", "nowhere.txt")
    with pytest.raises(SerError, match=r"/nowhere: no such folder"):
        prepare("voxceleb", Path("/nowhere"), tmp_path / "data")


# ---- SRE and Switchboard ---------------------------------------------------------------------------------------------

LEVELS = (4000, -1500)  # of channel A and of channel B


def sphere(path: Path, coding: str = "pcm", channels: int = 2, samples: int = 4000) -> Path:
    """A SPHERE file of 8 kHz whose channels are noise around LEVELS."""
    draw = np.random.default_rng(1)
    audio = np.stack([level + draw.integers(-50, 50, samples) for level in LEVELS[:channels]], 1).astype("<i2")
    if coding == "ulaw":
        buffer = io.BytesIO()
        soundfile.write(buffer, audio, 8000, format="RAW", subtype="ULAW")
        content, width, order = buffer.getvalue(), 1, "1"
    else:
        content, width, order = (shorten(audio) if "shorten" in coding else audio.tobytes()), 2, "01"
    header = (
        f"NIST_1A\n   1024\nchannel_count -i {channels}\nsample_count -i {samples}\nsample_rate -i 8000\n"
        f"sample_n_bytes -i {width}\nsample_byte_format -s{len(order)} {order}\nsample_sig_bits -i {8 * width}\n"
        f"sample_coding -s{len(coding)} {coding}\nend_head\n"
    )
    return touch(path, header.encode().ljust(1024) + content)


def shorten(audio: np.ndarray) -> bytes:
    """(samples, channels) int16 as a shorten stream, version 2, blocks without prediction (T. Robinson, 1994)."""
    bits: list[str] = []

    def unsigned(value: int, width: int) -> None:
        bits.append("0" * (value >> width) + "1" + (f"{value & ((1 << width) - 1):0{width}b}" if width else ""))

    def number(value: int) -> None:
        unsigned(value.bit_length(), 2)
        unsigned(value, value.bit_length())

    block = 256
    for value in (5, audio.shape[1], block, 0, 0, 0):  # little-endian int16, channels, block, predictors, means, skip
        number(value)
    for first in range(0, len(audio), block):
        piece = audio[first : first + block]
        if len(piece) < block:
            unsigned(5, 2)
            number(len(piece))
        for channel in piece.T.tolist():
            unsigned(0, 2)
            unsigned(10, 3)
            for value in channel:
                unsigned(~value << 1 | 1 if value < 0 else value << 1, 11)
    unsigned(4, 2)
    stream = "".join(bits)
    stream = stream.ljust(-(-len(stream) // 32) * 32, "0")
    return b"ajkg\x02" + int(stream, 2).to_bytes(len(stream) // 8, "big")


def telephone_table(data: Path) -> dict[str, str]:
    """wav.scp of the telephone speech of train and dev."""
    tables = read_table(data / "train/wav.scp") | read_table(data / "dev/wav.scp")
    return {utt: rxfile for utt, rxfile in tables.items() if not utt.startswith("id")}


@needs_ffmpeg
@pytest.mark.parametrize("coding", ["pcm", "ulaw", "pcm,embedded-shorten-v2.00"])
def test_sphere_channels(small: Path, tmp_path: Path, prepare: Prepare, coding: str) -> None:
    sphere(small / "my calls/one.sph", coding)
    sphere(small / "mono.sph", coding, channels=1)
    touch(small / "who.txt", b"")
    (small / "who.txt").write_text(f"ann {small / 'mono.sph'} 1\nbob mono.sph A\n")
    with pytest.raises(SerError, match=r"who.txt:2: .*mono.sph, channel A, is speaker bob, but ann in .*who.txt:1"):
        prepare("voxceleb", small, tmp_path / "data", "--sre-table", "who.txt")
    (small / "calls").symlink_to(small / "my calls")
    (small / "who.txt").write_text("ann calls/one.sph A\n\nbob calls/one.sph 2\nann mono.sph 1\nann mono.sph A\n")
    log = prepare("voxceleb", small, tmp_path / "data", "--sre-table", "who.txt", "--swbd-table", "who.txt")
    tables = check_sets(tmp_path / "data")
    assert f"sre: 3 sides of 2 speakers (2 {coding}, 2 channels, 1 {coding}, 1 channel)" in log
    found = telephone_table(tmp_path / "data")
    assert set(found) == {f"{source}-{side}" for source in ("sre", "swbd")
                          for side in ("ann-one_a", "bob-one_b", "ann-mono_a")}
    assert tables["train"]["swbd-bob-one_b"] == "swbd-bob"
    for utt, rxfile in found.items():
        recording = decode(rxfile)
        assert (recording.rate, recording.channels, len(recording.samples)) == (8000, 1, 4000)
        assert recording.samples.mean() == pytest.approx(LEVELS["ab".index(utt[-1])], abs=130)  # a step of mu-law


@needs_ffmpeg
def test_mulaw_in_shorten_needs_sph2pipe(
    small: Path, tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    sphere(small / "one.sph", "ulaw,embedded-shorten-v2.00")
    (small / "who.txt").write_text("ann one.sph A\nbob one.sph B\n")
    with pytest.raises(SerError, match=r"2 of 2 sides of swbd: sph2pipe is not on PATH.*one.sph \(\S+who.txt:1\)"):
        prepare("voxceleb", small, tmp_path / "data", "--swbd-table", "who.txt")
    sph2pipe = touch(tmp_path / "bin/sph2pipe", b"")
    sph2pipe.chmod(0o755)
    monkeypatch.setenv("PATH", str(sph2pipe.parent), prepend=os.pathsep)
    prepare("voxceleb", small, tmp_path / "data", "--swbd-table", "who.txt")
    assert telephone_table(tmp_path / "data") == {
        f"swbd-{side}": f"sph2pipe -f wav -p -c {channel} {small / 'one.sph'} |"
        for side, channel in (("ann-one_a", 1), ("bob-one_b", 2))
    }


@needs_ffmpeg
@pytest.mark.parametrize(("table", "message"), [
    ("ann one.sph C\n", r"who.txt:1: expected <speaker> <sphere file> <A\|B\|1\|2>, found 'ann one.sph C'"),
    ("ann one.sph A\nbob two.sph A\n", r"who.txt:2: \S+/two.sph: no such file"),
    ("ann mono.sph B\n", r"1 of 1 sides of sre: there is no channel B .*mono.sph \(\S+who.txt:1\)"),
    ("ann vox1/veri_test.txt A\n", r"not a SPHERE file"),
    ("ann short.sph A\n", r"a SPHERE file cut short"),
    ("ann empty.sph A\n", r"empty file"),
    ("an-n one.sph A\n", r"who.txt:1: speaker 'an-n': letters, digits"),
    ("1001 m sre2004 one A\n", r"lists files of SRE 2004; say where they are with --sre-dirs"),
    ("", r"who.txt: is empty"),
])
def test_bad_tables_of_speakers(small: Path, tmp_path: Path, prepare: Prepare, table: str, message: str) -> None:
    sphere(small / "one.sph")
    sphere(small / "mono.sph", channels=1)
    touch(small / "short.sph", (small / "one.sph").read_bytes()[:1024])
    touch(small / "empty.sph", b"")
    touch(small / "who.txt", table.encode())
    with pytest.raises(SerError, match=message):
        prepare("voxceleb", small, tmp_path / "data", "--sre-table", "who.txt")
    assert not (tmp_path / "data").exists()


@needs_ffmpeg
def test_sre(small: Path, tmp_path: Path, prepare: Prepare) -> None:
    """Of SRE 2004 with the list of openslr.org/15, 2008 and 2010 with their keys."""
    releases = tmp_path / "ldc"
    for name in ("LDC2006S44/r93/test/xaaa", "LDC2006S44/r93/test/xzzz", "LDC2011S05/data/train/data/taaa",
                 "LDC2011S08/data/test/data/faaa", "LDC2011S08/data/test/data/fbbb", "sre10/data/train/taaa",
                 "sre10/data/test/tbbb"):
        sphere(releases / f"{name}.sph")
    keys = "LDC2011S08/data/keys/NIST_SRE08_KEYS.v0.1"
    touch(releases / keys / "model-keys/NIST_SRE08_short2.model.key", b"10001,m,taaa:a,2001\n10002,f,taaa:b,2002\n")
    touch(releases / keys / "trial-keys/NIST_SRE08_short2-short3.trial.key",
          b"10001,faaa,b,target,x\n10001,fbbb,a,nontarget,x\n10002,fbbb,a,target,x\n10002,gone,a,target,x\n")
    touch(releases / "sre10/keys/coreext.modelkey.csv", b"modelid,pin\nm1,3001\nm2,NOT_SCORED\n")
    touch(releases / "sre10/keys/coreext-coreext.trialkey.csv",
          b"modelid,segmentid,channel,targettype\nm1,tbbb,a,target\nm2,tbbb,b,target\n")
    touch(releases / "sre10/train/coreext.trn", b"m1 m data/train/taaa.sph:A\nm2 f data/train/taaa.sph:B\n")
    listed = touch(small / "list", b"1001 m sre2004 xaaa A\n2001 f sre2004 xaaa B\n1003 m sre2004 xccc A\n"
                                   b"1004 m sre2005 xaaa A\n")
    dirs = " ".join(f'"{releases / name}"' for name in ("LDC2006S44", "LDC2011S05", "LDC2011S08"))
    log = prepare("voxceleb", small, tmp_path / "data", "--sre-table", "list",
                  "--sre-dirs", f"{dirs} 2010={releases / 'sre10'}")
    check_sets(tmp_path / "data")
    assert set(telephone_table(tmp_path / "data")) == {
        "sre-1001-xaaa_a", "sre-2001-xaaa_b", "sre-2001-taaa_a", "sre-2002-taaa_b", "sre-2001-faaa_b",
        "sre-2002-fbbb_a", "sre-3001-taaa_a", "sre-3001-tbbb_a",
    }
    assert "1 files are named by the list of speakers but not here, and left out: xccc" in log
    assert "1 SPHERE files are left out, not named by the list of speakers" in log and "xzzz.sph" in log
    assert "1 files are named by the keys but not here, and left out: gone" in log
    assert "1 models were not scored" in log

    run = ("voxceleb", small, tmp_path / "none")
    with pytest.raises(SerError, match=r"SRE 2004 says who speaks only by model.*openslr.org/15 with --sre-table"):
        prepare(*run, "--sre-dirs", releases / "LDC2006S44")
    with pytest.raises(SerError, match=r"cannot tell which release \S+sre10 is; say so, as NAME=.*2004, 2005"):
        prepare(*run, "--sre-dirs", releases / "sre10")
    with pytest.raises(SerError, match=r"no NIST_SRE08_short2.model.key below"):
        prepare(*run, "--sre-dirs", releases / "LDC2011S05")
    touch(listed, b"1001 m sre2004 xaaa A\n1002 m sre2004 xaaa A\n")
    with pytest.raises(SerError, match=r"list:2: \S+xaaa.sph, channel A, is speaker 1002, but 1001 in \S+list:1"):
        prepare(*run, "--sre-dirs", releases / "LDC2006S44", "--sre-table", listed)
    sphere(releases / "LDC2006S44/copy/xaaa.sph")
    with pytest.raises(SerError, match=r"list:1: xaaa may be \S+xaaa.sph or \S+xaaa.sph; keep one"):
        prepare(*run, "--sre-dirs", releases / "LDC2006S44", "--sre-table", listed)


@needs_ffmpeg
def test_switchboard(small: Path, tmp_path: Path, prepare: Prepare) -> None:
    releases = tmp_path / "ldc"
    for name in ("LDC98S75/d1/sw_10001", "LDC99S79/DISC1/data/sw_20001", "LDC99S79/DISC2/data/sw_20002",
                 "LDC2002S06/data/sw_30001", "LDC2001S13/data/sw_40001", "LDC2001S13/data/sw_40019",
                 "LDC2004S07/data/sw_45001"):
        sphere(releases / f"{name}.sph")
    touch(releases / "LDC98S75/docs/callstat.tbl", b"sw_10001.sph,970401,1001,1002,x,M,F,y\n"
                                                   b"sw_10002.sph,970401,1001,1003,x,M,F,y\n")
    touch(releases / "LDC99S79/DISC1/doc/callstat.tbl", b"1,x,2001,2002,M,F\n2,x,2001,2003,M,M\n")
    touch(releases / "LDC99S79/DISC2/doc/callstat.tbl", b"1,x,2001,2002,M,F\n2,x,2001,2003,M,M\n")
    info = touch(releases / "LDC99S79/DISC1/doc/callinfo.tbl",
                 b"sw_20001,A,x\nsw_20001,B,x\nsw_20002,A,x\nsw_20002,B,x\n")
    touch(releases / "LDC2002S06/docs/callstat.tbl", b"30001,x,y,3001,3002,F,F\n")
    touch(releases / "LDC2001S13/docs/swb_callstats.tbl", b"40001,4001,4002,M,F,x\n40019,4001,4003,M,F,x\n")
    table = touch(releases / "LDC2004S07/docs/swb_callstats.tbl", b"45001,4001,4004,M,F,x\n")
    dirs = " ".join(str(path) for path in sorted(releases.iterdir()))
    log = prepare("voxceleb", small, tmp_path / "data", "--swbd-dirs", dirs)
    check_sets(tmp_path / "data")
    found = telephone_table(tmp_path / "data")
    assert set(found) == {
        "swbd-1001-sw_10001_a", "swbd-1002-sw_10001_b", "swbd-2001-sw_20001_a", "swbd-2002-sw_20001_b",
        "swbd-2001-sw_20002_a", "swbd-2003-sw_20002_b", "swbd-3001-sw_30001_a", "swbd-3002-sw_30001_b",
        "swbd-4001-sw_40001_a", "swbd-4002-sw_40001_b", "swbd-4001-sw_45001_a", "swbd-4004-sw_45001_b",
    }
    for side in ("swbd-2001-sw_20002_a", "swbd-2003-sw_20002_b"):
        assert decode(found[side]).samples.mean() == pytest.approx(LEVELS["ab".index(side[-1])], abs=60)
    assert "calls known to be unusable: 40019" in log
    assert "1 files are named by callstat.tbl but not here, and left out: sw_10002" in log

    run = ("voxceleb", small, tmp_path / "none", "--swbd-dirs")
    touch(table, b"45001,x,4001,4004,M,F\n")
    with pytest.raises(SerError, match=r"callstats.tbl:1: not a call of Switchboard cellular2: .* columns 2, 3 and"):
        prepare(*run, releases / "LDC2004S07")
    touch(info, b"sw_20001,A,x\n")
    with pytest.raises(SerError, match=r"callinfo.tbl: 1 lines where two were expected for each of 2 calls"):
        prepare(*run, releases / "LDC99S79")
    touch(releases / "LDC99S79/DISC2/doc/callstat.tbl", b"1,x,2001,2002,M,F\n")
    with pytest.raises(SerError, match=r"DISC1/doc/callstat.tbl and \S+DISC2/doc/callstat.tbl differ"):
        prepare(*run, releases / "LDC99S79")
    with pytest.raises(SerError, match=r"nowhere: no such folder"):
        prepare(*run, f"phase1={tmp_path / 'nowhere'}")


# ---- LibriSpeech -----------------------------------------------------------------------------------------------------


@pytest.fixture
def libri(tmp_path: Path) -> Path:
    """Five speakers of train-clean-100, in chapters, and three of test-other, in folders of their own alone."""
    corpus = tmp_path / "libri"
    draw = np.random.default_rng(0)
    for speaker, chapter, number in itertools.product((19, 26, 103, 1034, 8000), (198, 2271), range(2)):
        name = f"train-clean-100/{speaker}/{chapter}/{speaker}-{chapter}-{number:04d}.flac"
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(corpus / name, 0.1 * draw.standard_normal(4000 + speaker), 16000)
    for speaker, number in itertools.product((367, 533, 6000), range(4)):
        path = corpus / f"test-other/{speaker}/{speaker}-1212-{number:04d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * draw.standard_normal(8000), 16000)
    touch(corpus / "train-clean-100/19/198/19-198.trans.txt")
    return corpus


def test_librispeech(libri: Path, tmp_path: Path, prepare: Prepare) -> None:
    data = tmp_path / "data"
    log = prepare("librispeech", libri, data, "--num-trials", 2)
    tables = check_sets(data)
    assert Counter(tables["train"].values()) == dict.fromkeys(("0019", "0026", "0103", "1034", "8000"), 3)
    assert Counter(tables["dev"].values()) == dict.fromkeys(("0019", "0026", "0103", "1034", "8000"), 1)
    assert "one recording of each of 5 training speakers" in log and "0, have 3 sessions" in log
    seconds = read_table(data / "train/utt2dur") | read_table(data / "dev/utt2dur")
    assert float(seconds["0103-000198-0001"]) == pytest.approx(4103 / 16000, rel=1e-5)
    trials = (data / "test/trials").read_text()
    assert "3 of 3 data directories are up to date" in prepare("librispeech", libri, data, "--num-trials", 2)
    prepare("librispeech", libri, data, "--num-trials", 2, "--trial-seed", 1)
    assert (data / "test/trials").read_text() != trials


def test_real_recordings_of_librispeech(shared: Path, tmp_path: Path, prepare: Prepare) -> None:
    """Ten speakers of ten recordings to train on; the others have one each, so that there are no target trials."""
    folder = shared / "data/librispeech"
    with pytest.raises(SerError, match=r"140 training speakers, .*nothing can be held out"):
        prepare("librispeech", folder, tmp_path / "data")
    with pytest.raises(SerError, match=r"has no two recordings of one speaker"):
        prepare("librispeech", folder, tmp_path / "data", "--train-subsets", "test-other",
                "--test-subsets", "train-clean-100")


def test_librispeech_speaker_in_both(libri: Path, tmp_path: Path, prepare: Prepare) -> None:
    shutil.copytree(libri / "test-other/367", libri / "train-clean-360/367")
    for path in (libri / "train-clean-360/367").iterdir():
        path.rename(path.with_name(path.name.replace("-1212-", "-9-")))
    subsets = ("--train-subsets", "train-clean-100 train-clean-360")
    log = prepare("librispeech", libri, tmp_path / "data", *subsets)
    assert "left out of training: 4 recordings of 1 speakers, who are in the test set: 0367" in log
    assert "0367" not in check_sets(tmp_path / "data")["train"].values()


def test_bad_librispeech(libri: Path, tmp_path: Path, prepare: Prepare) -> None:
    data = tmp_path / "data"
    with pytest.raises(SerError, match=r"test-other: both in --train-subsets and in --test-subsets"):
        prepare("librispeech", libri, data, "--train-subsets", "test-other")
    with pytest.raises(SerError, match=r"has no dev-clean/\*; name the folder"):
        prepare("librispeech", libri, data, "--test-subsets", "dev-clean")
    touch(libri / "test-other/533/533-1212-0000.flac")
    with pytest.raises(SerError, match=r"1 of 32 recordings: not an audio file: \S+533-1212-0000.flac"):
        prepare("librispeech", libri, data)
    shutil.copy(libri / "test-other/533/533-1212-0001.flac", libri / "test-other/533/533-1212-0000.flac")
    shutil.copytree(libri / "test-other/533", libri / "test-other/533/again")
    with pytest.raises(SerError, match=r"is utterance 0533-001212-000\d, which \S+ is too \(and 3 more"):
        prepare("librispeech", libri, data)
    shutil.rmtree(libri / "test-other/533/again")
    (libri / "test-other/533/533-1212-0000.flac").rename(libri / "test-other/367/533-1212-0000.flac")
    with pytest.raises(SerError, match=r"a recording of speaker 533 in another's folder"):
        prepare("librispeech", libri, data)
    assert not data.exists()


def test_librispeech_is_fetched(libri: Path, tmp_path: Path, prepare: Prepare, server: Server) -> None:
    subsets = {}
    for subset in ("train-clean-100", "test-other"):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            tar.add(libri / subset, f"LibriSpeech/{subset}")
        server.files[f"/{subset}.tar.gz"] = archive.getvalue()
        subsets[subset] = hashlib.md5(archive.getvalue()).hexdigest(), 5
    folder, data = tmp_path / "fetched", tmp_path / "data"
    late = server.files.pop("/test-other.tar.gz")
    with pytest.raises(SerError, match=r"404.*or give the unpacked corpus with --corpus-dir"):
        prepare("librispeech", folder, data, "--url", server.url(""), SUBSETS=subsets)
    assert not folder.exists()
    server.files["/test-other.tar.gz"] = late
    del server.files["/train-clean-100.tar.gz"]  # has arrived
    log = prepare("librispeech", folder, data, "--url", server.url(""), SUBSETS=subsets)
    assert "CC BY 4.0" in log and not list(tmp_path.glob("fetched.*"))
    check_sets(data)
    with pytest.raises(SerError, match=r"train-clean-99: no such part of LibriSpeech; there are "):
        prepare("librispeech", tmp_path / "other", data, "--train-subsets", "train-clean-99")


# ---- what the recipes share ------------------------------------------------------------------------------------------


def made_up(sessions: dict[str, int], each: int = 1) -> list[speakers.SpeakerRecording]:
    return [speakers.SpeakerRecording(f"{name}-{session}-{number}", name, str(session), "x", 1, 1)
            for name, of in sessions.items() for session, number in itertools.product(range(of), range(each))]


def test_hold_out_takes_whole_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    recordings = made_up({f"s{k:02d}": 3 for k in range(30)} | {f"t{k:02d}": 2 for k in range(9)}, each=4)
    train, dev = speakers.hold_out(recordings, 25)
    assert sorted(train + dev, key=lambda r: r.utterance) == recordings
    held = {(recording.speaker, recording.session) for recording in dev}
    assert len(held) == len({speaker for speaker, _ in held}) == 25 and len(dev) == 100
    assert all(speaker.startswith("s") for speaker, _ in held)
    assert not held & {(recording.speaker, recording.session) for recording in train}
    assert "one session of each of 25 training speakers, of the 30 with 3 sessions or more" in capsys.readouterr().out
    # A function of the names: in another order, and with a speaker less, the others stay where they are.
    assert {r.utterance for r in speakers.hold_out(recordings[::-1], 25)[1]} == {r.utterance for r in dev}
    gone = dev[0].speaker
    again = speakers.hold_out([r for r in recordings if r.speaker != gone], 25)[1]
    assert {r.utterance for r in dev if r.speaker != gone} <= {r.utterance for r in again}


def test_hold_out_of_few_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    recordings = made_up({f"s{k:02d}": 3 for k in range(19)}, each=2) + made_up({"u1": 1, "u2": 1}, each=4)
    train, dev = speakers.hold_out(recordings + made_up({"v": 2}), 500)
    assert Counter(r.speaker for r in dev) == Counter({r.speaker for r in recordings})
    assert {r.speaker for r in train} == {r.speaker for r in recordings} | {"v"}
    assert "one recording of each of 21" in capsys.readouterr().out
    with pytest.raises(SerError, match=r"2 training speakers.*nothing can be held out"):
        speakers.hold_out(made_up({"a": 2, "b": 1}), 500)


def test_drawn_trials() -> None:
    utt2spk = {f"s{speaker}-{number}": f"s{speaker}" for speaker in range(4) for number in range(5)} | {"t-0": "t"}
    trials = speakers.draw_trials(utt2spk, 3, seed=0)
    assert trials == speakers.draw_trials(dict(reversed(utt2spk.items())), 3, seed=0)
    assert trials != speakers.draw_trials(utt2spk, 3, seed=1)
    pairs = [frozenset(pair) for _, *pair in trials]
    assert len(pairs) == len(set(pairs)) and all(len(pair) == 2 for pair in pairs)
    for target, one, other in trials:
        assert target is (utt2spk[one] == utt2spk[other])
    for utterance, speaker in utt2spk.items():
        kinds = Counter(target for target, *pair in trials if utterance in pair)
        assert kinds[False] >= 3 and kinds[True] >= (0 if speaker == "t" else 3)
    everything = speakers.draw_trials(utt2spk, 100, seed=0)
    assert len(everything) == 21 * 20 // 2 and sum(target for target, _, _ in everything) == 4 * 10
    with pytest.raises(SerError, match="no two speakers"):
        speakers.draw_trials({"a-1": "a", "a-2": "a"}, 3, seed=0)


# ---- tools for speaker sets ------------------------------------------------------------------------------------------


def speaker_dir(path: Path, frames: dict[str, list[int]]) -> Path:
    """A data directory whose speakers have utterances of these many frames."""
    num_frames = {f"{name}-{k}": str(n) for name, lengths in frames.items() for k, n in enumerate(lengths)}
    utt2spk = {utt: utt.split("-")[0] for utt in num_frames}
    for name, table in (("utt2spk", utt2spk), ("spk2utt", datadir.spk2utt(utt2spk)), ("utt2num_frames", num_frames),
                        ("feats.scp", {utt: f"/somewhere.ark:{k}" for k, utt in enumerate(utt2spk)})):
        write_table(path / name, table)
    return path


def data_dir(*arguments: object, ok: bool = True) -> str:
    done = subprocess.run([sys.executable, ROOT / "pyscripts/data_dir.py", *map(str, arguments)],
                          capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT / "pyscripts")})
    assert (done.returncode == 0) is ok, done.stderr
    return done.stdout + done.stderr


def test_filter_speakers(tmp_path: Path) -> None:
    train = speaker_dir(tmp_path / "train", {"ann": [500, 400, 399], "bob": [900, 100], "eve": [400, 400]})
    out = tmp_path / "out"
    log = data_dir("filter-speakers", "--min-utts", 2, "--min-frames", 400, train, out)
    assert set(read_table(out / "utt2spk")) == {"ann-0", "ann-1", "eve-0", "eve-1"}
    for name in ("feats.scp", "utt2num_frames"):
        assert read_table(out / name).keys() == read_table(out / "utt2spk").keys()
    assert "4 utterances of 2 speakers; dropped 3 utterances and 1 speakers" in log and "speakers dropped: bob" in log
    assert read_table(out / "dropped_utterances") == {"ann-2": "frames", "bob-0": "utterances", "bob-1": "frames"}
    datadir.validate(out, need=("utt2num_frames",))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    written = (out / "utt2spk").stat().st_mtime_ns
    data_dir("filter-speakers", "--min-utts", 2, "--min-frames", 400, train, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert (out / "utt2spk").stat().st_mtime_ns == written
    # Filtered again, nothing more goes; the list of what went says so.
    again = data_dir("filter-speakers", "--min-utts", 2, "--min-frames", 400, out, tmp_path / "again")
    assert "dropped 0 utterances and 0 speakers\n" in again and not (tmp_path / "again/dropped_utterances").exists()

    dev = speaker_dir(tmp_path / "dev", {"ann": [10], "bob": [2000], "zoe": [700]})
    log = data_dir("filter-speakers", "--speakers-of", out, dev, tmp_path / "dev_out")
    assert set(read_table(tmp_path / "dev_out/utt2spk")) == {"ann-0"}
    assert "2 utterances of speakers that are not in" in log
    assert "none of its 3 speakers has 1 utterances of 9000 frames" in data_dir(
        "filter-speakers", "--min-frames", 9000, dev, tmp_path / "none", ok=False)
    assert "at least 1" in data_dir("filter-speakers", "--min-utts", 0, dev, tmp_path / "none", ok=False)
    assert not (tmp_path / "none").exists()
    (dev / "utt2num_frames").unlink()
    log = data_dir("filter-speakers", "--min-frames", 2, dev, tmp_path / "none", ok=False)
    assert "utt2num_frames: no such file" in log


def test_speaker_counts(tmp_path: Path) -> None:
    train = speaker_dir(tmp_path / "train", {"ann": [5, 4, 3], "bob": [9, 1], "eve": [4] * 8})
    dev = speaker_dir(tmp_path / "dev", {"ann": [5]})
    head, *rows = [line.split() for line in data_dir("speaker-counts", train, dev).splitlines()]
    assert head == ["utterances", "speakers", "fewest", "median", "most"]
    assert rows == [[str(train), "13", "3", "2", "3", "8"], [str(dev), "1", "1", "1", "1", "1"]]
