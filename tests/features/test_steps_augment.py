"""`local/prepare_musan.sh` and `steps/augment_data_dir.sh`: lists, noisy copies, written mixes, reruns, bad input."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import prepare_musan
import pytest
import soundfile

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table, write_table
from ser.data.arks import read_arks
from ser.data.datadir import DataDir, validate
from ser.data.rearrange import subset
from ser.features.noise import NoiseReader, read_utt2noise

RATE = 8000
SPEAKERS = ("s1", "s2", "s3")


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.astype(np.int16), rate)


@pytest.fixture(scope="module")
def musan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of MUSAN's shape: noises of 0.2 to 4 s at 16 kHz, one tune of 12 s and some shorter ones."""
    root = tmp_path_factory.mktemp("corpora") / "musan"
    generator = np.random.default_rng(0)
    for source, count in (("free-sound", 10), ("sound-bible", 5)):
        for number in range(count):
            samples = generator.normal(0, 300, 3200 + 6000 * number)
            write_wav(root / f"noise/{source}/noise-{source}-{number:04}.wav", samples, 16000)
    for number in range(4):
        tune = 2000 * np.sin(np.arange(16000 * 3 * (number + 1)) * (number + 2) / 30)
        write_wav(root / f"music/fma/music-fma-{number:04}.wav", tune, 16000)
    write_wav(root / "speech/us-gov/speech-us-gov-0000.wav", generator.normal(0, 300, 16000), 16000)
    (root / "noise/free-sound/LICENSE").write_text("who recorded what\n")
    (root / "noise/free-sound/._noise-free-sound-0000.wav").write_bytes(b"\0\5\26\7 of a Mac")
    return root


