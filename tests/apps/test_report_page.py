"""The report as a page, in a real browser: tables sort, cells list their utterances, recordings play."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from ser.base.kaldi_tables import write_table
from ser.scoring.predictions import write_score
from ser.training.history import add_epoch

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ["angry", "neutral"]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def write_experiment(work: Path, takes: int) -> Path:
    """Two conditions over `takes` utterances of each of two speakers; only s1's recordings are there."""
    lists = work / "data/test"
    lists.mkdir(parents=True)
    soundfile.write(work / "a <b>.wav", 0.1 * np.sin(np.arange(48000) / 20), 16000)
    utterances = [f"s{speaker}-{take:04d}" for speaker in (1, 2) for take in range(takes)]
    write_table(lists / "wav.scp", {"s1": str(work / "a <b>.wav"), "s2": str(work / "gone.wav")})
    write_table(lists / "segments", {utterance: f"{utterance[:2]} 0.5 2.5" for utterance in utterances})
    reference = [CLASSES[number % 2] for number in range(len(utterances))]
    random = np.random.default_rng(0)
    for scheme in ("none", "n-cp"):
        run = work / f"exp/mfcc-tdnn_clean_{scheme}_random/seed0"
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(yaml.safe_dump({"run": {"work": str(work), "test_list": "data/test"}}))
        for epoch in (1, 2, 3):
            add_epoch(run, {"epoch": epoch, "dev_weighted_f1": 0.2 * epoch})
        first = random.uniform(size=len(utterances))
        write_score(run, "test", utterances, [utterance[:2] for utterance in utterances], reference,
                    np.stack([first, 1 - first], 1), CLASSES, {"path": run / "best.pt", "epoch": 3})
    return work / "exp"


def report(exp: Path, *options: str) -> Path:
    subprocess.run([sys.executable, ROOT / "pyscripts/report.py", "--exp-dir", exp, *options], check=True,
                   capture_output=True)
    return exp / "results/report.html"


def test_page_holds_what_was_scored_and_needs_no_network(tmp_path: Path) -> None:
    page = report(write_experiment(tmp_path / "work", 3)).read_text()
    found = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    assert found["sounds"] == ["../../a%20%3Cb%3E.wav#t=0.5,2.5"]
    rows = found["scored"][0]["rows"]
    assert [row[7] for row in rows] == [0, 0, 0, -1, -1, -1]  # s2's recordings are gone
    wrong = sum(row[2] != row[3] for row in rows)
    confusion = np.array(found["scored"][0]["confusion"])
    assert confusion.sum() == 6 and confusion.sum() - confusion.trace() == wrong
    without_names = page.replace("http://www.w3.org/", "").replace("http://purl.org/", "")
    assert not re.search(r"(https?:)?//[a-z]+\.", re.sub(r"<!DOCTYPE svg[^>]*>|<metadata>.*?</metadata>", "",
                                                        without_names, flags=re.S))


CHECK = """
<script>
(async () => {
  const said = {}, table = document.querySelector("table.sortable"), last = table.rows[0].cells.length - 1;
  const figures = () => [...table.tBodies[0].rows].map(row => parseFloat(row.cells[last].textContent));
  const head = table.tHead.rows[0].cells[last].querySelector("button");
  head.click(); said.up = figures(); head.click(); said.down = figures();
  const cell = document.querySelector("#confusion td button"), expected = parseInt(cell.textContent);
  const began = performance.now();
  cell.click();
  said.milliseconds = performance.now() - began;
  said.listed = [expected, parseInt(document.getElementById("count").textContent)];
  said.pressed = [...document.querySelectorAll("button, select, audio")].filter(
    each => !each.textContent.trim() && !each.ariaLabel && !each.labels?.length).length;
  const speaker = document.getElementById("speaker");
  speaker.value = "s1"; speaker.dispatchEvent(new Event("change"));
  said.speakers = [...new Set([...document.querySelectorAll("#utterances tbody tr")].map(
    row => row.cells[1].textContent))];
  said.wide = document.documentElement.scrollWidth - innerWidth;
  const player = document.querySelector("#utterances audio");
  player.muted = true;
  player.onerror = () => { said.error = player.error.message; };
  await Promise.race([player.play().catch(error => { said.error = String(error); }),
                      new Promise(done => setTimeout(done, 5000))]);
  said.seconds = player.duration;
  document.body.dataset.said = JSON.stringify(said);
})();
</script>
"""


@pytest.mark.parametrize("embed", ["false", "true"])
def test_page_in_a_browser(tmp_path: Path, embed: str) -> None:
    if not CHROMIUM:
        pytest.skip("no chromium here; apt-get install chromium")
    page = report(write_experiment(tmp_path / "work", 2500), "--embed-audio", embed)
    page.write_text(page.read_text() + CHECK)
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--enable-logging=stderr", "--autoplay-policy=no-user-gesture-required", "--window-size=500,900",
         "--timeout=8000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    said = json.loads(html.unescape(re.search(r'data-said="([^"]*)"', done.stdout)[1]))
    assert "error" not in said and said["seconds"] == pytest.approx(2 if embed == "true" else 3, abs=0.1)
    assert said["up"] == sorted(said["up"]) and said["down"] == said["up"][::-1] and said["up"][0] < said["up"][1]
    assert said["listed"][0] == said["listed"][1] > 100 and said["milliseconds"] < 2000
    assert said["pressed"] == 0 and said["speakers"] == ["s1"] and said["wide"] <= 0
