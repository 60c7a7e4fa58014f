"""A Slurm cluster of its own on the loopback interface, as several nodes of this one machine; needs root.

`python3 tests/slurm_cluster.py` starts one, prints how to use it, and stops it on Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
_WAIT_SECONDS = 60.0


def unavailable() -> str | None:
    """Why no cluster can be started here; None if one can."""
    missing = [program for program in PROGRAMS if _find(program) is None]
    if missing:
        return f"no {', '.join(missing)} (Debian: apt-get install slurm-wlm munge)"
    if sys.platform != "linux" or os.geteuid() != 0:
        return "starting Slurm's daemons takes root on Linux"
    return None


class Cluster:
    """munged, slurmctld and a slurmd for each node, with ports, keys and folders of their own.

    Args:
        nodes: how many; they are called n1, n2, … and have 3 CPUs, 16000 MB and a GPU (/dev/null) each.

    Attributes:
        environment: variables that Slurm's commands need to speak to this cluster.
    """

    def __init__(self, nodes: int = 2) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ser-slurm.", dir="/tmp"))
        self.folder.chmod(0o755)  # munged looks whether anybody else could change the way to its key
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._munged: subprocess.Popen[bytes] | None = None
        self._write_configuration()

    def __enter__(self) -> Cluster:
        try:
            self._start_munged()
            self.start_controller()
            for node in self.nodes:
                self.start_node(node)
            self.wait_for(lambda: self.command("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == str(len(self.nodes)))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def command(self, *words: str, check: bool = True) -> str:
        """What a command prints that speaks to this cluster, such as `scontrol show nodes`."""
        return subprocess.run(
            words, env={**os.environ, **self.environment}, capture_output=True, text=True, check=check, timeout=60
        ).stdout

    def start_controller(self) -> None:
        self._daemon("slurmctld")

    def stop_controller(self) -> None:
        self._kill("slurmctld.pid", signal.SIGTERM)

    def start_node(self, node: str) -> None:
        self._daemon("slurmd", "-N", node)

    def declare_down(self, node: str) -> None:
        """What the controller does itself with a node that has not answered for SlurmdTimeout seconds."""
        self.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")

    def kill_daemon(self, node: str) -> None:
        """kill -9 the slurmd of a node; jobs on it run on."""
        self._kill(f"slurmd.{node}.pid", signal.SIGKILL)

    def kill_node(self, node: str) -> None:
        """End everything that runs on a node at once, as a loss of power does."""
        self.kill_daemon(node)
        jobs = self._processes(f"SLURMD_NODENAME={node}")
        steps = {_parent(pid) for pid in jobs} & self._processes(program="slurmstepd")
        for pid in [*steps, *jobs]:  # in this order: a step would live to report what became of its job
            _end(pid)

    def stop(self) -> None:
        """End all daemons and all jobs, and remove the cluster's folder."""
        for node in self.nodes:
            self.kill_node(node)
        for pid in self._processes(program="slurm"):
            _end(pid)
        if self._munged is not None:
            self._munged.kill()
            self._munged.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def wait_for(condition: Callable[[], object], seconds: float = _WAIT_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"did not happen within {seconds:.0f} s")
            time.sleep(0.1)

    def _write_configuration(self) -> None:
        controller, *nodes = _free_ports(1 + len(self.nodes))
        folder = self.folder
        (folder / "state").mkdir()
        lines = [
            "ClusterName=test",
            "SlurmctldHost=localhost(127.0.0.1)",
            f"SlurmctldPort={controller}",
            "SlurmUser=root",
            "SlurmdUser=root",
            f"AuthInfo=socket={folder}/munge/socket",
            f"StateSaveLocation={folder}/state",
            f"SlurmdSpoolDir={folder}/d.%n",
            f"SlurmctldPidFile={folder}/slurmctld.pid",
            f"SlurmdPidFile={folder}/slurmd.%n.pid",
            f"SlurmctldLogFile={folder}/slurmctld.log",
            f"SlurmdLogFile={folder}/slurmd.%n.log",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core_Memory",
            # Memory is bounded by looking once a second, which needs no cgroups.
            "JobAcctGatherType=jobacct_gather/linux",
            "JobAcctGatherFrequency=task=1",
            "JobAcctGatherParams=OverMemoryKill",
            "SlurmdParameters=config_overrides",
            # A test waits for nothing that a busy cluster has reasons to wait for.
            "SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0",
            "ReturnToService=2",
            "SlurmdTimeout=30",  # a busy machine must not lose nodes; tests say themselves that one is down
            "KillWait=3",
            "MessageTimeout=5",
            "MpiDefault=none",
            "SwitchType=switch/none",
            "GresTypes=gpu",
            *(
                f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=3 RealMemory=16000 "
                "Gres=gpu:1"
                for node, port in zip(self.nodes, nodes, strict=True)
            ),
            "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=500",
        ]
        (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        (folder / "gres.conf").write_text(f"NodeName={','.join(self.nodes)} Name=gpu File=/dev/null\n")

    def _start_munged(self) -> None:
        folder = self.folder / "munge"
        folder.mkdir()
        key = folder / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        for path in (folder, key):
            shutil.chown(path, "munge", "munge")
        files = [f"--{name}-file={folder}/{name}" for name in ("key", "pid", "log", "seed")]
        self._munged = subprocess.Popen(
            [_find("munged"), "--foreground", f"--socket={folder}/socket", *files],
            user="munge", group="munge", extra_groups=[], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.wait_for(lambda: (folder / "socket").exists())

    def _daemon(self, program: str, *options: str) -> None:
        # The daemons fork into the background and outlive this process's files; their output has logs of its own.
        subprocess.run(
            [_find(program), *options], env={**os.environ, **self.environment}, check=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60,
        )

    def _kill(self, name: str, number: int) -> None:
        """Signal the process of a pid file and wait for its end."""
        try:
            pid = int((self.folder / name).read_text())
            os.kill(pid, number)
        except (OSError, ValueError):
            return
        self.wait_for(lambda: not alive(pid))
        (self.folder / name).unlink(missing_ok=True)

    def _processes(self, variable: str = "", program: str = "") -> set[int]:
        """Processes of this cluster with a variable (`NAME=value`) in their environment, or by their program's name."""
        wanted = {f"SLURM_CONF={self.folder}/slurm.conf", variable} - {""}
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if wanted <= set((folder / "environ").read_text(errors="replace").split("\0")) and (
                    not program or _program(folder).startswith(program)
                ):
                    found.add(int(folder.name))
        return found


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie, which somebody has yet to take note of."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _program(folder: Path) -> str:
    """'slurmd' of '/usr/sbin/slurmd -N n1' and of ': slurmd', as a process calls itself that has changed its title."""
    return os.path.basename((folder / "cmdline").read_text().lstrip(": ").partition("\0")[0])


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


if __name__ == "__main__":
    if reason := unavailable():
        sys.exit(reason)
    # Started in the background, or ended by a time limit, it stops the cluster as well.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with Cluster() as cluster:
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}\nrunning until Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