@pytest.fixture(scope="module")
def lists(musan: Path, tmp_path_factory: pytest.TempPathFactory, shell) -> Path:
    out = tmp_path_factory.mktemp("lists")
    shell(f"local/prepare_musan.sh {musan} {out}")
    return out


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of 12 utterances of 0.5 to 3.3 s, one of them silent, with tables of features and VAD."""
    root = tmp_path_factory.mktemp("clean")
    data = root / "data"
    generator = np.random.default_rng(1)
    tables: dict[str, dict[str, str]] = {"wav.scp": {}, "utt2spk": {}, "utt2emo": {}, "vad.scp": {}, "feats.scp": {}}
    for index in range(12):
        speaker = SPEAKERS[index % 3]
        utterance = f"{speaker}-{index:02}"
        level = 0 if index == 7 else 800
        write_wav(root / f"wav/{utterance}.wav", generator.normal(0, level, 4000 + 2000 * index))
        for name, value in (
            ("wav.scp", f"{root}/wav/{utterance}.wav"), ("utt2spk", speaker),
            ("utt2emo", ("angry", "neutral")[index % 2]), ("vad.scp", f"/arks/vad.ark:{100 * index}"),
            ("feats.scp", f"/arks/feats.ark:{100 * index}"),
        ):
            tables[name][utterance] = value
    tables["spk2utt"] = {
        speaker: " ".join(utt for utt in sorted(tables["utt2spk"]) if utt.startswith(speaker)) for speaker in SPEAKERS
    }
    for name, table in tables.items():
        write_table(data / name, table)
    return data


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def seconds(noise_list: Path) -> float:
    return sum(soundfile.info(path).duration for path in read_table(noise_list).values())


# ---- lists ----


def test_lists_are_disjoint_complete_and_balanced(musan: Path, lists: Path) -> None:
    for kind, count, num_test in (("noise", 15, 3), ("music", 4, 1)):
        train, test = (read_table(lists / f"{kind}_{part}.scp") for part in ("train", "test"))
        assert (len(train), len(test)) == (count - num_test, num_test)
        assert not set(train) & set(test) and not set(train.values()) & set(test.values())
        every = {str(path) for path in (musan / kind).rglob("*.wav") if not path.name.startswith(".")}
        assert set(train.values()) | set(test.values()) == every
    assert {path.split("/")[-2] for path in read_table(lists / "noise_test.scp").values()} == {
        "free-sound", "sound-bible",
    }
    total = seconds(lists / "noise_train.scp") + seconds(lists / "noise_test.scp")
    assert 0.15 < seconds(lists / "noise_test.scp") / total < 0.25


def test_lists_depend_on_the_seed_alone(musan: Path, lists: Path, tmp_path: Path, shell) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(musan, moved)
    shell(f"local/prepare_musan.sh {moved} {tmp_path}/same && local/prepare_musan.sh --seed 1 {musan} {tmp_path}/other")
    for name in ("noise_train.scp", "noise_test.scp", "music_train.scp", "music_test.scp"):
        assert list(read_table(tmp_path / "same" / name)) == list(read_table(lists / name))
    assert contents(tmp_path / "other") != contents(lists)


def test_lists_of_the_reference_tree(shared: Path, tmp_path: Path, shell) -> None:
    shell(f"local/prepare_musan.sh {shared}/data/musan {tmp_path}")
    count = {name: len(read_table(tmp_path / f"{name}.scp")) for name in ("noise_train", "noise_test", "music_test")}
    assert count == {"noise_train": 164, "noise_test": 41, "music_test": 2}
    for kind in ("noise", "music"):
        test, train = seconds(tmp_path / f"{kind}_test.scp"), seconds(tmp_path / f"{kind}_train.scp")
        assert 0.18 < test / (test + train) < 0.22


def test_trees_that_cannot_be_split(musan: Path, tmp_path: Path, shell) -> None:
    run = f"local/prepare_musan.sh --download false {tmp_path}/tree {tmp_path}/out"
    assert f"{tmp_path}/tree: no such folder" in shell(run, ok=False).stderr
    shutil.copytree(musan / "noise", tmp_path / "tree/noise")
    assert f"{tmp_path}/tree/music: no such folder" in shell(run, ok=False).stderr
    write_wav(tmp_path / "tree/music/one.wav", np.ones(100))
    assert f"{tmp_path}/tree/music: holds 1 audio file" in shell(run, ok=False).stderr
    (tmp_path / "tree/music/two.wav").write_text("no audio")
    assert f"{tmp_path}/tree/music/two.wav: not a readable audio file" in shell(run, ok=False).stderr
    write_wav(tmp_path / "tree/music/two.wav", np.ones(0))
    assert f"{tmp_path}/tree/music/two.wav: holds no samples" in shell(run, ok=False).stderr
    write_wav(tmp_path / "tree/music/two.wav", np.ones(100))
    write_wav(tmp_path / "tree/music/more/one.wav", np.ones(100))
    assert "has the same name" in shell(run, ok=False).stderr
    assert not (tmp_path / "out").exists()
    shutil.rmtree(tmp_path / "tree/music/more")
    shell(run)
    assert len(read_table(tmp_path / "out/music_train.scp")) == len(read_table(tmp_path / "out/music_test.scp")) == 1


def test_archive_is_verified_and_unpacked_where_the_tree_is_wanted(
    musan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive put there by hand is as good as a download; a wrong one is refused and kept."""
    monkeypatch.setattr("sys.argv", ["prepare_musan.py", f"{tmp_path}/corpus", f"{tmp_path}/lists"])
    archive = tmp_path / "corpus.partial" / "musan.tar.gz"
    archive.parent.mkdir()
    archive.write_text("<html>not found</html>")
    with pytest.raises(SerError, match=f"{re.escape(str(archive))}.*--musan-dir"):
        prepare_musan.main()
    assert archive.exists() and not (tmp_path / "corpus").exists()

    with tarfile.open(archive, "w:gz") as tar:
        tar.add(musan, "musan")
    monkeypatch.setattr(prepare_musan, "ARCHIVE_BYTES", archive.stat().st_size)
    monkeypatch.setattr(prepare_musan, "ARCHIVE_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    (archive.parent / "tree/musan/noise").mkdir(parents=True)  # what a killed run left
    (archive.parent / "tree/musan/noise/cut.wav").touch()
    prepare_musan.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "lists"]
    assert {path.relative_to(musan) for path in musan.rglob("*")} == {
        path.relative_to(tmp_path / "corpus") for path in (tmp_path / "corpus").rglob("*")
    }


