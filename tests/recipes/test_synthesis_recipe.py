"""Task synthesis through the driver, from audio to scores and fine-tuning, with tiny random pretrained parts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from small_project import SMALL
from tiny_encoder import save_encoder
from tiny_synthesis import save_ge2e

from ser.base.kaldi_tables import read_table
from ser.features.speech_store import MADE_BY

ROOT = Path(__file__).resolve().parents[2]
TINY = ("--width", "16", "--batch-size", "4", "--longest", "0", "--guided-attention", "1")


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("synthesis")
    encoder, speakers = save_encoder(folder / "tiny"), save_ge2e(folder / "ge2e")
    return [str(ROOT / "run.sh"), "--task", "synthesis", "--encoder", str(encoder), "--speaker-encoder", str(speakers),
            "--num-units", "8", "--work-dir", str(folder / "work"),
            *SMALL, "--nj", "2", "--train-threads", "1", *TINY]


def run(command: list[str], ok: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_from_audio_to_scores_and_then_fine_tuned(command: list[str]) -> None:
    said = run([*command, "--epochs", "1"])
    work = Path(command[command.index("--work-dir") + 1])
    [exp] = work.glob("exp*")
    [folder] = exp.glob("synthesis-tiny-layer2-8-ge2e-tacotron_clean_none_pretrained_*/seed0")
    score = json.loads((folder / "score_test" / "synthesis.json").read_text())
    assert score["loss"] > 0 and 0 <= score["stopped"] <= 1 and score["length"] <= 2
    assert "| run | epoch | loss |" in said and (exp / "results" / "synthesis.md").exists()
    [train] = work.glob("data*/train_synthesis-tiny-layer2-8-ge2e")
    assert all((train / name).exists() for name in MADE_BY)
    tables = [set(read_table(train / name)) for name in ("units.txt", "styles.scp", "feats.scp")]
    assert tables[0] == tables[1] == tables[2]
    scored = (folder / "score_test" / "synthesis.json").stat().st_mtime_ns
    assert "up to date" in run([*command, "--epochs", "1"])
    assert (folder / "score_test" / "synthesis.json").stat().st_mtime_ns == scored
    assert len((folder / "history.jsonl").read_text().splitlines()) == 1
    tuned = run([*command, "--init", str(folder), "--config", str(ROOT / "conf" / "synthesis-finetune.yaml"),
                 "--epochs", "1", "--finetune-on", "all", "--stop-stage", "3"])
    assert "with a critic" in "".join(path.read_text() for path in exp.glob("log/train_*")) + tuned
    [folder] = exp.glob("*_clean-all_none_xvector-seed0-*/seed0")
    record = (folder / "config.yaml").read_text()
    assert "adversarial: 0.1" in record and "learning_rate: 1.0e-05" in record
    assert sum(f"{name}_synthesis" in record for name in ("train", "dev", "test")) == 3


def test_its_parts_are_asked_for_by_name(command: list[str]) -> None:
    place = command.index("--speaker-encoder")
    assert "--speaker-encoder: name the folder" in run([*command[:place], *command[place + 2 :]], ok=False)
