"""steps/extract_xvectors.sh: the network's own vectors whatever the jobs, refusals, kills and reruns."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
from collections.abc import Collection
from pathlib import Path

import extract_xvectors
import kaldiio
import numpy as np
import pytest
import torch
from tiny_data import make_data

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table, write_table
from ser.data import datadir
from ser.data.arks import ArkWriter, read_arks
from ser.features import feature_step
from ser.features.directories import front_end
from ser.features.store import FeatureStore
from ser.nets.resnet import ResNet34
from ser.training import evaluation
from ser.training.checkpoint import load_model, save_checkpoint

COUNT = 30


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """Features of 30 utterances of 4 speakers, and an untrained network for them whose batch norm does something."""
    folder = tmp_path_factory.mktemp("template")
    data = make_data(folder / "test_voiced", COUNT, 3)
    speakers = {utterance: f"s{int(utterance[-3:]) % 4}" for utterance in read_table(data / "utt2spk")}
    # Kaldi wants the speaker first.
    names = {utterance: f"{speaker}-{utterance}" for utterance, speaker in speakers.items()}
    for table in ("feats.scp", "utt2num_frames", "utt2spk"):
        write_table(data / table, {names[u]: v for u, v in read_table(data / table).items()})
    (data / "utt2emo").unlink()
    write_table(data / "utt2spk", {names[u]: speaker for u, speaker in speakers.items()})
    write_table(data / "spk2utt", datadir.spk2utt(read_table(data / "utt2spk")))
    torch.manual_seed(0)
    model = ResNet34(5)
    for name, value in model.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
    save_checkpoint(folder / "seed0" / "best.pt", {
        "model": model.state_dict(), "classes": [f"s{i}" for i in range(5)], "front_end": front_end([data]),
        "angular": None, "epoch": 4, "digest": "of the training",
    })
    (folder / "seed0" / ".train.done").write_text("")
    return folder


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    place = Path(shutil.copytree(template, tmp_path / "place"))
    scp = place / "test_voiced" / "feats.scp"
    scp.write_text(scp.read_text().replace(str(template), str(place)))
    return place


def alone(place: Path) -> dict[str, np.ndarray]:
    """Every utterance's x-vector as the network gives it for that utterance and no other."""
    model, _ = load_model(place / "seed0" / "best.pt", torch.device("cpu"))
    with torch.inference_mode():
        return {
            utterance: model.embed(torch.tensor(matrix), torch.tensor([len(matrix)]))[0].numpy()
            for utterance, matrix in read_arks(place / "test_voiced" / "feats.scp")
        }


def extract(
    monkeypatch, place: Path, *options: object, out: str = "xvectors", model: str = "seed0",
    only: Collection[int] | None = None,
) -> None:
    """Run the step with its jobs in this process, one after another; those that are not in `only` are lost."""

    def call(*words: object) -> None:
        places = (place / model, place / "test_voiced", place / out)
        monkeypatch.setattr("sys.argv", ["extract_xvectors.py", *map(str, (*words, *options, *places))])
        extract_xvectors.main()

    def run_jobs(_runner: str, number: int, _log: Path) -> None:
        for job in range(1, number + 1):
            if only is None or job in only:
                call("--job", job)

    monkeypatch.setattr(feature_step, "run_jobs", run_jobs)
    call()