# ---- noisy copies ----


def test_copy_with_and_without_suffix(clean: Path, lists: Path, tmp_path: Path, shell) -> None:
    step = "steps/augment_data_dir.sh"
    shell(f"{step} --snr 5 --suffix noise-snr5 {clean} {lists}/noise_train.scp {tmp_path}/train_noisy")
    shell(f"{step} --snr 0 {clean} {lists}/noise_test.scp {tmp_path}/test_noisy")
    for name, suffix in (("train_noisy", "-noise-snr5"), ("test_noisy", "")):
        validate(tmp_path / name, need=("wav.scp", "utt2emo", "utt2noise"))
        source, copy = DataDir(clean), DataDir(tmp_path / name)
        assert copy.utterances == [utterance + suffix for utterance in source.utterances]
        for table in ("utt2spk", "utt2emo", "wav.scp"):
            assert list(copy.table(table).values()) == list(source.table(table).values())
        assert not copy.has("feats.scp")
        assert list(copy.table("vad.scp").values()) == list(source.table("vad.scp").values())
    specs = read_utt2noise(tmp_path / "train_noisy/utt2noise")
    assert {spec.snr for spec in specs.values()} == {5.0}
    assert {spec.path for spec in specs.values()} <= set(read_table(lists / "noise_train.scp").values())


def test_draws_do_not_depend_on_the_other_utterances(clean: Path, lists: Path, tmp_path: Path, shell) -> None:
    """What makes results independent of the number of jobs: a part of the data gets what the whole gets."""
    some = ["s1-00", "s2-04", "s3-11"]
    subset(clean, tmp_path / "part", some)

    def make(name: str, data: Path, options: str = "") -> str:
        options += f" --write-wav {tmp_path}/{name}_wav"
        return f"steps/augment_data_dir.sh {options} {data} {lists}/noise_train.scp {tmp_path}/{name}"

    shell(f"{make('a', clean)} && {make('b', tmp_path / 'part')} && {make('c', clean, '--seed 1')}")
    whole, part = (read_utt2noise(tmp_path / name / "utt2noise") for name in "ab")
    assert part == {utterance: whole[utterance] for utterance in some}
    for utterance in some:
        assert (tmp_path / f"a_wav/{utterance}.wav").read_bytes() == (tmp_path / f"b_wav/{utterance}.wav").read_bytes()
    assert read_utt2noise(tmp_path / "c/utt2noise") != whole


def test_several_snrs_and_lists_give_each_utterance_one(clean: Path, lists: Path, tmp_path: Path, shell) -> None:
    both = f"'{lists}/noise_train.scp {lists}/music_train.scp'"
    step = "steps/augment_data_dir.sh --snr '10 5 0' --suffix noisy"
    said = shell(f"{step} {clean} {both} {tmp_path}/a && {step} --seed 1 {clean} {both} {tmp_path}/b").stdout
    assert "12 utterances" in said and "at 10, 5, 0 dB" in said
    subset(clean, tmp_path / "part", some := ["s1-00", "s2-04", "s3-11"])
    shell(f"{step} {tmp_path}/part {both} {tmp_path}/c")
    a, b, c = (read_utt2noise(tmp_path / name / "utt2noise") for name in "abc")
    assert c == {f"{utterance}-noisy": a[f"{utterance}-noisy"] for utterance in some} and a != b
    files = {kind: set(read_table(lists / f"{kind}_train.scp").values()) for kind in ("noise", "music")}
    drawn = [*a.values(), *b.values()]
    assert {spec.snr for spec in drawn} == {10.0, 5.0, 0.0}
    assert all(any(spec.path in those for spec in drawn) for those in files.values())
    # What an utterance gets of the list and the SNR that it drew is what a copy with these alone gives it.
    spec = a["s1-00-noisy"]
    kind = next(kind for kind, those in files.items() if spec.path in those)
    shell(f"steps/augment_data_dir.sh --snr {spec.snr} {clean} {lists}/{kind}_train.scp {tmp_path}/alone")
    assert read_utt2noise(tmp_path / "alone/utt2noise")["s1-00"] == spec


