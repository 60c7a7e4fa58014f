"""`utils/slurm.py` on a real Slurm: the protocol, and jobs, nodes and controllers that go away in the middle."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster, alive
from small_project import SMALL, copy_project

from ser.base.errors import SerError
from ser.jobs.request import last_lines, parse_request
from ser.jobs.slurm import QueueConf, array_name
from ser.training.runs import Run

ROOT = Path(__file__).resolve().parents[2]
SLURM = str(ROOT / "utils/slurm.py")


started: list[subprocess.Popen[str]] = []


def start(slurm: Cluster, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        # -S: the runner must work without any third-party package
        [sys.executable, "-S", SLURM, *arguments], cwd=cwd, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **slurm.environment},
    )
    started.append(process)
    return process


def stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        process.communicate()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """A test that fails must not keep the cluster busy for the others."""
    before = len(started)
    yield
    for process in started[before:]:
        stop(process)


def end(process: subprocess.Popen[str], ok: bool = True, timeout: float = 100) -> str:
    """Wait for a runner; what it said."""
    try:
        _, said = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.terminate()
        pytest.fail(f"does not end; said {process.communicate()[1]}")
    assert (process.returncode == 0) is ok, said
    return said


def run(slurm: Cluster, *arguments: str, cwd: Path, ok: bool = True) -> str:
    return end(start(slurm, *arguments, cwd=cwd), ok)


def job_ids(log: Path) -> list[str]:
    """Slurm's ids of the jobs that have written a log, in order."""
    return re.findall(r"^# Running on \S+ as Slurm job (\S+)$", log.read_text(), re.MULTILINE)


def node_of(log: Path) -> str:
    return re.findall(r"^# Running on (\S+)", log.read_text(), re.MULTILINE)[-1]


def says(file: Path, text: str) -> bool:
    return file.exists() and text in file.read_text()


def queued(slurm: Cluster) -> list[str]:
    return slurm.command("squeue", "--noheader", "--format=%i").split()


