"""`steps/compute_cmvn_stats.sh` and `steps/prepare_feats.sh --cmn speaker`: Kaldi's definition, copies, staleness."""

from __future__ import annotations

from pathlib import Path

import kaldiio
import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table, write_table
from ser.data.arks import ArkWriter
from ser.data.datadir import spk2utt, validate
from ser.data.rearrange import subset
from ser.features.cmvn import apply_cmvn, cmvn_stats

DIM = 5
COPIES = ("-noise-snr0", "-music-snr5")


def make_data(folder: Path, utt2spk: dict[str, str], originals: dict[str, str] | None = None) -> Path:
    """Features of speakers that differ in mean and deviation, half of the frames voiced; s3-1 has none that is."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    speakers = sorted(set(utt2spk.values()))
    feats, vad = (ArkWriter(folder / f"{name}.ark", folder / f"{name}.scp") for name in ("feats", "vad"))
    with feats, vad:
        for utterance in sorted(utt2spk):
            number = speakers.index(utt2spk[utterance])
            shape = int(random.integers(20, 60)), DIM
            feats.write(utterance, random.normal(10 * number, 1 + number, shape).astype(np.float32))
            vad.write(utterance, (random.random(shape[0]) < 0.5).astype(np.float32) * (utterance != "s3-1"))
    write_table(folder / "utt2spk", utt2spk)
    write_table(folder / "spk2utt", spk2utt(utt2spk))
    if originals:
        write_table(folder / "utt2uniq", originals)
    return folder


def load(scp: Path) -> dict[str, np.ndarray]:
    return dict(kaldiio.load_scp(str(scp)))


def voiced(data: Path) -> dict[str, np.ndarray]:
    vad = load(data / "vad.scp")
    return {utterance: matrix[vad[utterance] > 0] for utterance, matrix in load(data / "feats.scp").items()}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data" / "train", {f"s{s}-{u}": f"s{s}" for s in range(1, 4) for u in range(1, 5)})


@pytest.mark.parametrize("divide", (False, True))
def test_a_speakers_voiced_frames_have_mean_0_and_if_asked_deviation_1(data, tmp_path, shell, divide):
    out = tmp_path / "out"
    options = f"--cmn speaker --cmn-vars {str(divide).lower()} --max-drop 0.1"
    shell(f"steps/compute_cmvn_stats.sh {data} && steps/prepare_feats.sh --nj 5 {options} {data} {out}")
    frames, made, utt2spk = voiced(data), load(out / "feats.scp"), read_table(data / "utt2spk")
    assert frames.keys() - made.keys() == {"s3-1"}
    for speaker in ("s1", "s2", "s3"):
        those = [utterance for utterance in made if utt2spk[utterance] == speaker]
        whole = np.concatenate([frames[utterance] for utterance in those]).astype(np.float64)
        scaler = StandardScaler(with_std=divide).fit(whole)
        for utterance in those:
            assert made[utterance].dtype == np.float32
            assert np.abs(made[utterance] - scaler.transform(frames[utterance].astype(np.float64))).max() < 1e-5
    recordings = {utterance: "3" if utterance.startswith("s3") else "4" for utterance in made}
    assert read_table(out / "utt2num_cmvn") == recordings
    assert (out / "conf/cmn.conf").read_text() == "--cmn=speaker\n" + "--cmn-vars=true\n" * divide
    subset(out, tmp_path / "fold", ["s1-1", "s3-2"])
    assert read_table(tmp_path / "fold" / "utt2num_cmvn") == {"s1-1": "4", "s3-2": "3"}
    validate(data, need=("cmvn.scp",))


def test_statistics_are_kaldis(shared, tmp_path, shell):
    """Of Kaldi's own MFCC and VAD: sums with the frames after them, squares with 0, in double precision."""
    kaldi, data = shared / "kaldi_reference", tmp_path / "data"
    data.mkdir()
    utt2spk = {}
    for name, table in (("mfcc", "feats.scp"), ("vad", "vad.scp")):
        lines = read_table(kaldi / f"{name}_8k.scp")
        write_table(data / table, {f"{utt[-2:]}-{utt}": f"{kaldi}/{place}" for utt, place in lines.items()})
        utt2spk = {f"{utt[-2:]}-{utt}": utt[-2:] for utt in lines}
    write_table(data / "utt2spk", utt2spk)
    write_table(data / "spk2utt", spk2utt(utt2spk))
    done = shell(f"steps/compute_cmvn_stats.sh {data}")
    assert "8 statistics over 16 utterances" in done.stdout
    stats, frames = load(data / "cmvn.scp"), voiced(data)
    assert stats.keys() == set(utt2spk.values())
    for speaker, matrix in stats.items():
        whole = np.concatenate([frames[utt] for utt in utt2spk if utt2spk[utt] == speaker]).astype(np.float64)
        expected = np.stack([np.append(whole.sum(0), len(whole)), np.append((whole**2).sum(0), 0)])
        assert matrix.dtype == np.float64 and np.allclose(matrix, expected, rtol=1e-12)
    assert load(data / "utt2cmvn")[max(utt2spk)].tolist() == stats[utt2spk[max(utt2spk)]].tolist()


