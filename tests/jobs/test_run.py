"""`utils/run.py`: the job runner's protocol, failures, limits, and that nothing outlives it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ser.base.errors import SerError
from ser.jobs.request import Monitor, bash_line, duration, last_lines, parse_request

ROOT = Path(__file__).resolve().parents[2]
RUN = str(ROOT / "utils/run.py")


def run(*arguments: str, cwd: Path, ok: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        # -S: the runner must work without any third-party package
        [sys.executable, "-S", RUN, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60,
        env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
    )
    assert (done.returncode == 0) is ok, done.stderr
    return done


def wait_for(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_array_substitutes_the_job_and_logs_like_kaldi(tmp_path):
    command = ["echo", "number  JOB", "of", "JOB", "|", "tr", "a-z", "A-Z"]
    done = run("JOB=2:3", "log/deep/x.JOB.log", *command, cwd=tmp_path)
    assert done.stderr == "" and done.stdout == ""
    assert not (tmp_path / "log/deep/x.1.log").exists()
    log = (tmp_path / "log/deep/x.3.log").read_text().splitlines()
    assert log[0] == '# echo "number  3" of 3 | tr a-z A-Z' and log[2].startswith("# Started at ")
    assert "NUMBER  3 OF 3" in log
    assert re.fullmatch(r"# Ended \(code 0\) at .*, elapsed time \d+ seconds", log[-1])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["copy", "a b", "c"], 'copy "a b" c'),
        (["echo", 'say "x" y'], "echo 'say \"x\" y'"),
        (["echo", "", ">", "f"], 'echo "" > f'),
        (["echo a | cat"], "echo a | cat"),
    ],
)
def test_words_are_quoted_by_kaldis_rules(words, line):
    assert bash_line(words) == line


def test_options_of_kaldis_runners(tmp_path):
    request = parse_request(["--mem", "4G", "-V", "-pe", "smp", "5", "-l", "a=b", "--max-jobs-run", "3", "-tc", "2",
                             "JOB=1:4", "--num-threads", "2", "--gpu", "1", "a.JOB.log", "prog", "--x"])
    assert (request.first, request.last, request.num_threads, request.gpu, request.max_jobs_run) == (1, 4, 2, 1, 2)
    assert request.command == ("prog", "--x") and ("--mem", "4G") in request.queue
    assert request.title == "a"
    assert parse_request(["J=7", "x.log", "c"]).jobs()[0].number == 7


@pytest.mark.parametrize(
    "arguments",
    [["--bogus", "1", "a", "b"], ["JOB=0:3", "x.JOB", "b"], ["JOB=3:2", "x.JOB", "b"], ["JOB=x", "x.JOB", "b"],
     ["JOB=1:3", "one.log", "b"], ["only.log"], [], ["--gpu", "many", "a", "b"], ["--mem"]],
)
def test_bad_arguments_are_fatal(arguments):
    with pytest.raises(SerError):
        parse_request(arguments)


def test_a_failure_is_named_and_the_others_finish(tmp_path):
    done = run("JOB=1:4", "x.JOB.log", "test JOB -ne 3 || { echo bad luck >&2; exit 7; }", cwd=tmp_path, ok=False)
    assert "1 of 4 jobs failed: 3; logs x.3.log" in done.stderr
    assert "code 7" in done.stderr and "bad luck" in done.stderr
    assert "# Ended (code 7)" in (tmp_path / "x.3.log").read_text()
    assert "# Ended (code 0)" in (tmp_path / "x.4.log").read_text()
    done = run("x.log", "no-such-program", cwd=tmp_path, ok=False)
    assert "x.log" in done.stderr and "no-such-program" in done.stderr
    done = run("x.log", "kill -9 $$", cwd=tmp_path, ok=False)
    assert "code 137" in done.stderr and "killed" in done.stderr


def test_a_failed_job_alone_is_run_again(tmp_path):
    command = "echo >> ran.JOB; n=$(wc -l < ran.JOB); echo try $n; test JOB = 1 || { test JOB = 2 && test $n = 2; }"
    done = run("--retries", "1", "JOB=1:3", "x.JOB.log", command, cwd=tmp_path, ok=False)
    assert [(tmp_path / f"ran.{job}").read_text() for job in (1, 2, 3)] == ["\n", "\n\n", "\n\n"]
    assert "job 2 failed with code 1, log x.2.log; try 2 of 2 follows" in done.stderr
    assert "1 of 3 jobs failed: 3; logs x.3.log" in done.stderr
    log = (tmp_path / "x.2.log").read_text()
    assert re.findall(r"# Ended \(code (\d)\)", log) == ["1", "0"] and "try 1" in log and "try 2" in log


def test_an_unwritable_log_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("file/x.log", "true", cwd=tmp_path, ok=False)
    assert "file" in done.stderr and "Traceback" not in done.stderr


def test_never_more_jobs_at_a_time_than_allowed(tmp_path):
    # Each job notes how many marks there are while it holds its own.
    command = "touch mark.JOB; ls mark.* | wc -l; sleep 0.2; rm mark.JOB"
    run("--max-jobs-run", "1", "JOB=1:4", "x.JOB.log", command, cwd=tmp_path)
    assert [int(last_lines(tmp_path / f"x.{job}.log")[0]) for job in range(1, 5)] == [1, 1, 1, 1]
    cores = len(os.sched_getaffinity(0))
    run("--num-threads", str(cores), "JOB=1:3", "x.JOB.log", command + "; echo $OMP_NUM_THREADS", cwd=tmp_path)
    assert [last_lines(tmp_path / f"x.{job}.log") for job in range(1, 4)] == [["1", str(cores)]] * 3


def test_gpu_jobs_get_a_gpu_of_their_own(tmp_path):
    command = "gpu=$CUDA_VISIBLE_DEVICES; echo $gpu; mkdir lock.$gpu && sleep 0.2 && rmdir lock.$gpu"
    run("--gpu", "1", "JOB=1:4", "x.JOB.log", command, cwd=tmp_path, CUDA_VISIBLE_DEVICES="3,5")
    used = [last_lines(tmp_path / f"x.{job}.log")[0] for job in range(1, 5)]
    assert set(used) == {"3", "5"}  # and mkdir never failed: no two at a time on one
    run("--gpu", "2", "x.log", "echo $CUDA_VISIBLE_DEVICES", cwd=tmp_path, CUDA_VISIBLE_DEVICES="3,5")
    assert last_lines(tmp_path / "x.log") == ["3,5"]
    cores = len(os.sched_getaffinity(0))
    each = ["--num-threads", str(cores), "--gpu", "1"]  # cores bound jobs with GPUs, too
    command = "mkdir lock && sleep 0.2 && rmdir lock"
    run(*each, "JOB=1:3", "x.JOB.log", command, cwd=tmp_path, CUDA_VISIBLE_DEVICES="3,5")
    shared = "touch mark.JOB; while [ $(ls mark.* | wc -l) -lt 2 ]; do sleep 0.05; done; echo $CUDA_VISIBLE_DEVICES"
    run("--gpu", "1", "JOB=1:2", "x.JOB.log", shared, cwd=tmp_path, CUDA_VISIBLE_DEVICES="3,3")
    assert [last_lines(tmp_path / f"x.{job}.log") for job in (1, 2)] == [["3"], ["3"]], "two at a time on one GPU"
    done = run("--gpu", "3", "x.log", "true", cwd=tmp_path, ok=False, CUDA_VISIBLE_DEVICES="3,5")
    assert "only 2" in done.stderr
    done = run("--gpu", "1", "x.log", "true", cwd=tmp_path, CUDA_VISIBLE_DEVICES="")
    assert "no GPU" in done.stderr


def test_gpus_are_counted_by_nvidia_smi(tmp_path):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'GPU 0: X (UUID: GPU-1)'; echo 'GPU 1: X (UUID: GPU-2)'\n")
    smi.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'utils')!r}); import run; print(run.find_gpus())"
    seen = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "['0', '1']"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_runner_takes_its_jobs_with_it(tmp_path, number):
    # The job starts a process of its own, which a signal to the job alone would leave behind.
    runner = subprocess.Popen([RUN, "JOB=1:2", "x.JOB.log", "sleep 300 & echo $! > pid.JOB; wait; true"], cwd=tmp_path,
                              stderr=subprocess.PIPE, text=True)
    files = [tmp_path / "pid.1", tmp_path / "pid.2"]
    files = files[: min(2, len(os.sched_getaffinity(0)))]
    wait_for(lambda: all(file.exists() and file.read_text().strip() for file in files))
    pids = [int(file.read_text()) for file in files]
    assert all(map(alive, pids))
    runner.send_signal(number)
    assert runner.wait(20) == -number
    wait_for(lambda: not any(map(alive, pids)))
    log = (tmp_path / "x.1.log").read_text()
    assert "# Ended (code 0)" not in log
    if number != signal.SIGKILL:
        assert f"Stopped by {number.name}" in log


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_the_runner_ends_with_the_script_that_called_it(tmp_path):
    script = subprocess.Popen(["bash", "-c", f"{RUN} x.log 'echo $$ > pid; sleep 300'; true"], cwd=tmp_path,
                              stderr=subprocess.DEVNULL)
    pid = tmp_path / "pid"
    wait_for(lambda: pid.exists() and pid.read_text().strip())
    job = int(pid.read_text())
    assert alive(job)
    script.kill()
    script.wait()
    wait_for(lambda: not alive(job))


def test_epochs_are_relayed(tmp_path):
    done = run("x.log", "echo 'epoch 1/2 loss 0.5'; echo other", cwd=tmp_path)
    assert done.stderr == "epoch 1/2 loss 0.5\n"
    done = run("JOB=1:2", "train.JOB.log", "echo epoch JOB", cwd=tmp_path)
    assert sorted(done.stderr.splitlines()) == ["train 1: epoch 1", "train 2: epoch 2"]


def test_progress_is_summed_over_the_jobs(tmp_path, monkeypatch, capsys):
    clock = [1000.0]
    monkeypatch.setattr("ser.jobs.request.time.monotonic", lambda: clock[0])
    jobs = parse_request(["JOB=1:3", str(tmp_path / "make.JOB.log"), "c"]).jobs()
    monitor = Monitor("make", jobs)
    for job in jobs[:2]:
        job.log.write_text("# header\nprogress: 1/200 utt mfcc, 99 s left\n")
        monitor.started(job)
    clock[0] += 4
    monitor.look()
    assert capsys.readouterr().err == ""  # nothing for short jobs
    with open(jobs[0].log, "a") as log:
        log.write("progress: 100/200 utt mfcc, 6 s left\nprogress: 150/2")  # the last line is still being written
    with open(jobs[1].log, "a") as log:
        log.write("progress: 50/200 utt mfcc, 20 s left\n")
    clock[0] += 2
    monitor.look()
    # (100/200 + 50/200) of 3 jobs' work is a quarter of all: 6 s passed, 18 s left
    assert capsys.readouterr().err == "make: 0/3 jobs, 150/about 600 utt, 6 s elapsed, 18 s left\n"
    monitor.finished(jobs[0])
    monitor.started(jobs[2])
    jobs[2].log.write_text("progress: 20/100 utt mfcc, 40 s left\n")
    clock[0] += 30
    monitor.look()
    # 200 + 50 + 20 of 500; the slowest job has 40 s to go
    assert capsys.readouterr().err == "make: 1/3 jobs, 270/500 utt, 36 s elapsed, 40 s left\n"


def test_duration():
    assert [duration(s) for s in (4.6, 125, 12000)] == ["5 s", "2 min 5 s", "3 h 20 min"]


def test_help(tmp_path):
    assert "usage: run.py" in run("--help", cwd=tmp_path).stdout