def test_each_list_and_snr_in_one_directory(clean: Path, lists: Path, tmp_path: Path, shell) -> None:
    """One directory holds what one directory for each list and SNR holds, an utterance's copies side by side."""
    noise, music = lists / "noise_train.scp", lists / "music_train.scp"
    step = "steps/augment_data_dir.sh"
    said = shell(f"{step} --each true --snr '10 5 -2.5' {clean} '{noise} {music}' {tmp_path}/all").stdout
    assert "72 utterances, 6 for each of" in said and "at 10, 5, -2.5 dB" in said
    together = DataDir(tmp_path / "all")
    validate(together.path, need=("wav.scp", "utt2emo", "utt2noise", "utt2uniq"))
    expected: dict[str, dict[str, str]] = {}
    for kind, noises in (("noise", noise), ("music", music)):
        for snr in ("10", "5", "-2.5"):
            alone = tmp_path / f"{kind}{snr}"
            shell(f"{step} --snr {snr} --suffix {kind}-snr{snr} {clean} {noises} {alone}")
            for name in ("wav.scp", "utt2spk", "utt2emo", "vad.scp", "utt2noise", "utt2uniq"):
                expected.setdefault(name, {}).update(read_table(alone / name))
    assert {name: together.table(name) for name in expected} == expected
    assert list(together.table("utt2uniq").values()) == [u for u in DataDir(clean).utterances for _ in range(6)]
    before = contents(together.path)
    said = shell(f"{step} --each true --snr '10 5 -2.5' {clean} '{noise} {music}' {tmp_path}/all").stdout
    assert "is up to date" in said
    assert contents(together.path) == before


def test_copies_of_an_utterance_are_read_once(clean: Path, lists: Path, tmp_path: Path, shell) -> None:
    """Also where utterances are segments; features are those of a directory of its own, and know their originals."""
    reads = tmp_path / "reads"
    recordings = {key: f"echo {key} >> {reads}; cat {path} |" for key, path in read_table(clean / "wav.scp").items()}
    for name in ("whole", "cut"):
        shutil.copytree(clean, tmp_path / name)
        (tmp_path / name / "vad.scp").unlink()
        (tmp_path / name / "feats.scp").unlink()
        write_table(tmp_path / name / "wav.scp", recordings)
        write_table(tmp_path / name / "utt2dur", dict.fromkeys(recordings, 0.5))
    write_table(tmp_path / "cut/wav.scp", {f"rec{key}": value for key, value in recordings.items()})
    write_table(tmp_path / "cut/segments", {key: f"rec{key} 0 0.5" for key in recordings})
    noises = f"'{lists}/noise_train.scp {lists}/music_train.scp'"
    for name in ("whole", "cut"):
        copy = tmp_path / f"{name}_noisy"
        shell(f"steps/augment_data_dir.sh --each true --snr '10 0' {tmp_path}/{name} {noises} {copy}")
        assert not reads.exists()
        shell(f"steps/make_mfcc.sh --nj 1 {copy}")
        assert reads.read_text().split() == list(recordings)
        reads.unlink()
    alone = tmp_path / "alone"
    shell(f"steps/augment_data_dir.sh --snr 0 --suffix music-snr0 {tmp_path}/cut {lists}/music_train.scp {alone} && "
          f"steps/make_mfcc.sh --nj 1 {alone}")
    features = dict(read_arks(tmp_path / "cut_noisy/feats.scp"))
    assert len(features) == 48
    for utterance, matrix in read_arks(alone / "feats.scp"):
        np.testing.assert_allclose(features[utterance], matrix, atol=1e-4)

    shell(f"steps/compute_vad.sh --nj 2 --max-drop 0.1 {copy} && "
          f"steps/prepare_feats.sh --nj 2 --max-drop 0.1 {copy} {copy}_voiced")
    originals = read_table(tmp_path / "cut_noisy_voiced/utt2uniq")
    assert originals.keys() == read_table(tmp_path / "cut_noisy_voiced/feats.scp").keys()
    assert len(originals) == 44  # four are of silence, which has no voiced frame
    assert originals["s1-00-noise-snr10"] == "s1-00"


