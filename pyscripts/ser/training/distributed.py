"""The processes that train one network together, as torch.distributed has them: rank, world size, barrier, broadcast.

utils/launch.sh starts them; each runs the same program and takes its share of every batch.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from ser.base.errors import SerError
from ser.base.processes import die_with_parent

# A lost peer's connections break at once; this is for one that hangs, or whose machine went without a word.
_TIMEOUT = timedelta(minutes=2)
_LOADING_TIMEOUT = timedelta(hours=2)  # while one process of a node reads the features for all

_LOST = re.compile(r"gloo|NCCL|[Cc]onnection (closed|reset)|Broken pipe|[Tt]imed out")


class World:
    """The processes that train one network together; most often a process alone, which then asks nobody.

    Attributes:
        rank, world_size: of this process, and how many there are.
        node: number of this process's node.
        local_rank: rank of this process on its node, and the number of its GPU.
    """

    def __init__(self) -> None:
        """Read rank and world size from the environment that torchrun sets; without one, this process is alone."""
        self.rank, self.world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.node, self.local_rank = int(os.environ.get("GROUP_RANK", 0)), int(os.environ.get("LOCAL_RANK", 0))
        if self.world_size > 1:
            die_with_parent(os.getppid(), signal.SIGKILL)  # a launcher that is killed leaves nobody behind who writes

    def join(self, device_type: str) -> None:
        """Connect to the other processes; call this before anything else here.

        Args:
            device_type: `cuda` for NCCL, `cpu` for gloo.
        """
        if self.world_size == 1:
            return
        if device_type == "cuda":
            torch.cuda.set_device(self.local_rank)
        dist.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=_TIMEOUT)
        # For words between the processes, so that these neither wait for a GPU nor make it wait.
        self._control = dist.new_group(backend="gloo", timeout=_TIMEOUT)
        self._loading = dist.new_group(backend="gloo", timeout=_LOADING_TIMEOUT)

    def barrier(self) -> None:
        """Wait until every process is here, up to two hours: one may be reading features for the others."""
        if self.world_size > 1:
            dist.barrier(self._loading)

    def broadcast(self, value: Any) -> Any:
        """Return the value that the process of rank 0 has."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, group=self._control)
        return values[0]

    def any(self, *flags: bool) -> list[bool]:
        """Return for each flag whether any process has raised it."""
        if self.world_size == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(raised, dist.ReduceOp.MAX, self._control)
        return raised.bool().tolist()

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over all processes, element by element."""
        if self.world_size == 1:
            return values
        total = torch.from_numpy(values.copy())
        dist.all_reduce(total, group=self._control)
        return total.numpy()

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if self.world_size == 1:
            return
        if kind is None:
            dist.destroy_process_group()
        elif issubclass(kind, SerError | OSError):
            # Starting all again would end here again: the launcher is to give up, and let this process say why.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.kill(os.getppid(), signal.SIGTERM)
        elif issubclass(kind, RuntimeError) and _LOST.search(str(error)):
            # The process that is lost has the story to tell; that of this one would only hide it in the log.
            print(f"process {self.rank} lost another one", file=sys.stderr, flush=True)
            os._exit(1)

    @contextlib.contextmanager
    def gradients(self, model: nn.Module, shared: bool) -> Iterator[None]:
        """Add up the gradients of a model that `parallel` returned, and take their means over processes if `shared`."""
        with contextlib.nullcontext() if shared or self.world_size == 1 else model.no_sync():
            yield

    def parallel(self, model: nn.Module) -> nn.Module:
        """Return the model to call in training, whose gradients and batch-norm statistics are the whole batch's.

        Gradients are means over processes, so that a process scales its loss by `world_size`. The weights become those
        of rank 0. From then on `model` itself, too, must run in training mode in all processes at once. Inputs stay
        where they are, lengths on the CPU.
        """
        if self.world_size == 1:
            return model
        for module in model.modules():
            if hasattr(module, "together"):  # statistics over all processes, ser.nets.frame_norm
                module.together = True
        # With device_ids it would move all inputs to the GPU.
        return nn.parallel.DistributedDataParallel(model, forward_sync_buffers=False)