@pytest.fixture(scope="module", autouse=True)
def over_time(slurm, tmp_path_factory) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Slurm counts time in whole minutes, so the job that takes too long runs beside all the other tests."""
    folder = tmp_path_factory.mktemp("time")
    command = "echo JOB >> ran; test JOB = 1 || { echo soon late; sleep 300; }"
    # On the node that no test before it takes down; a core of it is left out of the other tests' reckoning.
    process = start(slurm, "--time", "1", "--mem", "100M", "-w", "n2", "JOB=1:2", "x.JOB.log", command, cwd=folder)
    yield process, folder
    stop(process)


# ---- the protocol


def test_array_substitutes_the_job_and_logs_like_run_py(slurm, tmp_path):
    folder = tmp_path / "a 100% JOB folder"  # a word that Slurm would take for a pattern, and JOB where it is not meant
    folder.mkdir()
    arguments = ["JOB=2:3", "log/deep/x.JOB.log", "echo", "it's  JOB", "of", "$MANY", "|", "tr", "a-z", "A-Z"]
    os.environ["MANY"] = 'a "b" & c'
    try:
        said = run(slurm, *arguments, cwd=folder)
        subprocess.run([ROOT / "utils/run.py", *arguments], cwd=tmp_path, check=True)
    finally:
        del os.environ["MANY"]
    assert said == ""
    for job in (2, 3):
        log, expected = folder / f"log/deep/x.{job}.log", tmp_path / f"log/deep/x.{job}.log"
        assert last_lines(log) == last_lines(expected) == [f"IT'S  {job} OF A \"B\" & C"]
        lines = log.read_text().splitlines()
        assert lines[0] == expected.read_text().splitlines()[0]
        assert re.fullmatch(r"# Ended \(code 0\) at .*, elapsed time \d+ seconds, Slurm job \d+_\d", lines[-1])
    assert len(job_ids(log)) == 1 and not (folder / "log/deep/x.1.log").exists()


def test_jobs_get_what_they_ask_for(slurm, tmp_path):
    command = "echo $OMP_NUM_THREADS $SLURM_CPUS_PER_TASK $SLURM_MEM_PER_NODE $SLURM_JOB_GPUS; pwd -P"
    run(slurm, "--mem", "300M", "--num-threads", "2", "--gpu", "1", "-J", "name", "x.log", command, cwd=tmp_path)
    assert last_lines(tmp_path / "x.log") == ["2 2 300 0", str(tmp_path.resolve())]


def test_max_jobs_run(slurm, tmp_path):
    command = "touch mark.JOB; ls mark.* | wc -l; sleep 0.5; rm mark.JOB"
    run(slurm, "--max-jobs-run", "1", "JOB=1:3", "x.JOB.log", command, cwd=tmp_path)
    assert [last_lines(tmp_path / f"x.{job}.log") for job in (1, 2, 3)] == [["1"]] * 3


def test_kaldis_configuration_file(tmp_path):
    conf = tmp_path / "slurm.conf"
    conf.write_text(
        "# a comment\ncommand sbatch --account=us  # and more\noption mem=* --mem=$0\noption mem=0\n"
        "option gpu=* -p gpu --gres=gpu:$0\noption gpu=0 -p cpu\noption name=* --comment='a $0'\ndefault gpu=0\n"
    )
    read = QueueConf.read(conf)
    assert read.arguments({"mem": "4G"}) == ["sbatch", "--account=us", "-p", "cpu", "--mem=4G"]
    assert read.arguments({"mem": "0", "gpu": "2"}) == ["sbatch", "--account=us", "-p", "gpu", "--gres=gpu:2"]
    assert read.arguments({"name": "b c"})[-1] == "--comment=a b c"
    with pytest.raises(SerError, match=r"--max-time 3: .*slurm.conf has no line 'option max_time="):
        read.arguments({"max_time": "3"})
    conf.write_text("command sbatch\nqueue gpu\n")
    with pytest.raises(SerError, match=r"slurm.conf:2: "):
        QueueConf.read(conf)
    with pytest.raises(SerError, match="no such file"):
        QueueConf.read(tmp_path / "none")
    shipped = QueueConf.read(ROOT / "conf/slurm.conf")
    assert not re.search(r"partition|account|-p |-A ", " ".join(shipped.arguments({"gpu": "1", "mem": "1G"})))
    request = parse_request(["--qos", "x", "--site=1", "x.log", "c"], any_option=True)
    assert request.queue == (("--qos", "x"), ("--site=1",))


def test_what_slurm_refuses_is_said_at_once(slurm, tmp_path):
    said = run(slurm, "-p", "nowhere", "x.log", "true", cwd=tmp_path, ok=False)
    assert "invalid partition" in said and "Traceback" not in said
    assert "option colour=" in run(slurm, "--colour", "red", "x.log", "true", cwd=tmp_path, ok=False)


# ---- jobs that fail or go away


def test_only_failed_jobs_are_run_again_and_failures_are_named(slurm, tmp_path):
    command = """echo once >> ran.JOB
        if [ JOB = 4 ] || { [ JOB = 3 ] && [ $(wc -l < ran.3) = 1 ]; }; then echo bad luck JOB; exit 7; fi"""
    said = run(slurm, "--retries", "1", "JOB=1:4", "x.JOB.log", command, cwd=tmp_path, ok=False)
    assert [(tmp_path / f"ran.{job}").read_text().count("once") for job in (1, 2, 3, 4)] == [1, 1, 2, 2]
    assert "1 of 4 jobs failed: 4; logs x.4.log" in said
    assert "job 3 failed with code 7" in said and "try 2 of 2 follows" in said and "| bad luck 4" in said
    assert len(job_ids(tmp_path / "x.3.log")) == 2
    assert re.findall(r"# Ended \(code (\d)\)", (tmp_path / "x.3.log").read_text()) == ["7", "0"]


def test_many_fates_in_one_array_and_nothing_done_twice(slurm, tmp_path):
    # Every job works once; a marker says so, as the steps' do.
    program = tmp_path / "program"
    program.write_text(f"""#!{sys.executable}
import os, sys, time
job = sys.argv[1]
if os.path.exists("done." + job):
    sys.exit()
print("working", file=open("ran." + job, "a"), flush=True)
while not os.path.exists("released." + job) and job != "1":
    if job == "3" and not os.path.exists("calm"):
        memory = bytearray(600_000_000)
    time.sleep(0.05)
