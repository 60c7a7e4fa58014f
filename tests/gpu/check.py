#!/usr/bin/env python3
"""Check the GPU against the CPU, part by part, and print one table; tests/gpu.sh runs it.

Each part is a module beside this one, run in a process of its own, so that one that crashes or hangs costs the others
nothing. Exit status: 1 if a line failed or a part did not end, else 0.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rows import Row, table

PARTS = ("against_cpu", "interruption", "norm", "step", "speed")
_PACKAGES = {"torch": "torch", "numpy": "numpy", "yaml": "PyYAML", "tqdm": "tqdm", "kaldiio": "kaldiio",
             "tensorboard": "tensorboard", "matplotlib": "matplotlib"}
_SECONDS = 470.0  # of all parts
_MINIMUM_TORCH = (2, 11)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--quick", choices=("true", "false"), default="false")
    parser.add_argument("--parts", default=" ".join(PARTS))
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)  # of the only part: where its lines go
    args = parser.parse_args()
    if args.rows:
        do(args)
        return
    if problem := missing():
        sys.exit(problem)
    if unknown := [part for part in args.parts.split() if part not in PARTS]:
        sys.exit(f"gpu.sh: error: --parts: no {' '.join(unknown)}; there are {', '.join(PARTS)}")
    print(gpu() if args.device == "cuda" else
          "No GPU was used: the CPU stands for it too, and nothing below tells of a GPU.", flush=True)
    check(args)


def missing() -> str:
    """Return what this Python lacks and how to install it; '' if nothing."""
    absent = [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    if "torch" in absent:
        return (f"gpu.sh: error: {sys.executable} has no torch; activate a Python that has torch >= 2.11 with CUDA "
                f"(then: python3 -m pip install {' '.join(package for package in absent if package != 'torch')})")
    if absent:
        return f"gpu.sh: error: {sys.executable} has no {', '.join(absent)}: python3 -m pip install {' '.join(absent)}"
    version = importlib.metadata.version("torch")
    if tuple(map(int, version.split("+")[0].split(".")[:2])) < _MINIMUM_TORCH:
        return f"gpu.sh: error: torch {version} of {sys.executable} is older than 2.11"
    return ""


def gpu() -> str:
    """Return what the GPU is; exit where there is none."""
    import torch

    if not torch.cuda.is_available():
        sys.exit(f"gpu.sh: error: no GPU is there: torch {torch.__version__} of {sys.executable} sees none (built for "
                 f"CUDA: {torch.version.cuda or 'no'}; check nvidia-smi and the driver). Nothing was checked. "
                 "--device cpu --quick true runs the same on a CPU")
    found = torch.cuda.get_device_properties(0)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB, torch {torch.__version__}, CUDA {torch.version.cuda}"


def check(args: argparse.Namespace) -> None:
    """Run the parts, print their lines as one table, and exit 1 if one failed."""
    begin, found, reports = time.monotonic(), [], ""
    with tempfile.TemporaryDirectory() as name:
        for part in args.parts.split():
            started, lines, log = time.monotonic(), Path(name, f"{part}.rows"), Path(name, f"{part}.log")
            lines.touch()
            ended = run(part, args, lines, log, _SECONDS - (started - begin))
            found += [Row(**json.loads(line)) for line in lines.read_text().splitlines()]
            if ended:
                found.append(Row(f"{part}: {ended}", limit="ends", ok=False))
                print(f"{part}: {ended}\n{log.read_text(errors='replace')[-4000:]}", file=sys.stderr)
            elif part == "speed":
                reports = log.read_text(errors="replace")
            print(f"{part}: {time.monotonic() - started:.0f} s", flush=True)
    failed = [row for row in found if row.failed]
    if reports:
        print("\n" + "\n".join(line for line in reports.splitlines() if not line.startswith("progress:")))
    print(f"\n{table(found)}")
    print(f"\n{len(found)} lines, {len(failed)} failed, {time.monotonic() - begin:.0f} s")
    sys.exit(1 if failed or not found else 0)


def run(part: str, args: argparse.Namespace, lines: Path, log: Path, seconds: float) -> str:
    """Run a part in a process of its own; return why it did not end as it should, or ''."""
    command = [sys.executable, __file__, "--device", args.device, "--quick", args.quick, "--parts", part, "--rows",
               str(lines)]
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(max(seconds, 1))
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # the part, and the programs it started
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return f"not done in what was left of {_SECONDS:.0f} s"
    last = (log.read_text(errors="replace").strip().splitlines() or [""])[-1]
    return f"exit status {code}: {last}" if code else ""


def do(args: argparse.Namespace) -> None:
    """Write the lines of one part, each as soon as it is known."""
    from ser.training.device import set_up_device

    device = set_up_device(args.device)
    with tempfile.TemporaryDirectory() as name, open(args.rows, "a", encoding="utf-8") as file:
        for row in importlib.import_module(args.parts).rows(device, args.quick == "true", Path(name)):
            print(row.line(), file=file, flush=True)


if __name__ == "__main__":
    main()