def test_originals_are_kept_through_copies_of_copies_and_checked(
    clean: Path, lists: Path, tmp_path: Path, shell
) -> None:
    copy = shutil.copytree(clean, tmp_path / "fast")
    originals = {utterance: f"slow-{utterance}" for utterance in read_table(clean / "utt2spk")}
    write_table(copy / "utt2uniq", originals)
    shell(f"steps/augment_data_dir.sh --suffix n {copy} {lists}/noise_train.scp {tmp_path}/noisy")
    assert read_table(tmp_path / "noisy/utt2uniq") == {f"{utt}-n": original for utt, original in originals.items()}
    write_table(copy / "utt2uniq", originals | {"s1-00": "two words"})
    with pytest.raises(SerError, match=r"utt2uniq:1: 's1-00 two words'; expected an utterance and the one"):
        validate(copy)


def test_draws_do_not_depend_on_where_durations_come_from(clean: Path, lists: Path, tmp_path: Path, shell) -> None:
    """Headers, pipes and utt2dur tell the same durations, so they give the same draws."""
    recordings = read_table(clean / "wav.scp")
    shutil.copytree(clean, tmp_path / "piped")
    write_table(tmp_path / "piped/wav.scp", {utterance: f"cat {path} |" for utterance, path in recordings.items()})
    shutil.copytree(tmp_path / "piped", tmp_path / "timed")
    write_table(
        tmp_path / "timed/utt2dur", {utterance: soundfile.info(path).duration for utterance, path in recordings.items()}
    )
    for data in (clean, tmp_path / "piped", tmp_path / "timed"):
        shell(f"steps/augment_data_dir.sh {data} {lists}/noise_train.scp {tmp_path}/out_{data.name}")
    drawn = {name: read_utt2noise(tmp_path / f"out_{name}/utt2noise") for name in (clean.name, "piped", "timed")}
    assert drawn["piped"] == drawn["timed"] == drawn[clean.name]
    assert (tmp_path / "out_timed/utt2dur").read_bytes() == (tmp_path / "timed/utt2dur").read_bytes()


def test_copy_of_segments(clean: Path, lists: Path, tmp_path: Path, shell) -> None:
    """Two utterances of one recording; the written mixes are of the pieces, and the recordings get new ids too."""
    source = tmp_path / "segmented"
    recording = read_table(clean / "wav.scp")["s1-09"]
    write_table(source / "wav.scp", {"rec": recording})
    write_table(source / "segments", {"s1-a": "rec 0.25 1.0", "s1-b": "rec 1.0 2.5"})
    write_table(source / "utt2spk", {"s1-a": "s1", "s1-b": "s1"})
    write_table(source / "utt2emo", {"s1-a": "sad", "s1-b": "sad"})
    write_table(source / "spk2utt", {"s1": "s1-a s1-b"})
    out = tmp_path / "copy"
    shell(f"steps/augment_data_dir.sh --suffix x --write-wav {tmp_path}/w {source} {lists}/music_train.scp {out}")
    validate(out)
    assert read_table(out / "segments") == {"s1-a-x": "rec-x 0.25 1.0", "s1-b-x": "rec-x 1.0 2.5"}
    assert read_table(out / "wav.scp") == {"rec-x": recording}
    assert [soundfile.info(tmp_path / f"w/s1-{part}-x.wav").frames for part in "ab"] == [6000, 12000]