open("done." + job, "w").close()
""")
    program.chmod(0o755)
    arguments = ["--mem", "200M", "JOB=1:5", "x.JOB.log", "./program", "JOB"]
    runner = start(slurm, *arguments, cwd=tmp_path)
    slurm.wait_for(lambda: all((tmp_path / f"ran.{job}").exists() for job in range(1, 6)))
    [array] = {job_ids(tmp_path / f"x.{job}.log")[0].split("_")[0] for job in (1, 2)}
    slurm.command("scancel", f"{array}_2")
    # What a scheduler sends to a job that it wants out of the way: the job stops, and goes back into the queue.
    slurm.command("scancel", "--batch", "--signal=USR1", f"{array}_4")
    slurm.wait_for(lambda: says(tmp_path / "x.4.log", "Stopped by SIGUSR1 (code 143)"))
    slurm.command("scancel", "--batch", "--signal=TERM", f"{array}_5")
    slurm.wait_for(lambda: len(job_ids(tmp_path / "x.4.log")) == 2)
    slurm.wait_for(lambda: len(job_ids(tmp_path / "x.5.log")) == 2)
    for job in (4, 5):
        (tmp_path / f"released.{job}").touch()
    said = end(runner, ok=False)
    assert "2 of 5 jobs failed: 2 3; logs x.2.log x.3.log" in said
    assert re.search(r"job 2 was cancelled \(scancel\) on n\d", said)
    assert re.search(r"job 3 ran out of memory; ask for more \(--mem\) on n\d", said)
    assert re.search(r"job 4 was stopped by SIGUSR1.*; it goes back into the queue", said)
    assert re.search(r"job 5 was stopped by SIGTERM.*; it goes back into the queue", said)

    (tmp_path / "calm").touch()
    for job in (2, 3):
        (tmp_path / f"released.{job}").touch()
    run(slurm, *arguments, cwd=tmp_path)
    ran = {job: (tmp_path / f"ran.{job}").read_text().count("working") for job in range(1, 6)}
    assert ran == {1: 1, 2: 2, 3: 2, 4: 2, 5: 2}


def test_a_lost_node(slurm, tmp_path):
    runner = start(slurm, "--mem", "100M", "--num-threads", "2", "JOB=1:2", "x.JOB.log",
                   "echo >> ran.JOB; while ! test -e go; do sleep 0.1; done", cwd=tmp_path)
    logs = [tmp_path / "x.1.log", tmp_path / "x.2.log"]
    try:
        slurm.wait_for(lambda: (tmp_path / "ran.1").exists() and (tmp_path / "ran.2").exists())
        assert {node_of(log) for log in logs} == {"n1", "n2"}
        lost = 1 if node_of(logs[0]) == "n1" else 2
        slurm.kill_node("n1")
        slurm.declare_down("n1")
        slurm.wait_for(lambda: says(logs[lost - 1], "its node failed"))
        (tmp_path / "go").touch()
        said = end(runner)
    finally:
        slurm.start_node("n1")
    assert re.search(rf"job {lost} was lost: its node failed on n1; it goes back into the queue", said)
    assert [len(job_ids(log)) for log in logs] == ([2, 1] if lost == 1 else [1, 2])
    assert node_of(logs[lost - 1]) == "n2"
    slurm.wait_for(lambda: "n1" in slurm.command("sinfo", "-h", "-t", "idle", "-o", "%N", "-N"))


def test_a_lost_daemon_costs_nothing(slurm, tmp_path):
    """slurmd dies, its jobs do not: their exit records count, whatever the controller makes of it."""
    runner = start(slurm, "--num-threads", "2", "JOB=1:2", "x.JOB.log",
                   "echo >> ran.JOB; while ! test -e go; do sleep 0.1; done", cwd=tmp_path)
    try:
        slurm.wait_for(lambda: (tmp_path / "ran.1").exists() and (tmp_path / "ran.2").exists())
        slurm.kill_daemon("n1")
        (tmp_path / "go").touch()
        assert "queue" not in end(runner)
    finally:
        slurm.start_node("n1")
    assert [(tmp_path / f"ran.{job}").read_text() for job in (1, 2)] == ["\n", "\n"]
    slurm.wait_for(lambda: "n1" in slurm.command("sinfo", "-h", "-t", "idle", "-o", "%N", "-N"))


def test_a_controller_that_does_not_answer(slurm, tmp_path):
    for name in ("before", "during"):
        (tmp_path / name).mkdir()
    command = "echo >> ran.JOB; while ! test -e go; do sleep 0.1; done; test JOB != 3"
    runner = start(slurm, "JOB=1:3", "x.JOB.log", command, cwd=tmp_path / "before")
    slurm.wait_for(lambda: all((tmp_path / f"before/ran.{job}").exists() for job in (1, 2, 3)))
    slurm.stop_controller()
    try:
        (tmp_path / "before/go").touch()
        later = start(slurm, "--mem", "100M", "x.log", "echo >> ran", cwd=tmp_path / "during")
        slurm.wait_for(lambda: says(tmp_path / "before/x.2.log", "# Ended (code 0)"))
        time.sleep(3)  # for questions that get no answer
        assert later.poll() is None
    finally:
        slurm.start_controller()
    assert "1 of 3 jobs failed: 3" in end(runner, ok=False)
    end(later)
    assert (tmp_path / "during/ran").read_text() == "\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_runner_cancels_its_jobs(slurm, tmp_path, number):
    runner = start(slurm, "--mem", "100M", "JOB=1:3", "x.JOB.log", "sleep 300 & echo $! > pid.JOB; wait", cwd=tmp_path)
    files = [tmp_path / "pid.1", tmp_path / "pid.2"]
    slurm.wait_for(lambda: all(says(file, "\n") for file in files))
    array = job_ids(tmp_path / "x.1.log")[0].split("_")[0]
    runner.send_signal(number)
    runner.communicate(timeout=40)
    assert runner.returncode == -number
    slurm.wait_for(lambda: not [job for job in queued(slurm) if job.startswith(f"{array}_")])
    slurm.wait_for(lambda: not any(alive(int(file.read_text())) for file in files))
    if number != signal.SIGKILL:
        assert f"Stopped by {number.name} to the runner" in (tmp_path / "x.1.log").read_text()


def test_jobs_that_a_lost_login_node_left_behind(slurm, tmp_path):
    name = array_name("x", str(tmp_path / "x.JOB.log"))
    sent = slurm.command("sbatch", "--parsable", "--array=1", f"--job-name={name}", "--output=/dev/null",
                         f"--chdir={tmp_path}", "--wrap", "echo >> left; sleep 300").strip()
    slurm.wait_for(lambda: (tmp_path / "left").exists())
    said = run(slurm, "JOB=1:2", "x.JOB.log", "true", cwd=tmp_path)
    assert f"cancelling job {sent}, left in the queue" in said
    assert not [job for job in queued(slurm) if job.startswith(f"{sent}_")]


# ---- status


def status(*arguments: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "pyscripts/status.py", *arguments], capture_output=True, text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


WORKER = """
import sys, time
from pathlib import Path
from ser.training.history import add_epoch
from ser.training.run_folder import at_work
from ser.training.runs import read_run
run = read_run(sys.argv[1], int(sys.argv[2])).folder
with at_work(run, "is being trained"):
    kind = int(sys.argv[2])
    if kind == 1:
        (run / "best.pt").touch()
        (run / ".train.done").touch()
    elif kind == 2:
        add_epoch(run, {"epoch": 1, "seconds": 2.0})
    elif kind == 3:
        raise ValueError("no good")
    if kind in (2, 4, 5):
        time.sleep(300)
