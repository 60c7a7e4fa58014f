"""Converting neutral recordings to other emotions: what F0 becomes, the same bytes each time, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

pytest.importorskip("pyworld", reason="pyworld is not installed (requirements-synthesis.txt)")

import pyworld

from ser.base.kaldi_tables import read_table, write_table
from ser.data.arks import ArkWriter
from ser.features.world import CONF, DESCRIPTION, RATE, analyse
from ser.nets.conversion import StarGan
from ser.nets.world_columns import CEPSTRUM, LEVEL
from ser.training.checkpoint import save_checkpoint
from ser.training.run_folder import FINISHED

EMOTIONS = ("neutral", "angry", "sad")
OCTAVES = {"neutral": 0.0, "angry": 0.5, "sad": -0.25}  # above neutral speech


def harmonics(f0: float) -> np.ndarray:
    """Return 0.5 s of the harmonics of an F0 in Hz, in noise, at int16 scale."""
    times = np.arange(RATE // 2) / RATE
    sound = sum(np.sin(2 * np.pi * k * f0 * times) / k for k in range(1, 40))
    return (2000 * sound + 20 * np.random.default_rng(0).standard_normal(len(times))).astype(np.float32)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two neutral utterances and a sad one, of WORLD's features."""
    folder = tmp_path / "data"
    (folder / "conf").mkdir(parents=True)
    (folder / CONF).write_text(DESCRIPTION)
    frames = {}
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for number, utterance in enumerate(("a-1", "a-2", "a-3")):
            rows = analyse(harmonics(120 + 40 * number))
            writer.write(utterance, rows)
            frames[utterance] = len(rows)
    write_table(folder / "utt2num_frames", frames)
    write_table(folder / "utt2spk", dict.fromkeys(frames, "a"))
    write_table(folder / "spk2utt", {"a": " ".join(frames)})
    write_table(folder / "utt2emo", {"a-1": "neutral", "a-2": "neutral", "a-3": "sad"})
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A finished training whose generator leaves the spectrum as it is, and F0 to the emotions' statistics."""
    network = StarGan(3, 4)
    for parameter in network.generator.exit.parameters():
        torch.nn.init.zeros_(parameter)
    for number, emotion in enumerate(EMOTIONS):
        network.means[number, LEVEL] = OCTAVES[emotion] * np.log(2)
    folder = tmp_path / "run"
    folder.mkdir()
    options = {"system": "world", "network": "stargan", "select": "loss", "width": 4}
    (folder / "config.yaml").write_text(yaml.safe_dump(options))
    save_checkpoint(folder / "last.pt", {
        "model": network.state_dict(), "classes": list(EMOTIONS), "dim": 49, "front_end": "\n".join(
            sorted(DESCRIPTION.splitlines())), "options": options})
    (folder / FINISHED).write_text("{}")
    return folder


def f0_of(path: str) -> float:
    samples, rate = soundfile.read(path)
    f0, _ = pyworld.harvest(samples, rate)
    return float(np.median(f0[f0 > 0]))


def test_a_neutral_recording_gets_the_f0_of_each_emotion(data: Path, model: Path, shell, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = f"steps/convert_data_dir.sh --nj 1 --model {model} {data} {out}"
    said = shell(line).stdout
    assert "4 copies of 3 utterances" in said
    recordings = read_table(out / "wav.scp")
    for utterance, f0 in (("a-1", 120), ("a-2", 160)):
        for emotion in ("angry", "sad"):
            copy = f"{utterance}-stargan-{emotion}"
            assert abs(1200 * np.log2(f0_of(recordings[copy]) / f0) - 1200 * OCTAVES[emotion]) < 20, "cents"
            assert read_table(out / "utt2emo")[copy] == emotion and read_table(out / "utt2uniq")[copy] == utterance
            info = soundfile.info(recordings[copy])
            assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_16")
    shell(f"utils/validate_data_dir.sh --no-feats {out}")
    assert "are up to date" in shell(line).stdout
    whole = {copy: Path(path).read_bytes() for copy, path in recordings.items()}
    (out / "wav/batch0.json").unlink()
    Path(recordings["a-1-stargan-sad"]).unlink()
    shell(line)
    assert whole == {copy: Path(path).read_bytes() for copy, path in recordings.items()}


def test_what_cannot_be_is_said(data: Path, model: Path, shell, tmp_path: Path) -> None:
    line = f"steps/convert_data_dir.sh --nj 1 --model {model} {data} {tmp_path}/out"
    assert "--copies: is of copies in other styles" in shell(f"{line} --copies 2", ok=False).stderr
    checkpoint = torch.load(model / "last.pt", weights_only=True)
    checkpoint["model"]["means"][1, CEPSTRUM] = -200
    torch.save(checkpoint, model / "last.pt")
    assert "2 has numbers that are none" in shell(line).stdout
    assert set(read_table(tmp_path / "out/utt2emo").values()) == {"sad"}
    (model / FINISHED).unlink()
    assert "its training has not finished" in shell(line, ok=False).stderr
    (data / CONF).write_text("--other=1\n")
    (model / FINISHED).write_text("{}")
    said = shell(line, ok=False)
    assert "steps/make_world.sh" in said.stderr + said.stdout and "Traceback" not in said.stderr
    write_table(data / "utt2emo", dict.fromkeys(("a-1", "a-2", "a-3"), "sad"))
    assert "has no neutral utterance" in shell(line, ok=False).stderr