def test_vectors_are_those_of_each_utterance_alone(template: Path, monkeypatch) -> None:
    """Where a stream is read in several pieces, too, and of utterances shorter than the network's strides."""
    monkeypatch.setitem(FeatureStore.BATCH_ROWS, "cpu", 50)
    model, _ = load_model(template / "seed0" / "best.pt", torch.device("cpu"))
    random = np.random.default_rng(0)
    lengths = [1, 2, 9, 400, 30, 700, 7, 3, 12]
    features = [(f"u{n}", random.standard_normal((n, 23)).astype(np.float32)) for n in lengths]
    got = dict(evaluation.xvectors(model, iter(features), torch.device("cpu")))
    assert list(got) == [name for name, _ in features]
    with torch.inference_mode():
        for name, matrix in features:
            expected = model.embed(torch.from_numpy(matrix), torch.tensor([len(matrix)]))[0].numpy()
            assert got[name].shape == (400,) and got[name].dtype == np.float32
            assert np.allclose(got[name], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_one_job_or_three(place: Path, monkeypatch) -> None:
    expected = alone(place)
    extract(monkeypatch, place, "--nj", 1, out="one")
    extract(monkeypatch, place, "--nj", 3, out="three")
    for folder in (place / "one", place / "three"):
        vectors = dict(read_arks(folder / "xvector.scp"))
        assert list(vectors) == sorted(expected)
        for utterance, vector in vectors.items():
            assert np.allclose(vector, expected[utterance], rtol=1e-4, atol=1e-4 * np.abs(vector).max())


def test_the_step_as_a_user_runs_it(place: Path, shell) -> None:
    folder, speakers = place / "xvectors", read_table(place / "test_voiced" / "spk2utt")
    line = f"steps/extract_xvectors.sh --nj 2 {place}/seed0 {place}/test_voiced {folder}"
    assert f"extract_xvectors: {folder}: {COUNT} utterances" in shell(line).stdout
    vectors = dict(kaldiio.load_scp(str(folder / "xvector.scp")).items())
    assert list(vectors) == list(read_table(place / "test_voiced" / "utt2spk"))
    assert all(vector.shape == (400,) and vector.dtype == np.float32 for vector in vectors.values())
    means = dict(kaldiio.load_scp(str(folder / "spk_xvector.scp")).items())
    assert list(means) == list(speakers)
    for speaker, utterances in speakers.items():
        assert np.allclose(means[speaker], np.mean([vectors[u] for u in utterances.split()], 0), atol=1e-5)
    assert read_table(folder / "num_utts.ark") == {s: str(len(u.split())) for s, u in speakers.items()}
    record = json.loads((folder / "xvectors.json").read_text())
    assert record["checkpoint"] == {"path": f"{place}/seed0/best.pt", "epoch": 4, "digest": "of the training"}
    done = shell(line.replace("--nj 2", "--nj 3"))
    assert done.stdout == f"extract_xvectors: {folder}: x-vectors up to date\n"


def test_what_makes_them_stale(place: Path, monkeypatch, capsys) -> None:
    extract(monkeypatch, place, "--nj", 2)
    before = dict(read_arks(place / "xvectors" / "xvector.scp"))

    def current() -> bool:
        capsys.readouterr()
        with contextlib.suppress(SerError):  # if they are not, the jobs that make them are lost
            extract(monkeypatch, place, only=())
        return "up to date" in capsys.readouterr().out

    assert current()
    # The same checkpoint written again is no other; one more epoch of training is.
    best = place / "seed0" / "best.pt"
    best.write_bytes(best.read_bytes())
    assert current()
    content = torch.load(best, weights_only=True)
    content["model"]["embedding.bias"] += 1
    save_checkpoint(best, content)
    assert not current()
    # Nothing may take what is left for x-vectors of this network.
    left = {path.name for path in (place / "xvectors").iterdir() if path.is_file()}
    assert not left & {"xvector.scp", "spk_xvector.scp", "num_utts.ark", "xvectors.json"}
    extract(monkeypatch, place, "--nj", 1)
    for utterance, vector in read_arks(place / "xvectors" / "xvector.scp"):
        assert np.allclose(vector, before[utterance] + 1, atol=1e-3)
    assert not list((place / "xvectors" / "data").glob("*.2.*"))
    assert current()
    rewrite(place, {"s0-s30-000": np.ones((20, 23))})
    assert not current()


def test_killed_and_resumed(place: Path, monkeypatch, capsys) -> None:
    extract(monkeypatch, place, "--nj", 2)
    expected = {path.name: path.read_bytes() for path in (place / "xvectors" / "data").glob("*.ark")}
    out = place / "again" / "xvectors"
    with pytest.raises(SerError, match=r"xvector_xvectors\.2\.ark: its job has not finished"):
        extract(monkeypatch, place, "--nj", 2, out="again/xvectors", only=(1,))
    if (child := os.fork()) == 0:
        written: list[str] = []

        def write_and_die(writer: ArkWriter, utterance: str, array: np.ndarray) -> None:
            if len(written) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            written.append(utterance)
            write(writer, utterance, array)

        write = ArkWriter.write
        monkeypatch.setattr(ArkWriter, "write", write_and_die)
        extract(monkeypatch, place, "--nj", 2, out="again/xvectors", only=(2,))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with pytest.raises(SerError, match=r"xvector_xvectors\.2\.ark: its job has not finished"):
        extract(monkeypatch, place, "--nj", 2, out="again/xvectors", only=())
    assert not (out / "xvector.scp").exists()
    capsys.readouterr()
    extract(monkeypatch, place, "--nj", 2, out="again/xvectors")
    assert f"{out}/data/xvector_xvectors.1.ark: up to date" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (out / "data").glob("*.ark")} == expected
    assert not list((out / "data").glob(".*.tmp"))
    ours = (place / "xvectors" / "xvector.scp").read_text()
    assert (out / "xvector.scp").read_text() == ours.replace(f"{place}/xvectors/", f"{out}/")