"""


def plan(exp: Path, names: list[str]) -> tuple[Path, str]:
    """Write a file of runs as run.sh does; returns it, and what its jobs' logs are called."""
    (exp / "runs").mkdir(parents=True)
    (exp / "log").mkdir()
    runs = [Run(str(exp.parent), f"exp/{name}", ("data/train",), "data/dev", {"test": "data/test", "snr0": "data/snr0"})
            for name in names]
    (exp / "runs" / "x.jsonl").write_text("".join(f"{run.line()}\n" for run in runs))
    return exp / "runs" / "x.jsonl", str(exp / "log" / "train_x.JOB.log")


def test_status(slurm, tmp_path):
    exp = tmp_path / "exp"
    names = [f"mfcc-resnet_clean_{scheme}_random/fold{k}/seed0" for scheme in ("none", "n+se-cp") for k in (1, 2, 3)]
    names += ["mfcc-resnet_clean_se-cp_random/seed1", "mfcc-resnet_clean_se-cp_random/seed2"]
    runs, log = plan(exp, names)
    scored, stopped = exp / names[6], exp / names[7]
    for test in ("test", "snr0"):
        (scored / f"score_{test}").mkdir(parents=True)
        (scored / f"score_{test}/score.json").touch()
    stopped.mkdir()
    for file in (scored / "best.pt", scored / ".train.done", stopped / "last.pt"):
        file.touch()
    (tmp_path / "worker.py").write_text(WORKER)
    logs = [Path(log.replace("JOB", str(job))) for job in range(1, 6)]
    environment = f"PYTHONPATH={ROOT}/pyscripts"
    runner = start(slurm, "--num-threads", "2", "JOB=1:5", log,
                   f"{environment} {sys.executable} {tmp_path}/worker.py {runs} JOB", cwd=tmp_path)
    try:
        slurm.wait_for(lambda: (exp / names[3] / ".lock").exists() and (exp / names[1] / "history.jsonl").exists()
                       and says(logs[2], "# Ended") and says(logs[0], "# Ended"), seconds=60)
        shown = status(exp, **slurm.environment)
    finally:
        runner.terminate()
        runner.communicate()
    rows = {row.split()[1]: row for row in shown.splitlines()[:-1]}
    assert rows.keys() == set(names)
    assert re.fullmatch(r"finished +\S+ +scored on snr0, test", rows[names[6]])
    assert re.match(r"stopped .* no epoch yet; goes on from there", rows[names[7]])
    assert re.match(r"trained .* no scores on snr0, test", rows[names[0]])
    assert re.match(rf"running .* epoch 1/50, process \d+ on .*  {logs[1]}", rows[names[1]])
    assert re.match(rf"failed .* no good  {logs[2]}", rows[names[2]])
    assert re.match(rf"running .* no epoch yet, process \d+ on .*  {logs[3]}", rows[names[3]])
    assert re.match(r"waiting .* in Slurm's queue \(\w+\)", rows[names[4]])
    assert re.match(r"missing ", rows[names[5]])
    assert shown.splitlines()[-1].endswith(
        "8 runs: 1 finished, 1 trained, 2 running, 1 waiting, 1 failed, 1 stopped, 1 missing"
    )
    slurm.wait_for(lambda: "2 failed" not in status(exp, **slurm.environment), seconds=30)


