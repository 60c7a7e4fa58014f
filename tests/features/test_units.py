"""Units as a user gets them: a codebook fitted, units extracted, mismatches refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.cluster import KMeans
from tiny_encoder import save_encoder

from ser.base.errors import SerError
from ser.base.files import write_text
from ser.base.kaldi_tables import write_table
from ser.data.arks import read_arks
from ser.data.rearrange import subset
from ser.features.hidden_states import describe
from ser.features.units import Codebook, deduplicate, num_units, read_units
from ser.nets.encoder_folder import read_encoder_folder


def data_dir(folder: Path, count: int) -> Path:
    """Write utterances of noise of different lengths."""
    random = np.random.default_rng(0)
    names = [f"s{number % 2}-u{number}" for number in range(count)]
    for number, name in enumerate(names):
        samples = (3000 * random.standard_normal(6000 + 1111 * number)).astype(np.int16)
        folder.mkdir(exist_ok=True)
        soundfile.write(folder / f"{name}.wav", samples, 16000)
    write_table(folder / "wav.scp", {name: folder / f"{name}.wav" for name in names})
    write_table(folder / "utt2spk", {name: name[:2] for name in names})
    write_table(folder / "spk2utt", {spk: " ".join(sorted(n for n in names if n[:2] == spk)) for spk in ("s0", "s1")})
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def fitted(encoder: Path, tmp_path_factory, request) -> tuple[Path, Path]:
    """A data directory with hidden states, and a codebook of 8 units fitted to them."""
    shell = request.getfixturevalue("shell")
    data = data_dir(tmp_path_factory.mktemp("fit") / "hubert", 6)
    codebook = data.parent / "codebook.npz"
    shell(f"steps/make_encoder_feats.sh --nj 1 --encoder {encoder} --layer 1 {data}")
    shell(f"steps/fit_codebook.sh --num-units 8 {data} {codebook}")
    return data, codebook


def test_repetitions_go_and_come_back() -> None:
    units = np.array([23, 23, 2, 2, 2, 57, 23])
    short, counts = deduplicate(units)
    assert short.tolist() == [23, 2, 57, 23] and counts.tolist() == [2, 3, 1, 1]
    assert np.array_equal(np.repeat(short, counts), units)
    random = np.random.default_rng(0).integers(0, 3, 1000)
    assert np.array_equal(np.repeat(*deduplicate(random)), random)
    assert [len(part) for part in deduplicate(np.array([], np.int64))] == [0, 0]


def test_the_codebook_is_as_good_as_k_means_over_all_frames() -> None:
    random = np.random.default_rng(1)
    states = (
        5 * random.standard_normal((10, 4))[random.integers(0, 10, 30_000)] + random.standard_normal((30_000, 4))
    ).astype(np.float32)
    book = Codebook.fit(states, 20, 0, "")
    error = np.square(states - book.centres[book.units(states)]).sum()
    assert error < 1.05 * KMeans(20, n_init=3, random_state=0).fit(states).inertia_
    distances = np.square(states[:500, None].astype(float) - book.centres).sum(-1)
    assert np.array_equal(book.units(states[:500]), distances.argmin(1))
    assert np.array_equal(Codebook.fit(states, 20, 0, "").centres, book.centres), "the same seed, the same codebook"
    with pytest.raises(SerError, match="19 frames are too few for 20 units"):
        Codebook.fit(states[:19], 20, 0, "")


def test_units_are_the_nearest_centres_of_hidden_states(encoder: Path, fitted, shell, tmp_path: Path) -> None:
    (hubert, codebook), data = fitted, data_dir(tmp_path / "data", 6)
    (data / "cmvn.scp").write_text("s0 a.ark:3\ns1 a.ark:9\n")
    line = f"steps/extract_units.sh --nj 1 --encoder {encoder} --layer 1 --codebook {codebook} {data}"
    assert "units without repetitions" in shell(line).stdout
    assert (data / "cmvn.scp").exists(), "other tables stay"
    book, frames = Codebook.read(codebook), dict(read_arks(data / "units.scp"))
    units, description = read_units([data])
    for utterance, states in read_arks(hubert / "feats.scp"):
        expected = book.units(states)
        assert (frames[utterance] == expected).mean() > 0.98, "all but what two-byte compression has moved"
        assert np.array_equal(units[utterance], deduplicate(frames[utterance].astype(int))[0])
    assert num_units(description) == 8 and "--layer=1" in description
    before = {name: (data / name).read_bytes() for name in ("units.txt", "conf/units.conf")}
    (data / ".extract_units.done").unlink()
    shell(line.replace("--nj 1", "--nj 2"))
    assert before == {name: (data / name).read_bytes() for name in before}, "what an utterance gets depends on no other"
    assert shell(line).stdout == f"extract_units: {data}: units up to date\n"
    subset(data, tmp_path / "two", sorted(units)[:2])
    two = {utterance: pytest.approx(units[utterance]) for utterance in sorted(units)[:2]}
    assert read_units([tmp_path / "two"]) == (two, description)
    (data / "units.txt").write_text("s0-u0 3 8\ns1-u1 1\n")
    with pytest.raises(SerError, match="s0-u0: expected units from 0 to 7"):
        read_units([data], description=description)


def test_a_mismatch_is_refused_with_a_remedy(encoder: Path, fitted, shell, tmp_path: Path) -> None:
    hubert, codebook = fitted
    line = f"steps/extract_units.sh --encoder {encoder} --layer 2 --codebook {codebook} {hubert}"
    said = shell(line, ok=False).stderr
    assert "--layer=1" in said and "name the same encoder and layer" in said
    said = shell(f"steps/fit_codebook.sh {hubert.parent} {tmp_path}/c.npz", ok=False).stderr
    assert "steps/make_encoder_feats.sh" in said and "Traceback" not in said
    assert "codebook is up to date" in shell(f"steps/fit_codebook.sh --num-units 8 {hubert} {codebook}").stdout
    book = Codebook.read(codebook)
    with pytest.raises(SerError, match="fit another codebook"):
        book.check(describe(read_encoder_folder(save_encoder(tmp_path / "other", 1)), 1, "fp32"), 16, codebook)
    book.check(describe(read_encoder_folder(encoder), 1, "bf16"), 16, codebook)
    with pytest.raises(SerError, match="centres have 16 numbers and the hidden states 17"):
        book.check("", 17, codebook)
    np.save(tmp_path / "released.npy", book.centres)
    assert Codebook.read(tmp_path / "released.npy").describe() == book.describe(), "known by their centres alone"
    for name, centres in (("one", book.centres), ("two", book.centres + 0.01)):
        write_table(tmp_path / name / "units.txt", {f"s-{name}": "1 2 1"})
        write_text(tmp_path / name / "conf/units.conf", Codebook(centres, "").describe())
    with pytest.raises(SerError, match=r"two/conf/units.conf: units of .* run steps/extract_units.sh"):
        read_units([tmp_path / "one", tmp_path / "two"])
    with pytest.raises(SerError, match="s-two has no units"):
        read_units([tmp_path / "one"], ["s-one", "s-two"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no codebook"),
        (b"PK\3\4 cut", "no codebook"),
        (np.ones(3), "float64 of shape"),
        (np.full((4, 2), np.nan), "finite"),
        (np.ones((4, 2), int), "int64 of shape"),
        (None, "no such codebook"),
    ],
)
def test_what_is_no_codebook_is_named(content, said: str, tmp_path: Path) -> None:
    path = tmp_path / "book.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(SerError, match=f"book.npy: .*{said}"):
        Codebook.read(path)
