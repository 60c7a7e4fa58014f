"""The runs of a grid: what is finished, what is left to do, and about how long that takes.

A run is a line as run.sh --commands writes it: `cd WORK && train.py … --out RUN && score.py … --run RUN`. A finished
run has a marker of the grid's own, which any machine can check: train.py's can be checked on its own device only.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import shlex
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ser.base.errors import SerError
from ser.base.files import Marker, fingerprint
from ser.base.kaldi_tables import read_table
from ser.features.feature_step import scp_inputs
from ser.jobs.request import last_lines
from ser.scoring.predictions import score_folder
from ser.training.options import TrainOptions

_FORWARD = 1 / 3  # cost of a frame that is scored, in frames that are trained on: no backward pass
_START_SECONDS = 15.0  # of a job: loading torch and the features
_MEASURE_SECONDS = 3.0


@dataclass(frozen=True)
class Run:
    """One training with its scores.

    Attributes:
        line: the command, for bash.
        name: the corpus and the run, `cremad/clean_none_random/seed0`.
        out: its folder.
        train, dev, tests: data directories with voiced features.
        options: of the training; `scheme`, `seed`, `init` and `device` as pyscripts/train.py takes them.
    """

    line: str
    name: str
    out: Path
    train: tuple[Path, ...]
    dev: Path
    tests: dict[str, Path]
    options: TrainOptions
    scheme: str
    seed: int
    init: str
    device: str

    @classmethod
    def parse(cls, line: str, defaults: Path) -> Run:
        """The run of a line; `defaults` is conf/train.yaml.

        Raises:
            SerError: the line is none that run.sh writes, or a configuration is not valid.
        """
        parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
        for name in ("--dev", "--scheme", "--init", "--device", "--out"):
            parser.add_argument(name, required=True)
        parser.add_argument("--seed", type=int, required=True)
        parser.add_argument("--config", action="append", default=[])
        parser.add_argument("--train", nargs="+", required=True)
        parser.add_argument("--tests", nargs="+", required=True)
        words = shlex.split(line)
        try:
            args, _ = parser.parse_known_args(words)
        except (argparse.ArgumentError, SystemExit):
            raise SerError(f"not a line of run.sh --commands: {line}") from None
        work = Path(words[1])
        return cls(
            line=line, name=f"{work.name}/{Path(args.out).relative_to('exp')}", out=work / args.out,
            train=tuple(work / folder for folder in args.train), dev=work / args.dev,
            tests={name: work / folder for name, _, folder in (test.partition("=") for test in args.tests)},
            options=TrainOptions.read([defaults, *args.config], {}),
            scheme=args.scheme, seed=args.seed, init=args.init, device=args.device,
        )

    @functools.cached_property
    def digest(self) -> str:
        """Of everything that the scores depend on.

        Raises:
            SerError: features are missing.
        """
        data = [_content(folder) for folder in (*self.train, self.dev, *self.tests.values())]
        donor = None if self.init == "random" else Path(self.init) / "best.pt"
        settings = (self.options, self.scheme, self.seed, self.init, self.device, list(self.tests))
        return fingerprint(settings, data, donor)

    @property
    def marker(self) -> Marker:
        return Marker(self.out / ".grid.done", self.digest)

    @property
    def job(self) -> str:
        """The line that an array is to run: the run, and the marker if all of it went well."""
        program = Path(__file__).resolve().parents[2] / "grid.py"
        done = [str(program), "done", "--run", str(self.out), "--digest", self.digest, "--tests", *self.tests]
        return f"{self.line.strip()} && {shlex.join(done)}"

    def is_finished(self) -> bool:
        return has_features(self) and self.marker.is_current()

    def state(self) -> tuple[str, int]:
        """What is there, in words, and how many epochs are left, at most."""
        epochs = self.options.epochs
        if not has_features(self):
            return "features to be made first", epochs
        if _digest_in(self.out / ".grid.done") not in (None, self.digest):
            return "features or options have changed", epochs
        done = len(epoch_times(self.out))
        if done >= epochs and (self.out / ".train.done").exists():
            return "trained, not scored", 0
        return (f"epoch {done} of {epochs}", max(0, epochs - done)) if done else ("to do", epochs)


def mark_done(out: Path, digest: str, tests: Sequence[str]) -> None:
    """Mark a run as finished."""
    scores = [score_folder(out, test) / name for test in tests for name in ("score.json", "predictions.tsv")]
    Marker(out / ".grid.done", digest).write([out / "best.pt", *scores])


def failures(lines: Iterable[str], log: str) -> list[str]:
    """Of the lines of an array that has ended, those whose run is not finished: its name, log and last words.

    `log` is the name of the logs with JOB for the number.
    """
    failed = []
    for number, line in enumerate(lines, 1):
        words = shlex.split(line)
        out, digest = (words[len(words) - words[::-1].index(option)] for option in ("--run", "--digest"))
        if not Marker(Path(out) / ".grid.done", digest).is_current():
            path = Path(log.replace("JOB", str(number)))
            said = last_lines(path, 1)
            failed.append(f"{out}: log {path}" + (f"\n    {said[0]}" if said else ""))
    return failed


@functools.cache
def _content(folder: Path) -> str:
    """A hash of a data directory's features and labels."""
    return fingerprint(scp_inputs(folder / "feats.scp"), folder / "utt2emo", folder / "utt2spk")