@pytest.mark.parametrize(("snr", "kind"), [(10, "noise"), (0, "music")])
def test_written_mixes_have_the_snr(clean: Path, lists: Path, tmp_path: Path, shell, snr: int, kind: str) -> None:
    """Least squares finds speech and noise in the written files again, at the SNR asked for, to 16-bit rounding."""
    out = tmp_path / "noisy"
    shell(f"steps/augment_data_dir.sh --snr {snr} --write-wav {tmp_path}/w {clean} {lists}/{kind}_train.scp {out}")
    specs = read_utt2noise(out / "utt2noise")
    assert len(specs) == 12
    for utterance, path in read_table(clean / "wav.scp").items():
        speech, _ = soundfile.read(path, dtype="int16")
        mixed, rate = soundfile.read(tmp_path / f"w/{utterance}.wav", dtype="int16")
        assert rate == RATE and soundfile.info(tmp_path / f"w/{utterance}.wav").subtype == "PCM_16"
        if not speech.any():
            assert not mixed.any()
            continue
        noise = NoiseReader(RATE).read(specs[utterance], len(speech))
        parts = np.stack([speech, noise], axis=1).astype(np.float64)
        gains, *_ = np.linalg.lstsq(parts, mixed.astype(np.float64), rcond=None)
        assert np.abs(parts @ gains - mixed).max() <= 0.6  # rounding, and the fit's own small error
        power = np.mean((parts * gains) ** 2, axis=0)
        assert 10 * math.log10(power[0] / power[1]) == pytest.approx(snr, abs=0.02)
        assert np.mean(mixed.astype(float) ** 2) == pytest.approx(np.mean(speech.astype(float) ** 2), rel=1e-3)


def test_rerun_does_what_is_missing_or_stale(clean: Path, lists: Path, tmp_path: Path, shell) -> None:
    out, wavs = tmp_path / "noisy", tmp_path / "wav"
    line = f"steps/augment_data_dir.sh --write-wav {wavs} {clean} {lists}/noise_train.scp {out}"
    shell(line)
    first, mixes = contents(out), contents(wavs)
    times = {path: path.stat().st_mtime_ns for path in [*out.iterdir(), *wavs.iterdir()]}
    done = shell(line)
    assert "up to date" in done.stdout and "0 mixes written, 12 were there already" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in [*out.iterdir(), *wavs.iterdir()]} == times

    # A run that was killed in the middle: some tables, no marker, some mixes
    for path in (out / ".augment_data_dir.done", out / "utt2spk", out / "segments", wavs / "s1-03.wav"):
        path.unlink(missing_ok=True)
    assert "1 mixes written" in shell(line).stdout
    assert (contents(out), contents(wavs)) == (first, mixes)

    # Another seed: features of the old mixes must not survive
    write_table(out / "feats.scp", dict.fromkeys(read_table(out / "utt2spk"), "/arks/noisy.ark:7"))
    assert "12 mixes written" in shell(line.replace("--write", "--seed 1 --write")).stdout
    assert not (out / "feats.scp").exists()
    assert contents(out)["utt2noise"] != first["utt2noise"] and contents(wavs) != mixes


