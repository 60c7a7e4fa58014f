"""Clips of what copies and CopyPaste do to recordings, in the report."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from test_report_page import CHROMIUM, report

from ser.apps.clips import Clip, clips
from ser.base.kaldi_tables import write_table
from ser.scoring.collect import collect
from ser.scoring.predictions import write_score
from ser.training.options import TrainOptions
from ser.training.run_folder import FINISHED, write_config
from ser.training.runs import Run

RATE = 16000
TONES = {"a-1": ("angry", 440), "a-2": ("angry", 660), "a-3": ("neutral", 880), "b-1": ("neutral", 1100),
         "b-2": ("angry", 1320), "b-3": ("angry", 1540)}


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    """Tones of a second; noisy copies, copies of another speed, and a run of N+SE-CP on the tones."""
    noise = tmp_path / "hum.wav"
    soundfile.write(noise, 0.2 * np.sin(np.arange(5 * RATE) * 0.05), RATE)
    for utterance, (_, pitch) in TONES.items():
        soundfile.write(tmp_path / f"{utterance}.wav", 0.1 * np.sin(2 * np.pi * pitch * np.arange(RATE) / RATE), RATE)
    speakers, emotions = {u: u[0] for u in TONES}, {u: emotion for u, (emotion, _) in TONES.items()}
    paths, same = {u: str(tmp_path / f"{u}.wav") for u in TONES}, {u: u for u in TONES}
    folders = {
        "train": ("", {}), "test": ("", {}), "train_voiced": ("", {"utt2num_frames": dict.fromkeys(TONES, 100)}),
        "train_noisy": ("-noise-snr5", {"utt2noise": dict.fromkeys(TONES, f"5 0 {noise}"), "utt2uniq": same}),
        "train_speed": ("-sp1.25", {"utt2perturb": dict.fromkeys(TONES, "speed 1.25"), "utt2uniq": same}),
    }
    for name, (suffix, more) in folders.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        tables = {"utt2spk": speakers, "utt2emo": emotions, **more}
        tables |= {} if name == "train_voiced" else {"wav.scp": paths}
        for table, rows in tables.items():
            write_table(tmp_path / "data" / name / table, {u + suffix: value for u, value in rows.items()})
    options = TrainOptions(network="tdnn", scheme="n+se-cp", batch_size=2, crop=50, short_utt="pad")
    run = Run(str(tmp_path), "exp/mfcc-tdnn_clean_n+se-cp_random/seed0", ("data/train_voiced",), "data/test",
              {"test": "data/test"}, options, test_list="data/test")
    run.folder.mkdir(parents=True)
    write_config(run)
    (run.folder / FINISHED).touch()
    write_score(run.folder, "test", list(TONES), list(speakers.values()), list(emotions.values()),
                np.full((6, 2), 0.5), ["angry", "neutral"],
                {"path": run.folder / "best.pt", "epoch": 1, "front_end": f"--sample-frequency={RATE}\n--num-ceps=23"})
    return tmp_path / "exp"


def found(exp: Path) -> dict[str, Clip]:
    return {clip.what: clip for clip in clips(collect(exp, "tones"))}


def pitch(samples: np.ndarray) -> float:
    """The frequency in Hz of a tone: the highest peak of its spectrum."""
    return float(np.abs(np.fft.rfft(samples, 10 * RATE)).argmax() / 10)


def test_a_clip_of_each_kind_of_copy_with_what_it_is_a_copy_of(exp: Path) -> None:
    of = found(exp)
    assert of["the recording"].of == "a-1 (angry)" and pitch(of["the recording"].samples) == pytest.approx(440, abs=1)
    noisy, clean = of["hum.wav at 5 dB"], of["the recording"].samples
    assert noisy.of == "a-1-noise-snr5 of train_noisy"
    share = noisy.samples @ clean / (clean @ clean)  # of the speech; what is left is noise
    left = noisy.samples - share * clean
    assert 10 * np.log10(np.square(share * clean).sum() / np.square(left).sum()) == pytest.approx(5, abs=0.3)
    faster = of["speed 1.25"].samples
    assert len(faster) == pytest.approx(RATE / 1.25, abs=2) and pitch(faster) == pytest.approx(550, abs=1)


def test_a_clip_of_each_kind_of_copypaste_in_the_order_in_which_it_is_heard(exp: Path) -> None:
    of = found(exp)
    assert {name.split(",")[0] for name in of if "labelled" in name} == {"N-CP", "SE-CP"}
    for name, clip in of.items():
        if "labelled" in name:
            first, second = re.findall(r"(\S+) \((\w+)\)", clip.of)
            assert len(clip.samples) == RATE and clip.rate == RATE  # 50 frames of 100 of each second
            half = RATE // 2
            for (utterance, emotion), part in ((first, clip.samples[:half]), (second, clip.samples[half:])):
                assert pitch(part) == pytest.approx(TONES[utterance][1], abs=2) and TONES[utterance][0] == emotion
            label = name.split()[-1]
            assert {first[1], second[1]} == ({label, "neutral"} if name.startswith("N-CP") else {label})


def test_what_is_gone_is_left_out(exp: Path) -> None:
    (exp.parent / "hum.wav").unlink()
    (exp.parent / "data/train_voiced/utt2num_frames").unlink()
    assert set(found(exp)) == {"the recording", "speed 1.25"}
    for recording in exp.parent.glob("*.wav"):
        recording.unlink()
    assert not found(exp)
    config = next(exp.glob("*/seed0/config.yaml"))
    config.write_text(yaml.safe_dump({"run": {"work": str(exp.parent), "test_list": "gone/test"}}))
    assert not found(exp) and 'id="clips"' not in report(exp).read_text()


def test_clips_play_in_a_browser(exp: Path, tmp_path: Path) -> None:
    if not CHROMIUM:
        pytest.skip("no chromium here; apt-get install chromium")
    page = report(exp)
    page.write_text(page.read_text() + """<script>
Promise.all([...document.querySelectorAll("#clips audio")].map(player => new Promise(done => {
  player.onloadedmetadata = () => done([player.ariaLabel, player.duration]);
  player.onerror = () => done([player.ariaLabel, player.error.message]);
  player.load(); player.preload = "metadata";
}))).then(said => { document.body.dataset.said = JSON.stringify(said); });
</script>""")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--enable-logging=stderr", "--timeout=8000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    said = json.loads(html.unescape(re.search(r'data-said="([^"]*)"', done.stdout)[1]))
    assert len(said) == 5 and all(0.7 < seconds < 1.1 for _, seconds in said)
    assert all(name for name, _ in said) and page.stat().st_size < 500_000