def test_refusals(place: Path, monkeypatch) -> None:
    (place / "test_voiced" / "conf" / "cmn.conf").write_text("--cmn=none\n")
    with pytest.raises(SerError) as error:
        extract(monkeypatch, place)
    for part in ("options (--cmn=none) than", "best.pt was trained on (none)", "--mfcc-config"):
        assert part in str(error.value)
    (place / "test_voiced" / "conf" / "cmn.conf").unlink()
    (place / "seed0" / ".train.done").unlink()
    with pytest.raises(SerError, match=re.escape(f"its training has not finished; finish it, or name {place}/seed0")):
        extract(monkeypatch, place)
    extract(monkeypatch, place, model="seed0/best.pt")
    with pytest.raises(SerError, match="no such checkpoint"):
        extract(monkeypatch, place, model="seed1")


def rewrite(place: Path, changes: dict[str, np.ndarray]) -> None:
    """Other features for some utterances."""
    features = dict(read_arks(place / "test_voiced" / "feats.scp"))
    with ArkWriter(place / "test_voiced" / "feats.ark", place / "test_voiced" / "feats.scp") as writer:
        for utterance, matrix in features.items():
            writer.write(utterance, changes.get(utterance, matrix).astype(np.float32))


def test_utterances_without_frames_are_named(place: Path, monkeypatch, capsys) -> None:
    lost = list(read_table(place / "test_voiced" / "utt2spk"))[3:5]
    rewrite(place, dict.fromkeys(lost, np.zeros((0, 23))))
    extract(monkeypatch, place, "--nj", 2, "--max-drop", 0.1)
    printed = capsys.readouterr().out
    for utterance in lost:
        assert f"dropped {utterance}: has no frame" in printed
        assert utterance in (place / "xvectors" / "log" / "extract_xvectors_xvectors.dropped").read_text()
    assert len(read_table(place / "xvectors" / "xvector.scp")) == COUNT - 2
    (place / "xvectors" / ".extract_xvectors.done").unlink()  # what is there already is not judged again
    with pytest.raises(SerError, match=f"2 of {COUNT} utterances dropped(.|\n)*{lost[0]}"):
        extract(monkeypatch, place, "--nj", 2)  # at most 1 %


def test_an_utterance_without_features_is_an_error(place: Path, monkeypatch) -> None:
    scp = place / "test_voiced" / "feats.scp"
    lines = scp.read_text().splitlines(keepends=True)
    scp.write_text("".join(lines[:-1]))
    with pytest.raises(SerError, match=rf"utt2spk:{COUNT}: utterance {lines[-1].split()[0]} is not in feats\.scp"):
        extract(monkeypatch, place, "--nj", 2)


def test_damaged_features_are_named(place: Path, monkeypatch) -> None:
    name = list(read_table(place / "test_voiced" / "utt2spk"))[3]
    for bad in (np.full((5, 23), np.nan), np.ones((5, 13))):
        rewrite(place, {name: bad})
        with pytest.raises(SerError, match=f"{name} has features of shape"):
            extract(monkeypatch, place, "--nj", 1)
        assert not list((place / "xvectors" / "data").glob("*.ark"))