def test_features_do_not_depend_on_nj_and_survive_a_rerun(clean: Path, lists: Path, tmp_path: Path, shell) -> None:
    """make_mfcc.sh mixes in memory what --write-wav writes, up to 16-bit rounding, in one job or in three."""
    step = f"steps/augment_data_dir.sh --snr 0 {{}} {clean} {lists}/noise_train.scp {tmp_path}"
    shell(
        f"{step.format(f'--write-wav {tmp_path}/w')}/one && steps/make_mfcc.sh --nj 1 {tmp_path}/one &&"
        f"{step.format('')}/three && steps/make_mfcc.sh --nj 3 {tmp_path}/three"
    )
    one, three = (dict(read_arks(tmp_path / name / "feats.scp")) for name in ("one", "three"))
    assert list(one) == list(three) == list(read_table(clean / "utt2spk"))
    for utterance, features in one.items():
        np.testing.assert_array_equal(features, three[utterance])
    subset(clean, tmp_path / "written", one)
    write_table(tmp_path / "written/wav.scp", {utterance: tmp_path / f"w/{utterance}.wav" for utterance in one})
    (tmp_path / "written/feats.scp").unlink()
    shell(f"steps/make_mfcc.sh --nj 1 {tmp_path}/written")
    for utterance, features in read_arks(tmp_path / "written/feats.scp"):
        np.testing.assert_allclose(features, one[utterance], atol=0.1)

    before = contents(tmp_path / "three")
    assert "up to date" in shell(f"{step.format('')}/three").stdout
    assert contents(tmp_path / "three") == before


def test_clipping_is_counted(lists: Path, tmp_path: Path, shell) -> None:
    """A square wave of full scale leaves no room for noise of its own power."""
    write_wav(tmp_path / "loud.wav", 32767 * np.sign(np.sin(np.arange(16000) + 0.5)))
    data = tmp_path / "data"
    tables = {"wav.scp": tmp_path / "loud.wav", "utt2spk": "s-1", "spk2utt": "s-1", "utt2emo": "sad"}
    for name, value in tables.items():
        write_table(data / name, {"s-1": value})
    noise = lists / "noise_train.scp"
    done = shell(f"steps/augment_data_dir.sh --snr 0 --write-wav {tmp_path}/w {data} {noise} {tmp_path}/out")
    mixed, _ = soundfile.read(tmp_path / "w/s-1.wav", dtype="int16")
    assert "in 1 of 1 mixes are beyond 16 bits and were clipped" in done.stderr
    assert mixed.max() == 32767 and mixed.min() == -32768


def test_bad_input_is_named_and_nothing_is_left(clean: Path, lists: Path, tmp_path: Path, shell) -> None:
    noise, out = lists / "noise_train.scp", tmp_path / "out"

    def fails(options: str, data: Path = clean, noise_list: Path | str = noise, to: Path = out) -> str:
        said = shell(f"steps/augment_data_dir.sh {options} {data} {noise_list} {to}", ok=False).stderr
        assert "Traceback" not in said
        assert not (out / "utt2spk").exists()
        return said

    assert "--snr: the SNR must be a number of dB such as 10, 5 or 0, not 'loud'" in fails("--snr loud")
    assert "not 'nan'" in fails("--snr '10 nan'")
    assert "not ''" in fails("--snr ''")
    assert "an SNR is given twice" in fails("--snr '10 5 10.0'")
    assert "unrecognized arguments: --snrs" in fails("--snrs 5")
    assert "--suffix 'a b'" in fails("--suffix 'a b'")
    before = contents(clean)
    assert "would overwrite the data directory" in fails("", to=clean)
    assert contents(clean) == before
    assert f"{tmp_path}/nothing" in fails("", data=tmp_path / "nothing")

    bad_list = tmp_path / "bad.scp"
    assert f"{bad_list}: no such file" in fails("", noise_list=bad_list)
    bad_list.write_text("")
    assert f"{bad_list}: is empty" in fails("", noise_list=bad_list)
    for name, samples, message in (
        ("zero-length", np.zeros(0), "holds no samples"),
        ("silent", np.zeros(90_000), "is silent throughout"),
        ("nan", np.full(9000, np.nan), "NaN"),
    ):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
        write_table(bad_list, {name: tmp_path / f"{name}.wav"})
        said = fails("", noise_list=bad_list)
        assert f"{tmp_path}/{name}.wav: " in said and message in said

    (tmp_path / "other").mkdir()
    shutil.copy(noise, tmp_path / "other")
    twice = f"'{noise} {tmp_path}/other/{noise.name}'"
    assert "another noise list is called noise_train too" in fails("", noise_list=twice)
    assert "no noise list named" in fails("", noise_list="' '")

    assert "leave out --suffix" in fails("--each true --suffix x")
    assert "would give copies the same ids" in fails(
        "--each true", noise_list=f"'{lists}/noise_train.scp {lists}/noise_test.scp'"
    )

    shutil.copytree(clean, tmp_path / "twice")
    for name in ("wav.scp", "utt2spk", "utt2emo", "vad.scp", "feats.scp"):
        table = read_table(tmp_path / "twice" / name)
        write_table(tmp_path / "twice" / name, table | {"s1-00-x": table["s1-00"]})
    spk2utt = read_table(clean / "spk2utt")
    write_table(tmp_path / "twice/spk2utt", spk2utt | {"s1": spk2utt["s1"].replace("s1-00", "s1-00 s1-00-x")})
    assert "s1-00-x is there already; choose another --suffix" in fails("--suffix x", data=tmp_path / "twice")

    shell(f"steps/augment_data_dir.sh {clean} {noise} {tmp_path}/noisy")
    assert "is a noisy copy itself" in fails("", data=tmp_path / "noisy")


