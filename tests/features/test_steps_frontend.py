"""steps/make_mfcc.sh, compute_vad.sh and prepare_feats.sh as a user runs them: Kaldi's numbers, bad input, kills."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser.base.kaldi_tables import read_table, write_table
from ser.data.arks import read_arks
from ser.features.frontend import sliding_cmn

ROOT = Path(__file__).resolve().parents[2]


def speech_like(seconds: float, rate: int, seed: int) -> np.ndarray:
    """Half of it loud, half of it nearly silent."""
    rng = np.random.default_rng(seed)
    count = int(seconds * rate)
    loud = np.arange(count) < count // 2
    return np.where(loud, 3000 * np.sin(np.arange(count) * 0.2), 0) + 3 * rng.standard_normal(count)


def make_data(folder: Path, utterances: dict[str, str]) -> Path:
    """A data directory of {utterance: wav.scp entry}; the speaker is what comes before the dash."""
    folder.mkdir(parents=True)
    speakers = {utterance: utterance.split("-")[0] for utterance in utterances}
    write_table(folder / "wav.scp", utterances)
    write_table(folder / "utt2spk", speakers)
    write_table(folder / "utt2emo", dict.fromkeys(utterances, "neutral"))
    by_speaker: dict[str, list[str]] = {}
    for utterance, speaker in sorted(speakers.items()):
        by_speaker.setdefault(speaker, []).append(utterance)
    write_table(folder / "spk2utt", {speaker: " ".join(those) for speaker, those in by_speaker.items()})
    return folder


@pytest.fixture
def data(tmp_path) -> Path:
    """Six utterances of three speakers; one is stereo at 44.1 kHz, one FLAC at 16 kHz, the rest 8 kHz."""
    audio = tmp_path / "audio"
    audio.mkdir()
    utterances = {}
    for number in range(6):
        utterance = f"s{number // 2}-u{number}"
        rate, suffix = {1: (44100, "wav"), 2: (16000, "flac")}.get(number, (8000, "wav"))
        samples = speech_like(1 + number / 10, rate, number).astype(np.int16)
        path = audio / f"{utterance}.{suffix}"
        soundfile.write(path, np.stack([samples, samples], axis=1) if number == 1 else samples, rate)
        utterances[utterance] = str(path)
    return make_data(tmp_path / "data" / "train", utterances)


def snapshot(*folders: Path) -> dict[str, bytes]:
    """What the steps leave, but for logs, splits, and markers, which record when arks were written."""
    return {
        str(path): path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".done"
        and not any(part.startswith(("log", "split")) for part in path.relative_to(folder).parts)
    }


def test_kaldis_numbers_from_audio_to_features(shared, shell, tmp_path):
    kaldi = shared / "kaldi_reference"
    table = read_table(kaldi / "wav8k.scp")
    utterances = {f"{utt[-2:]}-{utt}": str(kaldi / path) for utt, path in table.items()}
    data = make_data(tmp_path / "ref", utterances)
    shell(f"steps/make_mfcc.sh --nj 3 {data} && steps/compute_vad.sh --nj 2 {data}")
    shell(f"steps/prepare_feats.sh --nj 4 {data} {tmp_path}/out")
    for name, ours in (("mfcc", data / "feats.scp"), ("vad", data / "vad.scp"), ("feats", tmp_path / "out/feats.scp")):
        scp = tmp_path / f"{name}.scp"
        scp.write_text((kaldi / f"{name}_8k.scp").read_text().replace(f" {name}", f" {kaldi}/{name}"))
        arrays, expected = dict(read_arks(ours)), dict(read_arks(scp))
        assert {utterance[3:] for utterance in arrays} == expected.keys()
        for utterance, array in arrays.items():
            assert array.shape == expected[utterance[3:]].shape
            assert np.abs(array - expected[utterance[3:]]).max() < 0.01
    for utterance, seconds in read_table(data / "utt2dur").items():
        assert float(seconds) == pytest.approx(soundfile.info(utterances[utterance]).duration, rel=1e-5)
    lengths = {utterance: str(len(array)) for utterance, array in read_arks(tmp_path / "out/feats.scp")}
    assert read_table(tmp_path / "out/utt2num_frames") == lengths
    for name in ("utt2spk", "spk2utt", "utt2emo", "frame_shift", "conf/mfcc.conf"):
        assert (tmp_path / "out" / name).read_bytes() == (data / name).read_bytes()
    assert (data / "frame_shift").read_text() == "0.01\n"
    shell(f"utils/validate_data_dir.sh {data} && utils/validate_data_dir.sh --no-wav {tmp_path}/out")


def test_formats_counts_reruns_and_jobs(data, shell, tmp_path):
    done = shell(f"steps/make_mfcc.sh --nj 3 {data}")
    assert "2 recordings resampled to 8000 Hz, 1 recordings mixed down to mono" in done.stdout
    assert sorted(path.name for path in (data / "data").glob("*.ark"))[0] == "raw_mfcc_train.1.ark"
    features = dict(read_arks(data / "feats.scp"))
    before = snapshot(data)
    done = shell(f"steps/make_mfcc.sh --nj 2 {data}")
    assert done.stdout == f"make_mfcc: {data}: MFCC up to date\n" and snapshot(data) == before
    # Fewer jobs make the same features, and what the greater number left is cleared away.
    (data / "feats.scp").unlink()
    shell(f"steps/make_mfcc.sh --nj 1 {data}")
    again = dict(read_arks(data / "feats.scp"))
    assert again.keys() == features.keys()
    assert all(np.allclose(again[utterance], features[utterance], atol=1e-4) for utterance in features)
    assert [path.name for path in (data / "data").glob("*.ark")] == ["raw_mfcc_train.1.ark"]
    # Another recording or another option makes them stale, and the later steps with them.
    done = shell(f"steps/compute_vad.sh --nj 20 {data} && steps/prepare_feats.sh --nj 1 {data} {tmp_path}/out")
    assert "6 utterances: running 6 jobs, not 20" in done.stdout
    soundfile.write(tmp_path / "audio/s0-u0.wav", speech_like(2, 8000, 9).astype(np.int16), 8000)
    shell(f"steps/make_mfcc.sh --nj 1 {data} && steps/compute_vad.sh --nj 1 {data}")
    shell(f"steps/prepare_feats.sh --nj 1 --cmn none {data} {tmp_path}/out")
    assert read_table(data / "utt2num_frames")["s0-u0"] == "200"
    voiced = dict(read_arks(data / "vad.scp"))["s0-u0"] > 0
    expected = dict(read_arks(data / "feats.scp"))["s0-u0"][voiced]
    assert np.array_equal(dict(read_arks(tmp_path / "out/feats.scp"))["s0-u0"], expected)
    assert 0 < len(expected) < 200
    # The same name in one folder of arks would overwrite the first.
    other = shutil.copytree(data, tmp_path / "other/train", ignore=shutil.ignore_patterns("data", "*.scp.*", ".*"))
    config = f"--mfcc-config {ROOT}/conf/mfcc_16k.conf"
    done = shell(f"steps/make_mfcc.sh --nj 1 {config} {other} {other}/log {data}/data", ok=False)
    assert "belongs to" in done.stderr and (data / "feats.scp").exists()


def test_normalisations_stand_beside_each_other(data, shell, tmp_path):
    """Of a directory and its noisy copies: none is made again for another, whatever their order."""
    noise = tmp_path / "noise_train.scp"
    noise.write_text(f"n {tmp_path}/audio/s0-u0.wav\n")
    features = f"local/system_mfcc.sh --work-dir {tmp_path}/data --nj 1 --cmn"
    copy = f"steps/augment_data_dir.sh --each true --snr '5 0' {data} {noise} {data}_noisy"
    shell(f"{features} sliding features train && {copy} && {features} sliding features train_noisy")
    before = snapshot(tmp_path / "data/train_voiced", tmp_path / "data/train_noisy_voiced")
    by_speaker = f"{features} speaker --cmn-vars true features train"
    shell(f"{by_speaker} && {copy} && {by_speaker}_noisy")
    for name, command in (("", f"{features} sliding features"), ("speaker-vars_", by_speaker.removesuffix(" train"))):
        again = shell(f"{copy} && {command} train train_noisy").stdout.splitlines()
        assert all("up to date" in line for line in again)
        assert f"prepare_feats: train_noisy_{name}voiced: normalised voiced features up to date" in again
    assert snapshot(tmp_path / "data/train_voiced", tmp_path / "data/train_noisy_voiced") == before


def test_directories_done_together_end_as_each_alone(data, shell, tmp_path):
    """One has fewer utterances than jobs, one is up to date already, one has a bad recording."""
    table = read_table(data / "wav.scp")
    small = make_data(tmp_path / "data" / "dev", {"s0-u0": table["s0-u0"]})
    (tmp_path / "audio" / "bad.wav").write_bytes(b"RIFF")
    bad = make_data(tmp_path / "data" / "bad", {**table, "s9-u9": str(tmp_path / "audio" / "bad.wav")})
    ready = make_data(tmp_path / "data" / "ready", table)
    places = (data, small, bad, ready)

    def prepare(*directories: Path) -> str:
        first, *more = directories
        also, pairs = " ".join(map(str, more)), " ".join(f"{d}={d}_voiced" for d in more)
        return shell(f"steps/make_mfcc.sh --nj 2 --max-drop 0.5 --also '{also}' {first} && steps/compute_vad.sh --nj 2 "
                     f"--also '{also}' {first} && steps/prepare_feats.sh --nj 2 --also '{pairs}' {first} {first}_voiced"
                     ).stdout

    for place in places:
        prepare(place)
    folders = [folder for place in places for folder in (place, Path(f"{place}_voiced"))]
    alone = snapshot(*folders)
    for place in (data, small, bad):
        (place / ".make_mfcc.done").unlink()
        for ark in (place / "data").glob("*"):
            ark.unlink()
    write_table(bad / "wav.scp", {**table, "s9-u9": str(tmp_path / "audio" / "bad.wav")})
    for name in ("utt2spk", "utt2emo", "spk2utt"):
        (bad / name).write_bytes((bad / ".backup" / name).read_bytes())
    said = prepare(*places)
    assert f"make_mfcc: {ready}: MFCC up to date" in said and f"{small} has 1 utterances: running 1 jobs, not 2" in said
    assert f"make_mfcc: {bad}: 1 of 7 utterances dropped" in said
    assert snapshot(*folders) == alone
    assert prepare(*places).count("up to date") == 12


def test_bad_recordings_are_dropped_by_name_or_stop_the_step(data, shell, tmp_path):
    paths = {utterance: Path(path) for utterance, path in read_table(data / "wav.scp").items()}
    contents = {path: path.read_bytes() for path in paths.values()}
    paths["s0-u0"].write_bytes(b"")
    paths["s1-u2"].write_text("no audio")
    paths["s1-u3"].write_bytes(contents[paths["s1-u3"]][:-2000])
    soundfile.write(paths["s2-u4"], np.full(8000, np.nan, np.float32), 8000, subtype="FLOAT")
    soundfile.write(paths["s2-u5"], np.full(160, 1000, np.int16), 8000)
    reasons = {"s0-u0": "empty", "s1-u2": "not audio", "s1-u3": "truncated", "s2-u4": "NaN", "s2-u5": "0.020 s long"}
    done = shell(f"steps/make_mfcc.sh --nj 1 --max-drop 0.8 {data}", ok=False)
    assert "5 of 6 utterances dropped, listed in" in done.stderr and "more than --max-drop 0.8" in done.stderr
    for utterance, reason in reasons.items():
        (line,) = (line for line in done.stderr.splitlines() if line.startswith(f"  {utterance}: "))
        assert reason in line and (utterance == "s2-u5" or str(paths[utterance]) in line)
    assert not (data / "feats.scp").exists() and len(read_table(data / "wav.scp")) == 6
    done = shell(f"steps/make_mfcc.sh --nj 1 --max-drop 0.9 {data} && utils/validate_data_dir.sh {data}")
    assert f"5 of 6 utterances dropped, listed in {data}/log/make_mfcc_train.dropped" in done.stdout
    assert read_table(data / "log/make_mfcc_train.dropped").keys() == reasons.keys()
    for name in ("feats.scp", "wav.scp", "utt2spk", "utt2emo", "utt2dur", "utt2num_frames"):
        assert read_table(data / name).keys() == {"s0-u1"}, name
    assert "MFCC up to date" in shell(f"steps/make_mfcc.sh {data}").stdout
    # The recordings are mended and the lists are made again: all are back, and nothing else is needed.
    shell(f"steps/compute_vad.sh {data}")
    for path, content in contents.items():
        path.write_bytes(content)
    for name in ("wav.scp", "utt2spk", "utt2emo", "spk2utt"):
        shutil.copy(data / ".backup" / name, data / name)
    shell(f"steps/make_mfcc.sh --nj 1 {data} && steps/compute_vad.sh {data} && utils/validate_data_dir.sh {data}")
    assert len(read_table(data / "feats.scp")) == len(read_table(data / "vad.scp")) == 6


def test_silence_is_named_and_left_out_of_the_prepared_features(data, shell, tmp_path):
    soundfile.write(tmp_path / "audio/s1-u3.wav", np.zeros(8000, np.int16), 8000)
    shell(f"steps/make_mfcc.sh --nj 2 {data}")
    done = shell(f"steps/compute_vad.sh --nj 2 {data}", ok=False)
    assert "s1-u3: no voiced frame" in done.stderr and not (data / "vad.scp").exists()
    done = shell(f"steps/compute_vad.sh --nj 2 --max-drop 0.2 {data} && utils/validate_data_dir.sh {data}")
    assert "1 of 6 utterances without a voiced frame" in done.stdout
    done = shell(f"steps/prepare_feats.sh --nj 2 {data} {tmp_path}/out", ok=False)
    assert "s1-u3: has no voiced frame" in done.stderr and not (tmp_path / "out/feats.scp").exists()
    shell(f"steps/prepare_feats.sh --nj 2 --max-drop 0.2 {data} {tmp_path}/out")
    for name in ("feats.scp", "utt2spk", "utt2emo", "utt2num_frames"):
        assert len(read_table(tmp_path / "out" / name)) == 5, name
    shell(f"utils/validate_data_dir.sh --no-wav {tmp_path}/out")


def test_missing_files_and_wrong_calls(data, shell, tmp_path):
    (tmp_path / "audio/s1-u3.wav").unlink()
    done = shell(f"steps/make_mfcc.sh --max-drop 1 {data}", ok=False)
    assert "1 of 6 audio files are missing" in done.stderr and "s1-u3.wav" in done.stderr
    assert not (data / "feats.scp").exists()
    for line, said in (
        (f"steps/compute_vad.sh {data}", "feats.scp: no such file"),
        (f"steps/prepare_feats.sh {data} {tmp_path}/out", "feats.scp: no such file"),
        (f"steps/prepare_feats.sh {data} {data}", "directory of their own"),
        (f"steps/prepare_feats.sh --cmn some {data} {tmp_path}/out", "argument --cmn: invalid choice: 'some'"),
        (f"steps/make_mfcc.sh --mfcc-config {tmp_path}/no.conf {data}", "no.conf: no such file"),
        (f"steps/make_mfcc.sh --nj 0 {data}", "--nj: takes a whole number from 1, not '0'"),
        (f"steps/make_mfcc.sh --jobs 3 {data}", "unrecognized arguments: --jobs"),
        ("steps/make_mfcc.sh", "usage: make_mfcc.py"),
        (f"steps/make_mfcc.sh {tmp_path}/nowhere", "no such file"),
    ):
        assert said in shell(line, ok=False).stderr, line
    for step in ("make_mfcc", "compute_vad", "prepare_feats"):
        assert f"usage: {step}.py" in shell(f"steps/{step}.sh --help").stdout


def test_a_truncated_ark_is_named(data, shell, tmp_path):
    shell(f"steps/make_mfcc.sh --nj 1 {data}")
    ark = data / "data/raw_mfcc_train.1.ark"
    ark.write_bytes(ark.read_bytes()[:-100])
    done = shell(f"steps/compute_vad.sh --nj 1 {data}", ok=False)
    assert "raw_mfcc_train.1.ark: truncated: s2-u5" in done.stderr and "delete it" in done.stderr
    assert not (data / "vad.scp").exists()
    shell(f"steps/make_mfcc.sh --nj 1 {data} && steps/compute_vad.sh --nj 1 {data}")


def test_noise_is_mixed_in_at_the_snr(data, shell, tmp_path):
    rng = np.random.default_rng(5)
    soundfile.write(tmp_path / "noise.wav", (3000 * rng.standard_normal(5 * 8000)).astype(np.int16), 8000)
    shell(f"steps/make_mfcc.sh --nj 1 {data}")
    left_out = shutil.ignore_patterns("data", "split*", ".*", "feats.scp")
    noisy = shutil.copytree(data, tmp_path / "data/noisy", ignore=left_out)
    write_table(noisy / "utt2noise", dict.fromkeys(read_table(data / "wav.scp"), f"0 100 {tmp_path}/noise.wav"))
    shell(f"steps/make_mfcc.sh --nj 2 {noisy}")
    clean, mixed = dict(read_arks(data / "feats.scp")), dict(read_arks(noisy / "feats.scp"))
    for utterance in clean:
        # At 0 dB half of the power is noise, which is as loud in the silent half as in the other.
        power = [np.exp(features[utterance][:, 0].astype(float)) for features in (clean, mixed)]
        half = len(power[0]) // 2
        assert power[1].mean() == pytest.approx(power[0].mean(), rel=0.1)
        assert power[1][half + 5 :].mean() == pytest.approx(power[0].mean() / 2, rel=0.1)


def test_compressed_features_are_small_and_near(data, shell, tmp_path):
    soundfile.write(tmp_path / "audio/s0-u0.wav", speech_like(0.07, 8000, 1).astype(np.int16), 8000)  # 7 frames
    soundfile.write(tmp_path / "audio/s1-u3.wav", np.full(8000, 1000, np.int16), 8000)  # all frames alike
    shell(f"steps/make_mfcc.sh --nj 1 {data}")
    exact, size = dict(read_arks(data / "feats.scp")), (data / "data/raw_mfcc_train.1.ark").stat().st_size
    shell(f"steps/make_mfcc.sh --nj 1 --compress true {data}")
    compressed = dict(read_arks(data / "feats.scp"))
    assert compressed.keys() == exact.keys()
    for utterance, features in compressed.items():
        # One byte for a quarter of the values takes 64 levels: half a step of those quarters' widths, and the header's.
        reach = np.ptp(exact[utterance], axis=0)
        assert features.shape == exact[utterance].shape
        assert (np.abs(features - exact[utterance]) <= reach / 64 / 2 + 0.01).all(), utterance
    assert (data / "data/raw_mfcc_train.1.ark").stat().st_size < 0.35 * size
    shell(f"steps/compute_vad.sh --nj 1 --max-drop 0.4 {data}")
    shell(f"steps/prepare_feats.sh --nj 1 --max-drop 0.4 --compress true {data} {tmp_path}/out")
    voiced = {utterance: flags > 0 for utterance, flags in read_arks(data / "vad.scp")}
    for utterance, features in read_arks(tmp_path / "out/feats.scp"):
        wanted = sliding_cmn(compressed[utterance])[voiced[utterance]]
        assert (np.abs(features - wanted) <= np.ptp(wanted, axis=0) / 64 / 2 + 0.01).all()
    done = shell(f"steps/prepare_feats.sh --nj 1 --max-drop 0.4 --compress true {data} {tmp_path}/out")
    assert "up to date" in done.stdout


def kill_at(line: str, moments) -> None:
    """Run a command line once for each moment, and kill it with all its processes when that has come."""
    for moment in moments:
        process = subprocess.Popen(
            ["bash", "-c", f". ./path.sh && {line}"], cwd=ROOT, start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while not moment() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.2)  # the runner's jobs die with it


def start_again(folder: Path, before: dict[str, bytes]) -> None:
    """Make `folder` what it was in a snapshot."""
    shutil.rmtree(folder)
    for name, content in before.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)


def test_killed_anywhere_ends_with_the_same_files(data, shell, tmp_path):
    steps = (
        f"steps/make_mfcc.sh --nj 2 --cmd 'run.py --max-jobs-run 1' {data} && "
        f"steps/compute_vad.sh --nj 2 {data} && steps/prepare_feats.sh --nj 2 {data} {tmp_path}/out"
    )
    clean = snapshot(data)
    shell(steps)
    expected = snapshot(data, tmp_path / "out")
    start_again(data, clean)
    shutil.rmtree(tmp_path / "out")
    moments = (
        lambda: any((data / "data").glob(".raw_mfcc_train.1.ark.*.tmp")),  # in the first job
        lambda: (data / "data/.raw_mfcc_train.1.done").exists(),  # between the first job and the second
        lambda: (data / "feats.scp").exists(),  # while the step finishes
        lambda: any((data / "data").glob(".vad_train.*")),
        lambda: any((tmp_path / "out/data").glob("*.scp")) if (tmp_path / "out/data").exists() else False,
    )
    kill_at(steps, moments)
    shell(steps)
    assert snapshot(data, tmp_path / "out") == expected
