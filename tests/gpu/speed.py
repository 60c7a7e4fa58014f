"""Speed, by the programs of tests/benchmarks: training beside the plain loop, the device's ceilings, evaluation.

Their reports, in Markdown, go to standard output, as they are.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from rows import Row, aim

_BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
_FASTER, _BANDWIDTH = 20, 50  # tests/benchmarks/README.md
_SIZES = {  # options of each program: on a GPU, and quick
    "training": ("--utterances 864 --rounds 5", "--utterances 4 --batch-size 4 --rounds 1 --workers 1 --threads 1"),
    "ceiling": ("--utterances 128 --rounds 15", "--utterances 4 --batch-size 4 --rounds 1 --threads 1"),
    "evaluation": ("--utterances 864 --rounds 3", "--utterances 4 --batch-size 4 --rounds 1 --threads 1"),
}


def rows(device: torch.device, quick: bool, folder: Path) -> Iterator[Row]:
    """Yield the lines; programs that are quick measure nothing worth a target."""
    aimed = device.type == "cuda" and not quick
    for line in _report("training", device, quick):
        if "ratio to the plain loop" in line:
            name, speed, ratio = line["whole epochs"], line["examples/s"], line["ratio to the plain loop"]
            aim_here = aimed and name.startswith("ours, bf16")
            what = f"training, {name}: {speed} examples/s, ratio to the plain loop"
            yield aim(what, float(ratio), _FASTER) if aim_here else Row(what, "", "", ratio)
        elif line["one batch"] == "planning and gathering":
            yield Row("training: planning and gathering, share of a step", "", "", line["share of a step of ours"])
    for line in _report("ceiling", device, quick):
        if precision := line.get("a step in"):
            share, of_copy = line["share"], line["share of the copy's"]
            yield Row(f"ceiling, {precision}: a step of {line['ms']} ms, share of a product's operations a second", "",
                      "", share)
            what = f"ceiling, {precision}: {line['GB/s']} GB/s, share of a copy's"
            yield aim(what, float(of_copy[:-2]), _BANDWIDTH, " %") if aimed else Row(what, "", "", of_copy)
    for line in _report("evaluation", device, quick):
        yield Row(f"evaluation, {line['']}: {line['utterances/s']} utterances/s, time to ours", "", "",
                  line["time, ratio to ours"])


def _report(part: str, device: torch.device, quick: bool) -> Iterator[dict[str, str]]:
    """Run a program and yield the lines of its tables, each by the table's header."""
    command = [sys.executable, str(_BENCHMARKS / f"bench_{part}.py"), "--device", device.type]
    done = subprocess.run([*command, *_SIZES[part][quick].split()], check=True, stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    header: list[str] = []
    for line in done.stdout.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            header = []
        elif not header:
            header = cells
        elif not set(cells[0]) <= {"-"} or not cells[0]:
            yield dict(zip(header, cells, strict=True))
