"""`plot_embeddings.py` on tiny runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plot_embeddings as program
import pytest
import torch
import yaml
from sklearn.metrics import silhouette_score
from tiny_data import SMALL, make_data

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table
from ser.features.store import FeatureStore
from ser.training.checkpoint import load_model
from ser.training.options import TrainOptions
from ser.training.runs import Run
from ser.training.trainer import Trainer


@pytest.fixture(scope="module")
def exp(tmp_path_factory) -> Path:
    """A folder with train, dev and finished runs of two networks, one with folds."""
    folder = tmp_path_factory.mktemp("embeddings")
    train, dev = make_data(folder / "train", 32, 1), make_data(folder / "dev", 16, 2)
    for network, name in (("resnet", "mfcc-resnet_clean_none_random/seed0"),
                          ("tdnn", "mfcc-tdnn_clean_none_random/fold1/seed0")):
        options = TrainOptions(**{**SMALL, "network": network, "epochs": 1, "precise_bn": 1})
        run = Run(str(folder), name, (str(train),), str(dev), {"test": str(dev)}, options=options)
        Trainer(run, torch.device("cpu")).train()
    return folder


@pytest.fixture
def plot(monkeypatch, capsys) -> Callable[..., str]:
    def plot(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["plot_embeddings.py", "--device", "cpu", *map(str, words)])
        program.main()
        return capsys.readouterr().out

    return plot


def test_runs_of_several_networks_side_by_side(exp: Path, plot, tmp_path: Path) -> None:
    runs = [exp / "mfcc-resnet_clean_none_random/seed0", exp / "mfcc-tdnn_clean_none_random/fold1/seed0"]
    said = plot("--out", tmp_path / "a.png", *runs).splitlines()
    assert said[-1] == f"Figure: {tmp_path / 'a.png'}" and (tmp_path / "a.png").is_file()
    assert said[0].startswith("mfcc-resnet_clean_none_random seed0: 16 utterances")
    model, _ = load_model(runs[1] / "best.pt", torch.device("cpu"))
    store = FeatureStore.load([str(exp / "dev")], torch.device("cpu"))
    with torch.inference_mode():
        vectors = np.stack([model.embed(*store.whole(np.array([row])))[0].numpy() for row in range(16)])
    expected = []
    for table in ("utt2emo", "utt2spk"):
        groups = [read_table(exp / "dev" / table)[utterance] for utterance in store.utterances]
        expected.append((len(set(groups)), f"{silhouette_score(vectors, groups):.3f}"))
    assert said[1] == ("mfcc-tdnn_clean_none_random fold1/seed0: 16 utterances, silhouette of {} emotions {}, of {} "
                       "speakers {}").format(*expected[0], *expected[1])
    by_data = plot("--out", tmp_path / "b.png", "--data", exp / "dev", *runs)
    assert by_data.splitlines()[:2] == said[:2]
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "a.png").read_bytes()


def test_what_cannot_work_is_said(exp: Path, plot, tmp_path: Path) -> None:
    run = Path(shutil.copytree(exp / "mfcc-resnet_clean_none_random/seed0", tmp_path / "x_clean_none_random/seed0"))
    for words, message in (
        ([tmp_path / "nowhere"], "nowhere/config.yaml: no such file; name the folder of a run"),
        (["--test", "test_snr5", run], r"has no test set test_snr5 \(it has test\)"),
        (["--out", "a.doc", run], "a.doc: the name must end in one of .*png"),
    ):
        with pytest.raises(SerError, match=message):
            plot(*words)
    other = Path(shutil.copytree(exp / "dev", tmp_path / "dev"))
    (other / "conf").mkdir(exist_ok=True)
    (other / "conf" / "mfcc.conf").write_text("--num-ceps=13\n")
    with pytest.raises(SerError, match="made with other options"):
        plot("--data", other, run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"system": "functionals", "network": "svm"}))
    with pytest.raises(SerError, match="a support vector machine has no layer before the last"):
        plot(run)
    assert not (tmp_path / "embeddings.png").exists()
