"""Training on copies in other emotions: WORLD's features, a converter for each fold, its copies, and a table."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import soundfile

pytest.importorskip("pyworld", reason="pyworld is not installed (requirements-synthesis.txt)")

from small_project import SMALL

from ser.base.kaldi_tables import read_table

ROOT = Path(__file__).resolve().parents[2]
EMOTIONS = ("angry", "happy", "sad")


@pytest.mark.long
@pytest.mark.parametrize("network", ["cyclegan", "stargan"])
def test_from_audio_to_tables_with_copies_in_other_emotions(network: str, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text("epochs: 1\nmin_updates: 6\nwidth: 4\n")
    command = [ROOT / "run.sh", "--work-dir", tmp_path / "work", *SMALL, "--nj", "1", "--train-threads", "1",
               "--scheme", "none", "--epochs", "1", "--baseline", "false", "--test-snr", "none",
               "--train-data", f"clean+{network}", "--conversion-config", config]

    def run() -> str:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = run()
    (data,) = (tmp_path / "work").glob("data*")
    copies, emotions = data / f"train_{network}", read_table(data / "train/utt2emo")
    neutral = [utterance for utterance, emotion in emotions.items() if emotion == "neutral"]
    made, sources = read_table(copies / "utt2emo"), read_table(copies / "utt2uniq")
    assert made == {f"{utterance}-{network}-{emotion}": emotion for utterance in neutral for emotion in EMOTIONS}
    assert set(sources.values()) == set(neutral) and "Clean+" in said
    assert read_table(copies / "utt2spk") == {copy: read_table(data / "train/utt2spk")[sources[copy]] for copy in made}
    recordings = {copy: Path(path).read_bytes() for copy, path in read_table(copies / "wav.scp").items()}
    assert len(set(recordings.values())) == len(recordings), "each emotion sounds different"
    info = soundfile.info(read_table(copies / "wav.scp")[f"{neutral[0]}-{network}-sad"])
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    again = run()
    assert "up to date" in again and "epoch 1/" not in again
    # A killed job leaves recordings without a record: what is made again is the same, bit for bit.
    (copies / ".convert_data_dir.done").unlink()
    (copies / "wav/batch0.json").unlink()
    next(copies.glob("wav/*.wav")).unlink()
    run()
    assert recordings == {copy: Path(path).read_bytes() for copy, path in read_table(copies / "wav.scp").items()}