def test_status_of_run_py(tmp_path):
    exp = tmp_path / "exp"
    runs, log = plan(exp, ["c/seed4", "c/seed5", "c/seed6", "c/seed0"])
    (tmp_path / "worker.py").write_text(WORKER)
    runner = subprocess.Popen(
        [ROOT / "utils/run.py", "JOB=4:4", log, f"exec {sys.executable} {tmp_path}/worker.py {runs} JOB"], cwd=tmp_path,
        stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT / "pyscripts")},
    )
    Cluster.wait_for(lambda: (exp / "c/seed0/.lock").exists())
    shown = status(exp)
    assert re.search(rf"running +c/seed0 +no epoch yet, process \d+ on \S+ since .*  {log.replace('JOB', '4')}", shown)
    assert re.search(r"missing +c/seed5\n", shown)
    os.kill(json.loads((exp / "c/seed0/.lock").read_text())["process"], signal.SIGKILL)
    runner.wait()
    assert re.search(r"failed +c/seed0 +process \d+ on \S+ since \S+ \S+ is gone; no epoch yet", status(exp))
    assert "no such folder" in subprocess.run(
        [sys.executable, ROOT / "pyscripts/status.py", exp / "none"], capture_output=True, text=True
    ).stderr


def test_exceeded_time(over_time):
    """After the others, so that it has had its minute, but before any that may take its node down."""
    process, folder = over_time
    said = end(process, ok=False, timeout=150)
    assert re.search(r"job 2 exceeded its time; ask for more \(--time\) on n\d", said) and "| soon late" in said
    assert "1 of 2 jobs failed: 2; logs x.2.log" in said
    assert sorted((folder / "ran").read_text().split()) == ["1", "2"]


