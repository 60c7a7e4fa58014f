"""What became of the runs of an experiment folder: told from their files, the logs of their jobs, and Slurm's queue.

Nothing is written, and nothing is asked of the runners, which may be gone.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ser.base.errors import SerError
from ser.jobs import slurm
from ser.jobs.request import last_lines

STATES = ("finished", "trained", "running", "waiting", "failed", "stopped", "missing")

_HEAD_BYTES, _TAIL_BYTES = 8192, 65536  # of a log that are read
_NOTE = re.compile(
    r"^# (?:Ended \(code (?P<code>\d+)\)|(?P<stopped>Stopped by \w+(?: to the runner)?)|(?P<sent>Sent to Slurm)"
    r"|Running on (?P<host>\S+)(?: as Slurm job (?P<slurm>\S+)| under process (?P<process>\d+))?)",
    re.MULTILINE,
)
_EPOCH = re.compile(r"^epoch (\d+/\d+)", re.MULTILINE)


@dataclass(frozen=True)
class RunStatus:
    """One run of an experiment folder.

    Attributes:
        name: its folder, relative to the experiment folder.
        state: one of `STATES`; `trained` is a run whose scores are missing, `stopped` one that was begun and that no
            job of now is to finish.
        detail: more about that, in words.
        log: of the job that says so.
    """

    name: str
    state: str
    detail: str
    log: Path | None


@dataclass(frozen=True)
class _Job:
    """A line of a file of commands, with the log that it has when an array runs it."""

    number: int
    out: Path
    tests: tuple[str, ...]
    log: Path
    pattern: str  # of the array's logs, as the runner was given it
    written: float  # when the line was; a log from before is of another command


def find_runs(folder: Path) -> list[RunStatus]:
    """The runs that are there or that an array was to make, by name.

    Raises:
        SerError: a file of commands cannot be read.
    """
    folder = folder.resolve()
    jobs: dict[Path, list[_Job]] = {}
    for job in _jobs(folder):
        jobs.setdefault(job.out, []).append(job)
    there = {
        path.parent
        for name in ("config.yaml", "last.pt", "best.pt")
        for path in folder.glob(f"**/seed*/{name}")
    }
    return [_status(out, jobs.get(out, []), folder) for out in sorted({*there, *jobs})]


def _jobs(folder: Path) -> Iterator[_Job]:
    files = [(path, path.stem) for path in folder.glob("**/*.commands")]
    files += [(path, "run") for path in folder.glob("**/jobs") if path.is_file()]  # local/run_grid.sh
    for path, stem in sorted(files):
        pattern = path.parent / f"{stem}.JOB.log"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                words = shlex.split(line, comments=True)
            except ValueError as error:
                raise SerError(f"{path}:{number}: {error}") from None
            # run.sh's lines run in the folder that exp/ lies in, the grid's begin with `cd` to it.
            work = Path(words[1]) if words[:1] == ["cd"] else folder.parent
            out = next((words[at + 1] for at, word in enumerate(words[:-1]) if word in ("--out", "--run")), None)
            if out is None:
                continue
            tests = []
            if "--tests" in words:
                for word in words[words.index("--tests") + 1 :]:
                    if "=" not in word:
                        break
                    tests.append(word.partition("=")[0])
            log = Path(str(pattern).replace("JOB", str(number)))
            yield _Job(number, (work / out).resolve(), tuple(tests), log, str(pattern), path.stat().st_mtime)


def _status(out: Path, jobs: list[_Job], folder: Path) -> RunStatus:
    name = os.path.relpath(out, folder)
    tests = {test for job in jobs for test in job.tests}
    scored = {path.parent.name.removeprefix("score_") for path in out.glob("score_*/score.json")}
    trained = (out / ".train.done").exists() and (out / "best.pt").exists()
    if trained and scored and tests <= scored:
        return RunStatus(name, "finished", f"scored on {', '.join(sorted(scored))}", None)
    said = [(state, detail, job) for job in jobs if (found := _job_status(job)) for state, detail in [found]]
    for wanted in ("running", "waiting", "failed"):
        for state, detail, job in said:
            # What a training has failed with is no matter any more once it is trained.
            if state == wanted and not (wanted == "failed" and trained and not job.tests):
                return RunStatus(name, state, detail, job.log)
    if trained:
        lacking = f"no scores on {', '.join(sorted(tests - scored))}" if tests else "no scores"
        return RunStatus(name, "trained", lacking, None)
    if (out / "last.pt").exists():
        return RunStatus(name, "stopped", "goes on where it stopped if run again", None)
    return RunStatus(name, "missing", "", None)


def _job_status(job: _Job) -> tuple[str, str] | None:
    """What a job's log says; None if it has not been run, or has ended well."""
    try:
        if job.log.stat().st_mtime < job.written:
            return None
        with open(job.log, "rb") as stream:
            data = stream.read(_HEAD_BYTES)
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(len(data), size - _TAIL_BYTES))
            text = (data + stream.read()).decode("utf-8", "replace")
    except OSError:
        return None
    notes = list(_NOTE.finditer(text))
    if not notes:
        return None
    note = notes[-1]
    words = last_lines(job.log, 1)
    last = f": {words[0]}" if words else ""
    if note["code"] is not None:
        return ("failed", f"code {note['code']}{last}") if int(note["code"]) else None
    if note["stopped"]:
        return "failed", note["stopped"][0].lower() + note["stopped"][1:]
    epochs = _EPOCH.findall(text)
    where = f"{f'epoch {epochs[-1]}, ' if epochs else ''}on {note['host']}"
    if note["process"]:
        if note["host"] == socket.gethostname() and not _is_runner(int(note["process"])):
            return "failed", f"its runner is gone{last}"
        return "running", where
    if not (note["slurm"] or note["sent"]):
        return "running", where  # a runner of Kaldi's, which leaves nothing to ask after
    queue = _queue()
    if queue is None:
        return ("running", f"{where}; Slurm does not answer") if note["slurm"] else ("waiting", "Slurm does not answer")
    title = Path(job.pattern).name.removesuffix(".JOB.log")
    state = queue.get((slurm.array_name(title, job.pattern), job.number))
    if state is None:
        return "failed", f"no longer in Slurm's queue{last}"
    if state.state == "PENDING":
        return "waiting", f"in Slurm's queue ({state.reason})"
    return "running", where if note["slurm"] else f"on {state.nodes}"


def _is_runner(process: int) -> bool:
    try:
        return b"run.py" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return not Path("/proc/self").exists()  # nothing to tell by


@functools.cache
def _queue() -> dict[tuple[str, int], slurm.State] | None:
    """This user's jobs in Slurm's queue; None if it cannot be asked."""
    try:
        return slurm.states_of_user()
    except (slurm.NoAnswer, SerError):
        return None
