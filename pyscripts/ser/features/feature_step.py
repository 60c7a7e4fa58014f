"""A feature step over a data directory as Kaldi runs it: independent jobs over its splits, then their assembly.

A program of steps/ (`steps/make_mfcc.sh` runs pyscripts/make_mfcc.py) does three things:

    check    report that the outputs are up to date, or else remove the step's table and split the data directory
    jobs     have a job runner run the same program once for each split, with --job: it writes the split's ark, index
             and summary, then the job's marker
    collect  join all splits: write the directory's index and tables, then the step's marker

A step that was killed anywhere redoes the jobs without a marker when it runs again, and ends with the same bytes. With
several data directories job 1 does the first split of each, and so on: on small ones starting jobs takes longer than
what they do.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ser.base.arguments import positive
from ser.base.errors import SerError
from ser.base.files import Marker, fingerprint, remove_leftovers, write_text
from ser.base.kaldi_tables import read_table, write_table
from ser.data import rearrange
from ser.data.arks import ArkWriter, ark_identities, ark_of

_NAMED_DROPS = 5
_FEATURE_TABLES = ("feats.scp", "vad.scp", "utt2num_frames", "utt2dur", "units.scp", "units.txt", "styles.scp")
_STATISTICS_TABLES = ("cmvn.scp", "utt2cmvn", "utt2num_cmvn")  # made of both features and VAD


@dataclass
class Summary:
    """What a job did: frames and seconds of each utterance kept, why others were dropped, and counts for the log."""

    frames: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def drop(self, utterance: str, reason: object) -> None:
        """Leave an utterance out, and say so in the log."""
        self.dropped[utterance] = str(reason)
        print(f"dropped {utterance}: {reason}", flush=True)

    def add(self, other: Summary) -> None:
        """Add what another job did."""
        self.frames.update(other.frames)
        self.seconds.update(other.seconds)
        self.dropped.update(other.dropped)
        self.counts.update(other.counts)

    def describe(self) -> str:
        """Return one line for the log: utterances, frames, hours and counts."""
        hours = f", {sum(self.seconds.values()) / 3600:.2f} h" if self.seconds else ""
        counts = "".join(f", {count} {what}" for what, count in self.counts.items() if count)
        return f"{len(self.frames)} utterances, {sum(self.frames.values())} frames{hours}{counts}"


class FeatureStep(ABC):
    """One step: its inputs, the features it computes of a split, and the tables it writes in the data directory."""

    name: str  # of the step: its log files and markers
    stem: str  # of its arks
    scp: str  # the table that it makes
    what: str  # that table's content, for the user
    dropping: str = "dropped"  # what happens to utterances that cannot be used, for the user
    mends_data: bool = False  # utterances dropped are taken out of the data directory that was read
    compress: int = 0  # how its matrices are compressed, as of `ArkWriter`
    options: object
    own_target: bool = False  # the tables must go to another data directory than the one that was read
    indices: Sequence[Path] = ()  # those of the jobs' arks, while `tables` runs

    def before_jobs(self, data: Path, target: Path) -> None:  # noqa: B027  # most steps have nothing to do
        """Withdraw what hangs together with the table that is made anew.

        Raises:
            SerError: the jobs cannot work.
        """

    @abstractmethod
    def inputs(self, data: Path) -> dict[str, object]:
        """Return for every utterance of a data directory all that determines its features, besides `options`.

        Raises:
            SerError: something is missing.
        """

    @abstractmethod
    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        """Compute the features of a data directory or split; every utterance is counted or dropped."""

    @abstractmethod
    def tables(self, data: Path, target: Path, summary: Summary) -> list[Path]:
        """Write the step's other tables in the target directory and return the files that later steps rely on."""

    def digest(self, data: Path, without: Container[str] = ()) -> str:
        """Return a hash of all inputs and options; inputs of the utterances `without` are not counted."""
        inputs = [(utterance, value) for utterance, value in self.inputs(data).items() if utterance not in without]
        return fingerprint(self.name, self.options, inputs, *(["compressed"] if self.compress else []))


