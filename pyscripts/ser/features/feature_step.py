"""A feature step over a data directory as Kaldi runs it: independent jobs over its splits, then their assembly.

`steps/make_mfcc.sh`, `compute_vad.sh` and `prepare_feats.sh` run the same three verbs of their program:

    check    say that the outputs are up to date, or withdraw them and say nothing
    job      one split: an ark, its scp and a summary, then the job's marker
    collect  all splits: the directory's scp and tables, then the step's marker

Killed anywhere, the same step again redoes the jobs without a marker and ends with the same bytes.

Several data directories can be done by the same jobs: job 1 does split 1 of each, and so on. A step whose directories
are copies of the same recordings shares the reading among them; every directory still has splits, arks, summaries and
markers of its own, ends as it would alone, and is redone alone if it is stale alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ser.base.errors import SerError
from ser.base.files import Marker, file_identity, fingerprint, remove_leftovers, write_text
from ser.base.kaldi_tables import read_table, write_table
from ser.data import rearrange
from ser.data.arks import ArkWriter, ark_of

_NAMED_DROPS = 5
_FEATURE_TABLES = ("feats.scp", "vad.scp", "utt2num_frames", "utt2dur")


@dataclass
class Summary:
    """What a job did: frames and seconds per utterance kept, why others were dropped, and counts worth a line."""

    frames: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def drop(self, utterance: str, reason: object) -> None:
        """Leave an utterance out, and say so in the log."""
        self.dropped[utterance] = str(reason)
        print(f"dropped {utterance}: {reason}", flush=True)

    def add(self, other: Summary) -> None:
        self.frames.update(other.frames)
        self.seconds.update(other.seconds)
        self.dropped.update(other.dropped)
        self.counts.update(other.counts)

    def describe(self) -> str:
        hours = f", {sum(self.seconds.values()) / 3600:.2f} h" if self.seconds else ""
        counts = "".join(f", {count} {what}" for what, count in self.counts.items() if count)
        return f"{len(self.frames)} utterances, {sum(self.frames.values())} frames{hours}{counts}"


@dataclass(frozen=True)
class Part:
    """A split of a data directory and where its features and the account of them go."""

    data: Path
    writer: ArkWriter
    summary: Summary


class FeatureStep(ABC):
    """One step: what it reads, what it makes of a split, what it leaves in the data directory."""

    name: str  # of the step: its log files and markers
    stem: str  # of its arks
    scp: str  # the table that it makes
    what: str  # that table's content, for the user
    dropping: str = "dropped"  # what happens to utterances that cannot be used, for the user
    mends_data: bool = False  # utterances dropped are taken out of the data directory that was read
    compress: bool = False  # its matrices, as Kaldi does
    options: object

    @abstractmethod
    def inputs(self, data: Path) -> dict[str, object]:
        """For every utterance of a data directory everything that determines its features, besides `options`.

        Raises:
            SerError: something is missing.
        """

    @abstractmethod
    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        """Compute the features of a data directory or split; every utterance is counted or dropped."""

    def process_together(self, parts: Sequence[Part]) -> None:
        """The same as `process` of each part; for a step that can share work among them."""
        for part in parts:
            self.process(part.data, part.writer, part.summary)

    @abstractmethod
    def tables(self, data: Path, target: Path, summary: Summary) -> list[Path]:
        """Write what else belongs in the target directory; returns the files that later steps rely on."""

    def digest(self, data: Path, without: Container[str] = ()) -> str:
        """Of all inputs and options, or of what they will be once some utterances are taken out."""
        inputs = [(utterance, value) for utterance, value in self.inputs(data).items() if utterance not in without]
        return fingerprint(self.name, self.options, inputs, *(["compressed"] if self.compress else []))


@dataclass(frozen=True)
class Directory:
    """A data directory to read, the one to write tables to, and the folders of logs and arks."""

    data: Path
    target: Path
    log_dir: Path
    ark_dir: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that the programs of feature steps share."""
    parser.add_argument("verb", choices=("check", "job", "collect"), help="part of the step to run, see steps/")
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("ark_dir", type=Path, help="folder for arks")
    parser.add_argument("--target", type=Path, help="data directory to write tables to (default: the one read)")
    parser.add_argument("--nj", type=int, default=1, help="number of splits of the data directory (default: 1)")
    parser.add_argument("--job", type=int, default=1, help="number of this job, from 1 (default: 1)")
    parser.add_argument("--log-dir", type=Path, help="folder for logs (default: <target>/log)")
    parser.add_argument(
        "--also", type=Path, nargs=4, action="append", default=[], metavar=("DATA", "TARGET", "LOG_DIR", "ARK_DIR"),
        help="another data directory to do in the same jobs; any number of times",
    )
    parser.add_argument(
        "--max-drop", type=float, default=0.01, help="greatest share of utterances that may be dropped (default: 0.01)"
    )