def test_each_copy_of_a_speakers_recordings_has_its_own_statistics(tmp_path, shell):
    originals = {f"s{s}-{u}{copy}": f"s{s}-{u}" for s in (1, 2) for u in (1, 2, 3) for copy in COPIES}
    data = make_data(tmp_path / "noisy", {utterance: utterance[:2] for utterance in originals}, originals)
    shell(f"steps/compute_cmvn_stats.sh {data} && steps/prepare_feats.sh --nj 2 --cmn speaker {data} {tmp_path}/out")
    made, frames = load(tmp_path / "out/feats.scp"), voiced(data)
    for speaker in ("s1", "s2"):
        for copy in COPIES:
            those = [f"{speaker}-{u}{copy}" for u in (1, 2, 3)]
            mean = np.concatenate([frames[utterance] for utterance in those]).mean(0, dtype=np.float64)
            assert all(np.abs(made[utt] - (frames[utt] - mean)).max() < 1e-5 for utt in those)
    assert set(read_table(tmp_path / "out/utt2num_cmvn").values()) == {"3"}
    assert not (data / "cmvn.scp").exists()  # Kaldi allows it speakers only
    assert set(read_table(data / "data/cmvn_noisy.scp")) == {
        f"{speaker}{copy}" for speaker in ("s1", "s2") for copy in COPIES
    }
    validate(data, need=())


def test_a_recording_that_comes_alone_has_statistics_of_itself(data, tmp_path, shell):
    shell(f"steps/compute_cmvn_stats.sh --per-utt true {data} && "
          f"steps/prepare_feats.sh --nj 1 --max-drop 0.1 --cmn speaker {data} {tmp_path}/out")
    frames, made = voiced(data), load(tmp_path / "out/feats.scp")
    for utterance, matrix in made.items():
        assert np.abs(matrix - (frames[utterance] - frames[utterance].mean(0, dtype=np.float64))).max() < 1e-5
    assert set(read_table(tmp_path / "out/utt2num_cmvn").values()) == {"1"}
    assert not (data / "cmvn.scp").exists()
    assert "3 statistics over 12" in shell(f"steps/compute_cmvn_stats.sh {data}").stdout


def test_what_is_stale_is_made_again_and_nothing_else(data, tmp_path, shell):
    both = (f"steps/compute_cmvn_stats.sh {data} && "
            f"steps/prepare_feats.sh --nj 1 --max-drop 0.1 --cmn speaker {data} {tmp_path}/out")
    shell(both)
    again = shell(both).stdout
    assert "statistics up to date" in again and "features up to date" in again
    with ArkWriter(data / "vad.ark", data / "vad.scp") as writer:
        for utterance, matrix in load(data / "feats.scp").items():
            writer.write(utterance, np.ones(len(matrix), np.float32))
    again = shell(both).stdout
    assert "3 statistics over 12 utterances" in again and "prepare_feats:" in again and "up to date" not in again
    assert read_table(tmp_path / "out/utt2num_cmvn")["s3-1"] == "4"
    # Features made without the statistics do not say that they were made with them.
    shell(f"steps/prepare_feats.sh --nj 1 --cmn utterance {data} {tmp_path}/out")
    assert not (tmp_path / "out/utt2num_cmvn").exists()


def test_bad_input_is_named(data, tmp_path, shell):
    prepare = f"steps/prepare_feats.sh --nj 1 {data} {tmp_path}/out"
    said = shell(prepare.replace("--nj 1", "--nj 1 --cmn speaker"), ok=False).stderr
    assert f"{data}/utt2cmvn: no such file; run steps/compute_cmvn_stats.sh {data} first" in said
    said = shell(prepare.replace("--nj 1", "--nj 1 --cmn sliding --cmn-vars true"), ok=False).stderr
    assert "--cmn-vars true is for --cmn speaker" in said
    shell(f"steps/compute_cmvn_stats.sh {data} {tmp_path}/log {tmp_path}/arks")
    other = make_data(tmp_path / "other" / "train", {"a-1": "a"})
    said = shell(f"steps/compute_cmvn_stats.sh {other} {tmp_path}/log {tmp_path}/arks", ok=False)
    assert f"belongs to {data}" in said.stdout + said.stderr
    (data / "vad.scp").unlink()
    assert "vad.scp: no such file" in shell(f"steps/compute_cmvn_stats.sh {data}", ok=False).stderr


def test_statistics_of_nothing_or_of_other_features_are_refused():
    with pytest.raises(SerError, match="over 0 frames"):
        apply_cmvn(np.ones((3, 2), np.float32), cmvn_stats(np.ones((0, 2))))
    with pytest.raises(SerError, match="for 3 features"):
        apply_cmvn(np.ones((3, 3), np.float32), cmvn_stats(np.ones((4, 2))))