def add_arguments(parser: argparse.ArgumentParser, target: bool = False) -> None:
    """Add the arguments that the programs of feature steps share.

    Args:
        target: the tables go to another data directory than the one that is read, <out-data>.
    """
    add_job_arguments(parser)
    parser.add_argument("--nj", type=positive, default=4, metavar="N", help="number of jobs (default: 4)")
    parser.add_argument("--also", default="", metavar="DIRS", help="more data directories to do in the same jobs, "
                        f"blank-separated{': <data>=<out-data>' * target} (their arks go to data/ in them)")
    parser.add_argument("--max-drop", type=float, default=0.01, metavar="SHARE",
                        help="greatest share of utterances that may be dropped (default: 0.01)")
    parser.add_argument("data", type=Path, metavar="<data>", help="data directory")
    if target:
        parser.add_argument("target", type=Path, metavar="<out-data>", help="where tables go")
    where = "<out-data>" if target else "<data>"
    parser.add_argument("log_dir", type=Path, nargs="?", metavar="<log>", help=f"where logs go (default: {where}/log)")
    parser.add_argument("ark_dir", type=Path, nargs="?", metavar="<ark-dir>",
                        help=f"where arks go (default: {where}/data)")


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a program that has a job runner run it, see `run_jobs`."""
    parser.add_argument("--cmd", default="run.py", metavar="RUNNER",
                        help="what runs the jobs: run.py, slurm.py … with its options (default: run.py)")
    parser.add_argument("--job", type=int, help=argparse.SUPPRESS)  # which one this process is


def run_jobs(runner: str, number: int, log: Path) -> None:
    """Have a job runner run this program with its own arguments and --job 1, …, --job `number`.

    Args:
        runner: Kaldi's protocol, see cmd.sh, with its options.
        log: with JOB in its name, for the job's number.

    Raises:
        SystemExit: a job failed; the runner has said which.
    """
    sys.stdout.flush()
    program = ["python3", os.path.abspath(sys.argv[0]), "--job", "JOB", *sys.argv[1:]]
    if subprocess.run([*shlex.split(runner), f"JOB=1:{number}", log, *program], check=False).returncode:
        sys.exit(1)


def run_step(step: FeatureStep, args: argparse.Namespace) -> None:
    """Run a step, or one of its jobs, with the arguments of `add_arguments`.

    Raises:
        SerError: an input is bad, or too many utterances are dropped.
        SystemExit: a job failed.
    """
    target = getattr(args, "target", args.data)
    places = [_Place(step, args.data, target, args.log_dir or target / "log", args.ark_dir or target / "data")]
    for word in args.also.split():
        data, _, target = map(Path, word.partition("="))
        target = target if "=" in word else data
        places.append(_Place(step, data, target, target / "log", target / "data"))
    if args.job is None:
        number = max(place.check(args.nj) for place in places)
        if not number:
            return
        run_jobs(args.cmd, number, places[0].log_dir / f"{step.name}_{places[0].target.resolve().name}.JOB.log")
    for place in places:
        jobs = [] if place.marker_path.exists() else place.jobs(args.nj)
        if args.job is None and jobs:
            place.collect(jobs, args.max_drop)
        elif args.job is not None and args.job <= len(jobs):
            jobs[args.job - 1].run()


class _SplitJob:
    """One split of a step; its outputs are `<stem>.ark`, `.scp`, `.json` (the summary) and a marker beside them."""

    def __init__(self, step: FeatureStep, split: Path, target: Path, stem: Path) -> None:
        self.step, self.split, self.target = step, split, target
        self.ark, self.scp, self.json = (Path(f"{os.path.abspath(stem)}.{suffix}") for suffix in ("ark", "scp", "json"))
        self._marker_path = stem.with_name(f".{stem.name}.done")

    @cached_property
    def marker(self) -> Marker:
        return Marker(self._marker_path, fingerprint(self.step.digest(self.split), str(self.ark)))

    def run(self) -> None:
        """Compute the split's features, unless that has been done."""
        if self.marker.is_current():
            print(f"{self.ark}: up to date")
            return
        self._check_owner()
        self.marker.clear()
        summary = Summary()
        with ArkWriter(self.ark, self.scp, self.step.compress) as writer:
            self.step.process(self.split, writer, summary)
        record = {"data": os.path.abspath(self.target), **vars(summary)}
        write_text(self.json, json.dumps(record, indent=1) + "\n")
        self.marker.write([self.ark, self.scp, self.json])
        print(f"{self.ark}: {summary.describe()}, {len(summary.dropped)} {self.step.dropping}")

    def summary(self) -> Summary:
        """Read what a finished job did. Raises SerError for one that has not finished."""
        if not self.marker.is_current():
            raise SerError(f"{self.ark}: its job has not finished; see its log, and run the step again")
        record = json.loads(self.json.read_text())
        return Summary(record["frames"], record["seconds"], record["dropped"], Counter(record["counts"]))

    def _check_owner(self) -> None:
        """Refuse to overwrite the arks of another data directory of the same name."""
        if not self.json.exists():
            return
        owner = Path(json.loads(self.json.read_text())["data"])
        index = owner / self.step.scp
        if owner != Path(os.path.abspath(self.target)) and index.exists() and f" {self.ark}:" in index.read_text():
            raise SerError(f"{self.ark}: belongs to {owner}; give {self.target} another folder for arks")