def add_compress(parser: argparse.ArgumentParser) -> None:
    """The option of the steps that write matrices."""
    parser.add_argument("--compress", choices=("true", "false"), default="false", help="matrices, as Kaldi does")


def directories(args: argparse.Namespace) -> list[Directory]:
    """The data directories that the arguments name.

    Raises:
        SerError: two of them would write the same tables.
    """
    target = args.target or args.data
    first = Directory(args.data, target, args.log_dir or target / "log", args.ark_dir)
    places = [first, *(Directory(*paths) for paths in args.also)]
    targets = Counter(place.target.resolve() for place in places)
    if twice := [place.target for place in places if targets[place.target.resolve()] > 1]:
        raise SerError(f"{twice[0]}: is named twice; name each directory once")
    return places


def run_verb(step: FeatureStep, args: argparse.Namespace) -> None:
    """Run one verb of a step.

    `check` prints a line for each data directory: that it is up to date, or nothing.

    Raises:
        SerError: an input is bad, too many utterances are dropped, or a job has not finished.
    """
    places = directories(args)
    if args.verb == "check":
        for place in places:
            print(_check(step, place))
    elif args.verb == "job":
        _run(step, [_jobs(step, place, args.nj)[args.job - 1] for place in places])
    else:
        for place in places:
            _collect(step, place, _jobs(step, place, args.nj), args.max_drop)


def _marker_path(step: FeatureStep, place: Directory) -> Path:
    return place.target / f".{step.name}.done"


def _ark_name(step: FeatureStep, place: Directory) -> str:
    return f"{step.stem}_{place.target.resolve().name}"


def _jobs(step: FeatureStep, place: Directory, nj: int) -> list[_Job]:
    name = _ark_name(step, place)
    return [
        _Job(step, place.data / f"split{nj}" / str(number), place.target, place.ark_dir / f"{name}.{number}")
        for number in range(1, nj + 1)
    ]


def _check(step: FeatureStep, place: Directory) -> str:
    """That the outputs are up to date; or withdraws them, and says nothing."""
    marker = Marker(_marker_path(step, place), step.digest(place.data))
    if marker.is_current():
        return f"{step.name}: {place.target}: {step.what} up to date"
    marker.clear()
    _withdraw(step, place.target)
    for folder in (place.target, place.ark_dir):
        remove_leftovers(folder)
    return ""


def _run(step: FeatureStep, jobs: Sequence[_Job]) -> None:
    """Do those of the jobs that have not been done, together."""
    stale = []
    for job in jobs:
        if job.marker.is_current():
            print(f"{job.ark}: up to date")
        else:
            job.check_owner()
            stale.append(job)
    with contextlib.ExitStack() as stack:
        parts = [job.begin(stack) for job in stale]
        if parts:
            step.process_together(parts)
    for job, part in zip(stale, parts, strict=True):
        job.finish(part.summary)


def _collect(step: FeatureStep, place: Directory, jobs: Sequence[_Job], max_drop: float) -> None:
    data, target = place.data, place.target
    summary = Summary()
    for job in jobs:
        summary.add(job.summary())
    _judge_drops(step, data, target, summary, place.log_dir, max_drop)
    lines: dict[str, str] = {}
    for job in jobs:
        if job.scp.stat().st_size:
            lines.update(read_table(job.scp))
    outputs = step.tables(data, target, summary)
    write_table(target / step.scp, lines)
    mend = step.mends_data and bool(summary.dropped)
    # The marker speaks of the mended directory and comes first: killed in between, the step runs again and mends it.
    marker = Marker(_marker_path(step, place), step.digest(data, summary.dropped if mend else ()))
    marker.write([target / step.scp, *outputs, *(job.ark for job in jobs)])
    if mend:
        rearrange.fix(data)
    _remove_surplus(place.ark_dir, _ark_name(step, place), len(jobs))
    print(f"{step.name}: {target}: {summary.describe()}")