# ---- the recipe


_RECIPE = """
. ./path.sh && . ./cmd.sh
egs/mini/local/prepare.py --nj 2 --cmd "$train_cmd" {small} {work}/data
cd {work}
make_mfcc.sh --nj 2 --cmd "$train_cmd" data/train
compute_vad.sh --nj 2 --cmd "$train_cmd" data/train
prepare_feats.sh --nj 2 --cmd "$train_cmd" data/train data/train_voiced
mkdir -p exp/log
$cuda_cmd --num-threads 1 JOB=1:1 exp/log/train.JOB.log "$SER_ROOT/pyscripts/train.py" --train data/train_voiced \
  --dev data/train_voiced --scheme n+se-cp --config ../train.yaml --device cpu --out exp/run/seed0
"""


def test_the_mini_recipe_gives_the_same_bytes_through_slurm_and_a_lost_node(slurm, tmp_path):
    """Audio, features and a short training of a few speakers, with cmd.sh as it is and with its line for Slurm.

    On the cluster a node loses power while it computes MFCC, and again while it trains.
    """
    project = copy_project(tmp_path / "project")
    (tmp_path / "train.yaml").write_text("epochs: 3\nbatch_size: 12\ncrop: 40\nprecise_bn: 1\nprecision: fp32\n")
    mfcc, train = (tmp_path / "cluster" / log
                   for log in ("data/train/log/make_mfcc_train.1.log", "exp/log/train.1.log"))
    found = {}
    for name in ("here", "cluster"):
        if name == "cluster":
            commands = (project / "cmd.sh").read_text()
            assert commands.count("\n# export ") == 1  # the one line to uncomment
            (project / "cmd.sh").write_text(commands.replace("\n# export ", "\nexport "))
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", _RECIPE.format(work=tmp_path / name, small=" ".join(SMALL))],
            cwd=project, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **slurm.environment},
        )
        if name == "cluster":
            lose_node(slurm, mfcc, "Running on")
            lose_node(slurm, train, "epoch 1/")
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        found[name] = content(tmp_path / name)
    assert said.count("was lost: its node failed") >= 2
    assert len(job_ids(mfcc)) == len(job_ids(train)) == 2
    assert len(job_ids(mfcc.with_name("compute_vad_train.2.log"))) == 1
    assert [int(epoch) for epoch in re.findall(r"^epoch (\d+)/3", train.read_text(), re.MULTILINE)] == [1, 2, 3]
    assert any(name.endswith("seed0/last.pt") for name in found["here"])
    assert sum(name.endswith(".ark") for name in found["here"]) == 6
    assert found["here"].keys() == found["cluster"].keys()
    assert [name for name in found["here"] if found["here"][name] != found["cluster"][name]] == []


def lose_node(slurm: Cluster, log: Path, word: str) -> None:
    """Once a job says a word, its node goes, and is repaired."""
    slurm.wait_for(lambda: log.exists() and says(log, word), seconds=120)
    node = node_of(log)
    slurm.kill_node(node)
    try:
        slurm.declare_down(node)
        slurm.wait_for(lambda: says(log, "its node failed"), seconds=60)
    finally:
        slurm.start_node(node)


TIMES = ("config.yaml", "history.jsonl")  # of the machine, and how long epochs took


def content(work: Path) -> dict[str, object]:
    """Everything that a user keeps, by path; the work directory's own path is taken out of it."""
    from ser.training.checkpoint import load_checkpoint

    found: dict[str, object] = {}
    for path in sorted(work.rglob("*")):
        name = str(path.relative_to(work))
        apart = any(part.startswith(("log", "tensorboard", "split")) for part in path.parts)
        if not path.is_file() or apart or path.name.endswith(".done") or path.name in TIMES:
            continue
        if path.suffix == ".pt":
            found[name] = {key: value.numpy().tobytes() for key, value in load_checkpoint(path)["model"].items()}
        else:
            found[name] = path.read_bytes().replace(str(work).encode(), b"")
    return found