@dataclass(frozen=True)
class _Place:
    """A step on one data directory: what is read, where the tables, the logs and the arks go."""

    step: FeatureStep
    data: Path
    target: Path
    log_dir: Path
    ark_dir: Path

    @property
    def marker_path(self) -> Path:
        return self.target / f".{self.step.name}.done"

    def check(self, nj: int) -> int:
        """Report that the outputs are up to date, or withdraw them and split the data; return the number of splits."""
        if not (self.data / "utt2spk").is_file():
            raise SerError(f"{self.data}/utt2spk: no such file; is {self.data} a data directory?")
        if self.step.own_target and self.target.resolve() == self.data.resolve():
            raise SerError(f"{self.data}: the {self.step.what} need a directory of their own")
        marker = Marker(self.marker_path, self.step.digest(self.data))
        if marker.is_current():
            print(f"{self.step.name}: {self.target}: {self.step.what} up to date")
            return 0
        marker.clear()
        _withdraw(self.step, self.target)
        self.step.before_jobs(self.data, self.target)
        for folder in (self.target, self.ark_dir):
            remove_leftovers(folder)
        splits = self._splits(nj)
        if splits < nj:
            print(f"{self.step.name}: {self.data} has {splits} utterances: running {splits} jobs, not {nj}")
        rearrange.split(self.data, splits)
        for folder in (self.log_dir, self.ark_dir):
            folder.mkdir(parents=True, exist_ok=True)
        return splits

    def _splits(self, nj: int) -> int:
        with open(self.data / "utt2spk", "rb") as lines:
            return min(nj, sum(1 for _ in lines))

    def jobs(self, nj: int) -> list[_SplitJob]:
        splits, stem = self._splits(nj), self.ark_dir / f"{self.step.stem}_{self.target.resolve().name}"
        return [_SplitJob(self.step, self.data / f"split{splits}" / str(number), self.target,
                          stem.with_name(f"{stem.name}.{number}")) for number in range(1, splits + 1)]

    def collect(self, jobs: Sequence[_SplitJob], max_drop: float) -> None:
        """Join what the jobs have made, and remove what jobs of an earlier run with more of them left."""
        step, data, target = self.step, self.data, self.target
        summary = Summary()
        for job in jobs:
            summary.add(job.summary())
        _judge_drops(step, data, target, summary, self.log_dir, max_drop)
        step.indices = [job.scp for job in jobs if job.scp.stat().st_size]
        lines: dict[str, str] = {}
        for index in step.indices:
            lines.update(read_table(index))
        outputs = step.tables(data, target, summary)
        write_table(target / step.scp, lines)
        mend = step.mends_data and bool(summary.dropped)
        # The marker describes the mended directory and comes first: a step killed in between runs again and mends it.
        marker = Marker(self.marker_path, step.digest(data, summary.dropped if mend else ()))
        marker.write([target / step.scp, *outputs, *(job.ark for job in jobs)])
        if mend:
            rearrange.fix(data)
        _remove_surplus(self.ark_dir, f"{step.stem}_{target.resolve().name}", len(jobs))
        print(f"{step.name}: {target}: {summary.describe()}")


def _withdraw(step: FeatureStep, target: Path) -> None:
    """Remove the step's table, statistics, and feature tables of other utterances, so that nothing looks finished."""
    for name in (step.scp, *(_STATISTICS_TABLES if step.scp in ("feats.scp", "vad.scp") else ())):
        (target / name).unlink(missing_ok=True)
    if (target / "utt2spk").exists():
        utterances = read_table(target / "utt2spk", sorted_keys=False).keys()
        for path in (target / name for name in _FEATURE_TABLES):
            if path.exists() and read_table(path, sorted_keys=False).keys() != utterances:
                path.unlink()


def _judge_drops(
    step: FeatureStep, data: Path, target: Path, summary: Summary, log_dir: Path, max_drop: float
) -> None:
    """List the dropped utterances in a file. Raises SerError if their share is above `max_drop`, or none is left."""
    drop_log = log_dir / f"{step.name}_{target.resolve().name}.dropped"
    if not summary.dropped:
        drop_log.unlink(missing_ok=True)
        return
    write_table(drop_log, summary.dropped)
    total = len(summary.frames) + len(summary.dropped)
    report = f"{len(summary.dropped)} of {total} utterances {step.dropping}, listed in {drop_log}"
    if len(summary.dropped) <= max_drop * total and summary.frames:
        print(f"{step.name}: {target}: {report}")
        return
    first = [f"\n  {utterance}: {reason}" for utterance, reason in summary.dropped.items()][:_NAMED_DROPS]
    more = f"\n  … and {len(summary.dropped) - len(first)} more" if len(summary.dropped) > len(first) else ""
    raise SerError(
        f"{data}: {report}, more than --max-drop {max_drop:g} of them; mend them, or take them out of the lists "
        f"(utils/subset_data_dir.sh), or allow more:{''.join(first)}{more}"
    )


def _remove_surplus(ark_dir: Path, stem: str, nj: int) -> None:
    """Remove the outputs of an earlier run's jobs with higher numbers: no index points to them any more."""
    form = re.compile(rf"\.?{re.escape(stem)}\.(\d+)\.(ark|scp|json|done)")
    for path in ark_dir.iterdir():
        match = form.fullmatch(path.name)
        if match and int(match[1]) > nj:
            path.unlink()


def scp_inputs(scp: Path) -> dict[str, object]:
    """Return for every utterance where its array is and the identity of that ark, which changes when it is made again.

    Raises:
        SerError: the table or an ark is missing.
    """
    if not scp.exists():
        raise SerError(f"{scp}: no such file; run the step that makes it first")
    locations = read_table(scp)
    identities = ark_identities(scp, locations)
    return {utterance: (where, identities[ark_of(where)]) for utterance, where in locations.items()}