def _digest_in(marker: Path) -> str | None:
    """What made the outputs of a marker, whatever became of them since; None if there is no marker."""
    try:
        return json.loads(marker.read_text())["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


# ---- time


def epoch_times(out: Path) -> dict[int, float]:
    """When each epoch of a training ended, in seconds since 1970, from its TensorBoard log."""
    events = sorted((out / "tensorboard").glob("events.*"))
    if not events:
        return {}
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader  # takes a second to import
    from tensorboard.compat.proto.event_pb2 import Event

    ends: dict[int, float] = {}
    for path in events:
        for record in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(record)
            if any(value.tag == "train/loss" for value in event.summary.value):
                ends[event.step] = event.wall_time
    return ends


class Clock:
    """Estimates how long runs take on a device.

    Args:
        runs: those of the grid; what the trained ones took is what others are judged by.
        threads: CPU threads of a training.
    """

    def __init__(self, runs: Sequence[Run], threads: int) -> None:
        self._threads = threads
        self._frames: dict[tuple[object, ...], float] = {}
        paces = [pace for run in runs if (pace := self._pace(run)) is not None]
        self.seconds_per_frame, self.source = None, "nothing to judge by"
        if paces:
            self.seconds_per_frame = statistics.median(paces)
            self.source = f"from the epochs of {len(paces)} runs of this grid"
        elif with_features := [run for run in runs if has_features(run)]:
            self.seconds_per_frame, self.source = _measure(with_features[0], threads)

    def seconds(self, run: Run, epochs: int) -> float | None:
        """Of a run with so many epochs left, alone; None if nobody knows."""
        if self.seconds_per_frame is None or not has_features(run):
            return None
        scored = _FORWARD * sum(map(_frames_of, run.tests.values()))
        return _START_SECONDS + self.seconds_per_frame * (epochs * self._epoch_frames(run) + scored)

    def _epoch_frames(self, run: Run) -> float:
        """Frames that an epoch computes, dev and batch-norm statistics included, in frames that are trained on."""
        key = (run.train, run.dev, run.scheme, run.options)
        if key not in self._frames:
            from ser.training.trainer import planner  # takes a second to import

            plans, _ = planner([str(folder) for folder in run.train], run.options, run.scheme, run.seed)
            forward = _frames_of(run.dev) + _count(plans.plain(1, run.options.precise_bn))
            self._frames[key] = _count(plans.epoch(1)) + _FORWARD * forward
        return self._frames[key]

    def _pace(self, run: Run) -> float | None:
        """Seconds per frame of a run that was trained on the device asked for; None if that is not known."""
        try:
            config = yaml.safe_load((run.out / "config.yaml").read_text(encoding="utf-8"))
            on_cpu, threads = config["device"] in (platform.processor(), platform.machine(), ""), config["threads"]
        except (OSError, yaml.YAMLError, KeyError, TypeError):
            return None
        if on_cpu != (run.device == "cpu") or (on_cpu and threads != self._threads) or not has_features(run):
            return None
        ends = epoch_times(run.out)
        taken = [ends[epoch] - ends[epoch - 1] for epoch in ends if epoch - 1 in ends]
        return statistics.median(taken) / self._epoch_frames(run) if taken else None


def has_features(run: Run) -> bool:
    return all((folder / "utt2num_frames").exists() for folder in (*run.train, run.dev, *run.tests.values()))


@functools.cache
def _frames_of(folder: Path) -> int:
    return sum(map(int, read_table(folder / "utt2num_frames").values()))


def _count(plans: Iterable) -> int:
    return sum(int(plan.filled.sum()) for plan in plans)


def _measure(run: Run, threads: int) -> tuple[float | None, str]:
    """Seconds per frame of a few training steps on random features, and a word on what was measured."""
    import torch

    from ser.nets.resnet import ResNet34
    from ser.training.device import resolve_precision

    if run.device == "cuda" and not torch.cuda.is_available():
        return None, "no run of this grid has trained on a GPU yet, and this machine has none to measure"
    device = torch.device(run.device)
    if device.type == "cpu":
        torch.set_num_threads(threads)
    precision = resolve_precision(run.options.precision, device)
    frames = min(run.options.crop, 200)
    examples = min(run.options.batch_size, 8 if device.type == "cpu" else 128)
    bands = _bands(run.dev)
    features = torch.randn(examples * frames, bands, device=device)
    # Not all alike: whole utterances of different lengths take another path than equal crops.
    lengths = torch.tensor([frames + (1 if n % 2 else -1) for n in range(examples - examples % 2)])
    features = features[: int(lengths.sum())]
    model = ResNet34(4).to(device, memory_format=torch.channels_last).train()
    done, started = -1, time.monotonic()
    while done < 1 or time.monotonic() - started < _MEASURE_SECONDS:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = model(features, lengths).float().square().mean()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        done += 1
        if done == 0:  # the first step warms up
            started = time.monotonic()
    pace = (time.monotonic() - started) / (done * len(features))
    where = f"{threads} CPU thread{'s' if threads > 1 else ''}" if device.type == "cpu" else "its GPU"
    return pace, f"from {done} training steps on this machine just now, {where}; expect it to be off by half"


def _bands(folder: Path) -> int:
    from ser.data.arks import read_arks

    return next(iter(read_arks(folder / "feats.scp")))[1].shape[1]
