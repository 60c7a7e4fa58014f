"""A report to look at and listen to: one HTML file, which opens from a disk and needs no network."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
import soundfile

from ser.apps.clips import clips
from ser.augment.copypaste import SCHEMES
from ser.base.errors import SerError
from ser.base.files import write_text
from ser.base.pcm import INT16_SCALE
from ser.base.progress import progress
from ser.data.audio import is_pipe, read_audio, read_utterances
from ser.scoring.predictions import read_predictions
from ser.scoring.report import runs_line
from ser.scoring.result_tables import baseline_sentences, measure_tables, significance_table, summary_table
from ser.scoring.results import Results, test_title
from ser.training.history import read_history
from ser.training.options import read_config
from ser.training.run_folder import CONFIG

_EMBEDDED_SECONDS, _EMBEDDED_RATE = 4.0, 16000
_CLIP_SECONDS = 8.0


def write_report_page(results: Results, path: str | os.PathLike[str], figure: str, embed_audio: bool = False) -> Path:
    """Write the tables, learning curves, clips, confusion matrices and utterances of a corpus, and return the path.

    Args:
        path: where the page goes; recordings are linked relative to its folder.
        figure: an SVG file of the weighted F1 to show.
        embed_audio: hold the first seconds of each recording in the page, so that it can be given away alone.
    """
    path = Path(path)
    sounds = _Sounds(path.resolve().parent, embed_audio)
    scored = []
    for (condition, test), cell in progress(list(results.cells.items()), len(results.cells), "report page", "table"):
        rows = []
        for (fold, seed), score in cell.scores.items():
            run = f"seed {seed}" if fold is None else f"fold {fold}, seed {seed}"
            read = read_predictions(score.folder / "predictions.tsv")
            of_set = sounds.of(score.folder.parent)
            columns = zip(read.utterances, read.speakers, read.reference, read.hypothesis, read.posteriors, strict=True)
            for utterance, speaker, reference, hypothesis, posteriors in columns:
                here, there = read.classes.index(reference), read.classes.index(hypothesis)
                rows.append([utterance, speaker, here, there, round(float(posteriors[there]), 3),
                             round(float(posteriors[here]), 3), run, of_set.get(utterance, -1)])
        scored.append({"name": condition.name, "test": test_title(test), "rows": rows,
                       "title": f"{condition.model}, {condition.train_data}, {SCHEMES[condition.scheme]}, "
                                f"{condition.init} {condition.tag}".strip(),
                       "confusion": cell.confusion().tolist() if cell.scores else []})
    template = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                                  trim_blocks=True, lstrip_blocks=True).get_template("report_page.html")
    significance = [significance_table(results, test) for test in results.tests]
    write_text(path, template.render(
        recipe=results.recipe, runs=runs_line(results), notes=[*baseline_sentences(results), *results.notes],
        tables=[summary_table(results), *significance, *measure_tables(results)], figure=figure[figure.index("<svg"):],
        curves=_curves(results), scored=[each for each in scored if each["confusion"]], classes=results.classes,
        clips=[{"what": clip.what, "of": clip.of, "sound": _as_address(clip.samples, clip.rate, _CLIP_SECONDS)}
               for clip in clips(results)],
        sounds=sounds.addresses, embedded=_EMBEDDED_SECONDS if embed_audio else 0, clip_seconds=f"{_CLIP_SECONDS:g}",
    ))
    return path


def _curves(results: Results) -> list[dict[str, Any]]:
    """Return of each condition the name, and of each of its runs the weighted F1 on dev by epoch."""
    found: dict[str, dict[str, list[float]]] = {}
    for (condition, _), cell in results.cells.items():
        for score in cell.scores.values():
            values = [float(epoch["dev_weighted_f1"]) for epoch in read_history(score.folder.parent)]
            if len(values) > 1:
                found.setdefault(condition.name, {})[str(score.folder.parent)] = values
    return [{"name": name, "runs": list(runs.values()), "longest": max(map(len, runs.values()))}
            for name, runs in found.items()]


def recordings_at_hand(data: Path) -> dict[str, tuple[str, float, float | None]]:
    """Return file, start and end (seconds) of the utterances of a data directory whose recordings a page can link.

    A pipe is none, nor is a relative path, which counts from the folder that the steps were run in.
    """
    if not (data / "wav.scp").is_file():
        return {}
    return {utterance: (path, start, end) for utterance, (path, start, end) in read_utterances(data).items()
            if not is_pipe(path) and os.path.isabs(path) and os.path.isfile(path)}


class _Sounds:
    """Where the recordings of utterances are: `addresses` as a page in `folder` names them, each once."""

    def __init__(self, folder: Path, embed: bool) -> None:
        self.folder, self.embed = folder, embed
        self.addresses: list[str] = []
        self._numbers: dict[tuple[str, float, float | None], int] = {}
        self._of_data = cache(lambda data: dict(self._numbered(data)))

    def of(self, run: Path) -> dict[str, int]:
        """Return the numbers of the addresses of a run's test utterances; nothing where its lists are not there."""
        record = read_config(run / CONFIG)[1] if (run / CONFIG).is_file() else {}
        data = record.get("test_list")
        return self._of_data(Path(str(record.get("work") or "")) / str(data)) if data else {}

    def _numbered(self, data: Path) -> Iterator[tuple[str, int]]:
        for utterance, source in recordings_at_hand(data).items():
            if source not in self._numbers:
                try:
                    address = self._embedded(*source) if self.embed else self._linked(*source)
                except SerError:
                    continue  # stage 1 has named it
                self._numbers[source] = len(self.addresses)
                self.addresses.append(address)
            yield utterance, self._numbers[source]

    def _linked(self, path: str, start: float, end: float | None) -> str:
        piece = "" if end is None else f"#t={start:g}" + (f",{end:g}" if end > 0 else "")
        return quote(os.path.relpath(path, self.folder)) + piece

    def _embedded(self, path: str, start: float, end: float | None) -> str:
        return _as_address(read_audio(path, _EMBEDDED_RATE, start, end), _EMBEDDED_RATE, _EMBEDDED_SECONDS)


def _as_address(samples: np.ndarray, rate: int, seconds: float) -> str:
    """Return the first seconds of (samples,) float32 at int16 scale as an address that holds them, as Ogg Vorbis."""
    with io.BytesIO() as file:
        soundfile.write(file, samples[: int(seconds * rate)] / INT16_SCALE, rate, format="OGG", subtype="VORBIS")
        return "data:audio/ogg;base64," + base64.b64encode(file.getvalue()).decode()
