"""A fine-tuned run answers what was scored, without its encoder's folder, and so does transformers' own pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tiny_encoder import TINY
from transformers import AutoModel, HubertConfig, Wav2Vec2Config, Wav2Vec2FeatureExtractor, WavLMConfig, pipeline

from ser.apps.recogniser import Recogniser
from ser.apps.transformers_folder import write_transformers_folder
from ser.base.errors import SerError
from ser.base.kaldi_tables import write_table
from ser.features.waveforms import FRONT_END
from ser.scoring.predictions import read_predictions
from ser.training.checkpoint import save_checkpoint
from ser.training.options import TrainOptions
from ser.training.run_folder import FINISHED
from ser.training.systems import SYSTEMS

LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
CONFIGS = {
    "hubert-base": HubertConfig(**TINY), "hubert-large": HubertConfig(**TINY, **LARGE),
    "wavlm-base": WavLMConfig(**TINY), "wavlm-large": WavLMConfig(**TINY, **LARGE),
    "wav2vec2-base": Wav2Vec2Config(**TINY), "wav2vec2-large": Wav2Vec2Config(**TINY, **LARGE),
}
CLASSES = ["angry", "happy", "neutral", "sad"]


def make_run(folder: Path, encoder: str, **changes: object) -> Path:
    """A run whose layers are random, and large enough for answers to differ; its encoder's folder is gone."""
    torch.manual_seed(0)
    source, run = folder / encoder, folder / "run"
    AutoModel.from_config(CONFIGS[encoder]).save_pretrained(source)
    Wav2Vec2FeatureExtractor(do_normalize="large" in encoder).save_pretrained(source)
    options = TrainOptions(system="encoder-finetune", network="linear", init=str(source), crop=2, **changes)
    network = SYSTEMS["encoder-finetune"].networks["linear"].build(1, len(CLASSES), options)
    with torch.no_grad():
        network.classifier.weight.mul_(20)
    source.rename(folder / "away")
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump(options.changed()))
    (run / FINISHED).write_text("{}")
    save_checkpoint(run / "best.pt", {
        "model": network.state_dict(), "classes": CLASSES, "front_end": FRONT_END.strip(), "epoch": 1, "dim": 1,
        "options": options.changed(), "built_from": network.built_from,
    })  # fmt: skip
    return run


def recordings(folder: Path, rates: tuple[int, ...] = (16000, 16000, 8000, 16000)) -> list[Path]:
    random, files = np.random.default_rng(0), []
    for number, rate in enumerate(rates):
        tone = np.sin(np.arange(rate + 3000 * number) * 2 * np.pi * 150 * (number + 1) / rate)
        files.append(folder / f"s{number}-u.wav")
        soundfile.write(files[-1], 0.3 * tone + 0.05 * random.standard_normal(len(tone)), rate)
    return files


def test_answers_are_what_was_scored_and_an_exported_model_gives_them(shell, tmp_path: Path) -> None:
    run, files, data = make_run(tmp_path, "hubert-base"), recordings(tmp_path), tmp_path / "test"
    data.mkdir()
    for table, values in {"wav.scp": files, "utt2spk": ["s0", "s1", "s2", "s3"], "utt2emo": CLASSES}.items():
        write_table(data / table, {file.stem: value for file, value in zip(files, values, strict=True)})
    shell(f"utils/fix_data_dir.sh {data} && steps/make_waveforms.sh --nj 1 {data} && "
          f"pyscripts/score.py --run {run} --tests test={data} --device cpu")
    expected = read_predictions(run / "score_test" / "predictions.tsv")
    assert np.ptp(expected.posteriors, 0).max() > 0.01
    recogniser = Recogniser(run, "cpu")
    with pytest.raises(SerError, match="holds the encoder that was fine-tuned; leave out --encoder"):
        Recogniser(run, "cpu", str(tmp_path / "away"))
    answers = recogniser.predict(files)
    ours = [[f"{answer.probabilities[label]:.6f}" for label in CLASSES] for answer in answers]
    assert ours == [[f"{value:.6f}" for value in row] for row in expected.posteriors]
    [along] = recogniser.predict(files[3:], every=0.5)
    assert len(along.along) == 4 and all(moment.emotion for moment in along.along)
    soundfile.write(tmp_path / "long.wav", np.zeros(61 * 16000), 16000)
    soundfile.write(tmp_path / "short.wav", np.zeros(300), 16000)
    bad = recogniser.predict([tmp_path / "long.wav", files[0], tmp_path / "short.wav"])
    assert "long.wav: 61.0 s long, over the 60 s of the encoder" in bad[0].error and bad[1].emotion
    assert "short.wav: 0.019 s long, too short" in bad[2].error
    shell(f"pyscripts/export_model.py --licence none {run} {tmp_path / 'model'}")
    assert Recogniser(tmp_path / "model", "cpu").predict(files) == answers


@pytest.mark.parametrize("encoder", CONFIGS)
def test_transformers_pipeline_answers_the_same(encoder: str, tmp_path: Path) -> None:
    run, files = make_run(tmp_path, encoder), recordings(tmp_path, (16000, 16000))
    write_transformers_folder(run, tmp_path / "model", "CC0")
    classify = pipeline("audio-classification", model=str(tmp_path / "model"))
    for file, answer in zip(files, Recogniser(run, "cpu").predict(files), strict=True):
        theirs = classify({"raw": soundfile.read(file)[0], "sampling_rate": 16000}, top_k=4)
        assert {found["label"]: found["score"] for found in theirs} == pytest.approx(answer.probabilities, abs=1e-5)
    assert "CC0" in (tmp_path / "model" / "README.md").read_text()
    with pytest.raises(SerError, match="is there already; name a new folder"):
        write_transformers_folder(run, tmp_path / "model", "CC0")


def test_an_inner_layer_of_a_base_model_is_its_last_one_there(tmp_path: Path) -> None:
    run, [file] = make_run(tmp_path, "hubert-base", layer=1), recordings(tmp_path, (16000,))
    write_transformers_folder(run, tmp_path / "model", "CC0")
    theirs = pipeline("audio-classification", model=str(tmp_path / "model"))(
        {"raw": soundfile.read(file)[0], "sampling_rate": 16000})
    [answer] = Recogniser(run, "cpu").predict([file])
    assert {found["label"]: found["score"] for found in theirs} == pytest.approx(answer.probabilities, abs=1e-5)


@pytest.mark.parametrize(
    ("encoder", "changes", "message"),
    [
        ("hubert-large", {"layer": 1}, "normalises what its last layer gives, and this network ends at layer 1"),
        ("hubert-base", {"pooling": "mean+deviation"}, "on the mean of frames, and this network has pooling mean.dev"),
        ("hubert-base", {"pooled_norm": "batch"}, "pooled_norm batch"),
    ],
)
def test_what_transformers_has_not_is_refused(encoder: str, changes: dict, message: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, encoder, **changes)
    with pytest.raises(SerError, match=f"{message}.*; export without --format transformers"):
        write_transformers_folder(run, tmp_path / "model", "CC0")
    assert not (tmp_path / "model").exists()