class _Job:
    """One split of a step; its outputs are `<stem>.ark`, `.scp`, `.json` (the summary) and a marker beside them."""

    def __init__(self, step: FeatureStep, split: Path, target: Path, stem: Path) -> None:
        self.step, self.split, self.target = step, split, target
        self.ark, self.scp, self.json = (Path(f"{os.path.abspath(stem)}.{suffix}") for suffix in ("ark", "scp", "json"))
        self._marker_path = stem.with_name(f".{stem.name}.done")

    @cached_property
    def marker(self) -> Marker:
        return Marker(self._marker_path, fingerprint(self.step.digest(self.split), str(self.ark)))

    def begin(self, stack: contextlib.ExitStack) -> Part:
        """Withdraw what an earlier run left and open the ark, which is complete when the stack ends."""
        self.marker.clear()
        writer = stack.enter_context(ArkWriter(self.ark, self.scp, self.step.compress))
        return Part(self.split, writer, Summary())

    def finish(self, summary: Summary) -> None:
        record = {"data": os.path.abspath(self.target), **vars(summary)}
        write_text(self.json, json.dumps(record, indent=1) + "\n")
        self.marker.write([self.ark, self.scp, self.json])
        print(f"{self.ark}: {summary.describe()}, {len(summary.dropped)} {self.step.dropping}")

    def summary(self) -> Summary:
        if not self.marker.is_current():
            raise SerError(f"{self.ark}: its job has not finished; see its log, and run the step again")
        record = json.loads(self.json.read_text())
        return Summary(record["frames"], record["seconds"], record["dropped"], Counter(record["counts"]))

    def check_owner(self) -> None:
        """Two data directories of one name must not share a folder of arks: the second would overwrite the first's."""
        if not self.json.exists():
            return
        owner = Path(json.loads(self.json.read_text())["data"])
        index = owner / self.step.scp
        if owner != Path(os.path.abspath(self.target)) and index.exists() and f" {self.ark}:" in index.read_text():
            raise SerError(f"{self.ark}: belongs to {owner}; give {self.target} another folder for arks")


def _withdraw(step: FeatureStep, target: Path) -> None:
    """Remove the step's table, and feature tables of another list of utterances, so that nothing looks finished."""
    (target / step.scp).unlink(missing_ok=True)
    if (target / "utt2spk").exists():
        utterances = read_table(target / "utt2spk", sorted_keys=False).keys()
        for path in (target / name for name in _FEATURE_TABLES):
            if path.exists() and read_table(path, sorted_keys=False).keys() != utterances:
                path.unlink()


def _judge_drops(
    step: FeatureStep, data: Path, target: Path, summary: Summary, log_dir: Path, max_drop: float
) -> None:
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


def _remove_surplus(ark_dir: Path, name: str, nj: int) -> None:
    """Remove what an earlier run with more jobs left: nothing points to it any more."""
    form = re.compile(rf"\.?{re.escape(name)}\.(\d+)\.(ark|scp|json|done)")
    for path in ark_dir.iterdir():
        match = form.fullmatch(path.name)
        if match and int(match[1]) > nj:
            path.unlink()


def scp_inputs(scp: Path) -> dict[str, object]:
    """Per utterance where its array is, and what changes when that ark is made again.

    Raises:
        SerError: the table or an ark is missing.
    """
    if not scp.exists():
        raise SerError(f"{scp}: no such file; run the step that makes it first")
    identities: dict[str, object] = {}
    inputs: dict[str, object] = {}
    for utterance, location in read_table(scp).items():
        ark = ark_of(location)
        if ark not in identities:
            try:
                identities[ark] = file_identity(ark)
            except FileNotFoundError:
                raise SerError(f"{ark}: no such ark, but {scp} points to it; make the features again") from None
        inputs[utterance] = (location, identities[ark])
    return inputs
