"""The mini recipe's corpus: what its README promises."""

from __future__ import annotations

import csv
import hashlib
import itertools
import socket
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser.base.kaldi_tables import read_table
from ser.data.datadir import validate

SPLITS = {"train": 14, "dev": 4, "test": 8}
EMOTIONS = ["angry", "happy", "neutral", "sad"]
SMALLEST = "--train-speakers 1 --dev-speakers 1 --test-speakers 1 --takes 1 --noise-files 1"


@pytest.fixture(scope="module")
def data(tmp_path_factory, shell) -> Path:
    """The corpus, made by the recipe's own program with two jobs."""
    folder = tmp_path_factory.mktemp("mini") / "data"
    shell(f"egs/mini/local/prepare.py --cmd utils/run.py --nj 2 {folder}")
    return folder


@pytest.fixture(scope="module")
def recordings(data) -> dict[str, dict]:
    """Row of `recordings.tsv` and samples of every utterance."""
    found = {}
    for table in sorted(data.glob("local/corpus/*/recordings.tsv")):
        with open(table, newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                samples, rate = soundfile.read(table.parent / f"{row['utterance']}.wav", dtype="int16")
                found[row["utterance"]] = {**row, "samples": samples, "rate": rate}
    return found


def digests(folder: Path) -> dict[str, str]:
    """Hash of every file under a folder, markers and logs apart: they name this place and this time."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".done") and "log" not in path.relative_to(folder).parts
    }


def test_lists(data):
    speakers = {}
    for split, count in SPLITS.items():
        tables = {name: read_table(data / split / name) for name in ("wav.scp", "utt2spk", "utt2emo")}
        utterances = list(tables["utt2spk"])
        assert all(list(table) == utterances for table in tables.values())
        speakers[split] = set(tables["utt2spk"].values())
        assert len(speakers[split]) == count
        assert all(utterance.startswith(f"{speaker}-") for utterance, speaker in tables["utt2spk"].items())
        assert read_table(data / split / "spk2utt") == {
            speaker: " ".join(u for u in utterances if tables["utt2spk"][u] == speaker) for speaker in speakers[split]
        }
        per_speaker = Counter((tables["utt2spk"][u], emotion) for u, emotion in tables["utt2emo"].items())
        assert set(per_speaker) == set(itertools.product(speakers[split], EMOTIONS))
        assert set(per_speaker.values()) == {6}
        for path in tables["wav.scp"].values():
            assert Path(path).is_absolute()
            assert 1 < soundfile.info(path).duration < 3
    assert not any(a & b for a, b in itertools.combinations(speakers.values(), 2))


def test_recordings_are_sound_and_partly_emotional(recordings):
    assert len(recordings) == 24 * sum(SPLITS.values())
    said = Counter((name.split("-")[0], row["emotion"], row["sentence"]) for name, row in recordings.items())
    assert len(said) == sum(SPLITS.values()) * len(EMOTIONS) * 3 and set(said.values()) == {2}
    for name, row in recordings.items():
        samples = row["samples"].astype(float)
        assert row["rate"] == 16000 and samples.ndim == 1
        assert 1.5 <= len(samples) / 16000 <= 2.51, name
        assert np.abs(samples).max() < 32767, f"{name} clips"
        begins, ends = float(row["speech-begins"]), float(row["speech-ends"])
        silence = np.concatenate([samples[: int(begins * 16000) - 1], samples[int(ends * 16000) + 1 :]])
        assert len(silence) > 0.2 * 16000
        speech = samples[int(begins * 16000) : int(ends * 16000)]
        assert np.sqrt(np.mean(speech**2)) > 100 * np.sqrt(np.mean(silence**2)), name
        if row["emotion"] == "neutral":
            assert row["emotion-begins"] == row["emotion-ends"] == ""
        else:
            first, last = float(row["emotion-begins"]), float(row["emotion-ends"])
            assert begins <= first < last <= ends + 1e-6
            assert 0.349 <= (last - first) / (ends - begins) <= 0.701, name


def test_voices_differ_and_emotions_sound_as_described(recordings):
    """Pitch measured from the audio by autocorrelation: women above men, happy stretches above neutral ones."""

    def pitch(samples: np.ndarray) -> float:
        best = []
        for start in range(0, len(samples) - 800, 400):
            frame = samples[start : start + 800] - samples[start : start + 800].mean()
            spectrum = np.abs(np.fft.rfft(frame * np.hanning(800), 2048)) ** 2
            correlation = np.fft.irfft(spectrum)
            lag = 27 + int(np.argmax(correlation[27:270]))  # 600 to 60 Hz
            if correlation[lag] > 0.45 * correlation[0] and frame.std() > 300:
                best.append(16000 / lag)
        return float(np.median(best)) if len(best) > 3 else np.nan

    neutral, happy = {}, {}
    for name, row in recordings.items():
        speaker = name[:5]
        if int(speaker[3:]) > 6 or row["emotion"] not in ("neutral", "happy"):
            continue
        key = "speech" if row["emotion"] == "neutral" else "emotion"
        first, last = (int(float(row[f"{key}-{end}"]) * 16000) for end in ("begins", "ends"))
        (neutral if key == "speech" else happy).setdefault(speaker, []).append(
            pitch(row["samples"][first:last].astype(float))
        )
    neutral = {speaker: np.nanmedian(values) for speaker, values in neutral.items()}
    happy = {speaker: np.nanmedian(values) for speaker, values in happy.items()}
    women, men = ([neutral[f"spk{number:02d}"] for number in numbers] for numbers in ((1, 3, 5), (2, 4, 6)))
    assert min(women) > max(men)
    assert min(men) > 80 and max(women) < 300
    assert len({round(value) for value in neutral.values()}) > 3
    assert all(happy[speaker] > 1.1 * neutral[speaker] for speaker in neutral)


def test_noise_and_music_are_laid_out_as_musan(data):
    musan = data / "local" / "musan"
    for folder, least in (("noise/free-sound", 12), ("music/fma", 6)):
        files = sorted((musan / folder).glob("*.wav"))
        assert len(files) >= least
        spectra = []
        for file in files:
            samples, rate = soundfile.read(file, dtype="int16")
            assert rate == 16000 and len(samples) >= 10 * rate
            assert 100 < np.abs(samples.astype(int)).max() < 32767, f"{file} is silent or clips"
            bands = np.array_split(np.abs(np.fft.rfft(samples)) ** 2, 400)
            spectra.append(np.log([band.mean() for band in bands]))
        for (a, first), (b, second) in itertools.combinations(enumerate(spectra), 2):
            assert np.abs(first - second).mean() > 0.1, f"{files[a]} and {files[b]} are alike"
    assert sorted(path.name for path in musan.iterdir()) == ["music", "noise"]


def test_rerun_makes_only_what_is_missing_and_the_same_bytes(data, shell):
    before = digests(data)
    written = {path: (data / path).stat().st_mtime_ns for path in before if path.endswith(".wav")}
    assert "up to date" in shell(f"egs/mini/local/prepare.py --cmd run.py --nj 1 {data}").stdout
    assert digests(data) == before

    corpus, noise = data / "local" / "corpus", data / "local" / "musan" / "music" / "fma"
    (corpus / "spk03" / ".done").unlink()  # as a job killed before the end leaves it
    ended = subprocess.Popen(["true"])
    ended.wait()
    (corpus / "spk03" / f".spk03-001.wav.{socket.gethostname()}-{ended.pid}-killed.tmp").write_bytes(b"RIFF")
    (corpus / "spk03" / "spk03-001.wav").unlink()
    (corpus / "spk26" / "spk26-024.wav").write_bytes(b"RIFF")  # truncated
    (noise / "chords-2.wav").unlink()
    (data / "dev" / "utt2emo").unlink()
    shell(f"egs/mini/local/prepare.py --cmd run.py --nj 3 {data}")
    assert digests(data) == before
    again = {path for path in written if (data / path).stat().st_mtime_ns != written[path]}
    assert {str(Path(path).parent) for path in again} == {
        "local/corpus/spk03",
        "local/corpus/spk26",
        "local/musan/music/fma",
    }


def lists(data: Path) -> dict[str, dict[str, str]]:
    """Path below the corpus and label of every utterance, by split."""
    return {
        split: {
            utterance: f"{Path(path).parent.name}/{Path(path).name} {read_table(data / split / 'utt2emo')[utterance]}"
            for utterance, path in read_table(data / split / "wav.scp").items()
        }
        for split in SPLITS
    }


def test_a_small_corpus_is_a_part_of_a_larger_one_and_grows_and_shrinks_in_place(data, tmp_path, shell):
    def prepare(train: int, dev: int, test: int, takes: int, noise: int) -> dict[str, dict[str, str]]:
        shell(f"egs/mini/local/prepare.py --cmd run.py --nj 2 --train-speakers {train} --dev-speakers {dev} "
              f"--test-speakers {test} --takes {takes} --noise-files {noise} {tmp_path}/data")
        for split, number in (("train", train), ("dev", dev), ("test", test)):
            validate(tmp_path / "data" / split, need=("wav.scp", "utt2emo"), emotions=EMOTIONS)
            utt2spk = read_table(tmp_path / "data" / split / "utt2spk")
            sexes = Counter(int(speaker[3:]) % 2 for speaker in set(utt2spk.values()))
            assert sum(sexes.values()) == number and abs(sexes[0] - sexes[1]) <= 1
            per_class = Counter((utt2spk[u], e) for u, e in read_table(tmp_path / "data" / split / "utt2emo").items())
            assert len(per_class) == number * len(EMOTIONS) and set(per_class.values()) == {3 * takes}
        for folder, kinds in (("noise/free-sound", 8), ("music/fma", 4)):
            assert len(list((tmp_path / "data/local/musan" / folder).glob("*.wav"))) == kinds * noise
        return lists(tmp_path / "data")

    whole = lists(data)
    small = prepare(2, 1, 1, takes=1, noise=1)
    assert all(small[split].items() < whole[split].items() for split in SPLITS)
    for split in SPLITS:
        for utterance in small[split]:
            wav = f"local/corpus/{utterance.split('-')[0]}/{utterance}.wav"
            assert (tmp_path / "data" / wav).read_bytes() == (data / wav).read_bytes()
    stamp = (tmp_path / "data/local/corpus/spk01/.done").stat().st_mtime_ns
    more_speakers = prepare(2, 5, 2, takes=1, noise=1)
    assert (tmp_path / "data/local/corpus/spk01/.done").stat().st_mtime_ns == stamp  # not made again
    more_takes = prepare(2, 1, 1, takes=3, noise=2)
    assert all(small[split].items() <= more_speakers[split].items() for split in SPLITS)
    assert all(small[split].items() < more_takes[split].items() for split in SPLITS)
    assert prepare(2, 1, 1, takes=1, noise=1) == small


def test_speech_goes_where_asked(tmp_path, shell):
    shell(f"egs/mini/local/prepare.py --cmd run.py --corpus-dir {tmp_path}/speech --nj 4 {SMALLEST} {tmp_path}/data")
    assert [path.name for path in sorted((tmp_path / "speech").iterdir())] == ["spk01", "spk15", "spk19"]
    assert [path.name for path in (tmp_path / "data/local").iterdir() if path.name != "log"] == ["musan"]
    assert lists(tmp_path / "data")["dev"].keys() == read_table(tmp_path / "data/dev/utt2spk").keys()


def test_an_interrupted_synthesis_leaves_no_lists_and_goes_on(tmp_path, shell):
    command = f"egs/mini/local/prepare.py {SMALLEST} --nj 2"
    failed = shell(f"{command} --cmd false {tmp_path}/data", ok=False)  # a runner that loses all of its jobs
    assert "5 folders of audio are missing" in failed.stderr and f"{tmp_path}/data/local/log" in failed.stderr
    assert not (tmp_path / "data/train").exists()
    shell(f"{command} --job 1/2 {tmp_path}/data")
    done = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    assert {path.parent.name for path in done} == {"free-sound", "spk01", "spk19"}
    shell(f"{command} --cmd run.py {tmp_path}/data")
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in done.items())
    assert [len(lists(tmp_path / "data")[split]) for split in SPLITS] == [12, 12, 12]


def test_options(tmp_path, shell):
    program = "egs/mini/local/prepare.py"
    for arguments in ("", f"--nj 0 {tmp_path}", f"--no-such-option 1 {tmp_path}", f"--dev-speakers 0 {tmp_path}",
                      f"--noise-files x {tmp_path}"):
        assert "error" in shell(f"{program} {arguments}", ok=False).stderr
    assert list(tmp_path.iterdir()) == []
    assert "--corpus-dir" in shell(f"{program} --help").stdout
    assert {"train-speakers", "dev-speakers", "test-speakers", "takes", "noise-files"} <= set(
        shell(f"{program} --list-options").stdout.split()
    )