def test_babble_has_several_speakers_and_is_made_once(shared: Path, tmp_path: Path, shell) -> None:
    speech = tmp_path / "musan" / "speech" / "here"
    speech.mkdir(parents=True)
    (tmp_path / "musan" / "music").symlink_to(shared / "data/musan/music")
    command = f"local/prepare_musan.sh --babble true {tmp_path}/musan {tmp_path}/lists"
    for number in range(15):  # of each "speaker" one tone, so that it can be told who speaks
        tone = np.sin(2 * np.pi * (400 + 200 * number) * np.arange(16000) / 16000)
        soundfile.write(speech / f"s{number:02d}.wav", tone * 0.01 * (number + 1), 16000)
    said = shell(command).stdout
    assert "noise_train: 12 files" in said and "noise_test: 3 files" in said
    assert "babble of 3 to 7 of the speakers in" in (tmp_path / "lists/about").read_text()
    heard = {}
    for name in ("train", "test"):
        paths = read_table(tmp_path / f"lists/noise_{name}.scp").values()
        heard[name] = set()
        for path in paths:
            samples, rate = soundfile.read(path)
            assert (len(samples), rate) == (30 * 16000, 16000) and 0.49 < np.abs(samples).max() < 0.51
            power = (np.abs(np.fft.rfft(samples)) ** 2)[[30 * (400 + 200 * number) for number in range(15)]]
            speakers = np.flatnonzero(power > power.max() / 100)
            assert 3 <= len(speakers) <= 7 and power[speakers].min() > 0.9 * power.max(), "all equally loud"
            heard[name] |= set(speakers.tolist())
    assert not heard["train"] & heard["test"] and heard["train"], "who is heard in tests is never trained on"
    made = (tmp_path / "lists/babble_train/babble-0000.wav").stat().st_mtime_ns
    shell(command)
    assert (tmp_path / "lists/babble_train/babble-0000.wav").stat().st_mtime_ns == made
    failed = shell(f"local/prepare_musan.sh --babble true {shared}/data/musan {tmp_path}/x", ok=False).stderr
    assert "data/musan/speech: no such folder" in failed


def test_ones_own_noise_disjoint_or_shared(musan: Path, tmp_path: Path, shell) -> None:
    for split in ("disjoint", "shared"):
        shell(f"local/prepare_musan.sh --noise-dir {musan}/noise --split {split} {tmp_path}/{split}")
        train, test = (set(read_table(tmp_path / split / f"noise_{name}.scp").values()) for name in ("train", "test"))
        assert (train == test) if split == "shared" else not train & test
        assert not (tmp_path / split / "music_train.scp").exists()
        assert ("THE SAME FILES" in (tmp_path / split / "about").read_text()) is (split == "shared")
    failed = shell(f"local/prepare_musan.sh --noise-dir {tmp_path}/no {tmp_path}/x", ok=False).stderr
    assert "mend --noise-dir" in failed
