"""Several processes that train one network: who they are and what they tell each other.

utils/launch.sh starts them; each runs the same program and takes its share of every batch.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from ser.base.errors import SerError
from ser.base.processes import die_with_parent
from ser.nets.frame_norm import FrameNorm

# A lost peer's connections break at once; this is for one that hangs, or whose machine went without a word.
_SILENCE = timedelta(minutes=2)
_LOADING = timedelta(hours=2)  # while one process of a node reads the features for all

_LOST = re.compile(r"gloo|NCCL|[Cc]onnection (closed|reset)|Broken pipe|[Tt]imed out")


class World:
    """The processes that train one network together; most often a process alone, which then asks nobody.

    Attributes:
        rank, size: of this process, and of all.
        node: of this process.
        local_rank: of this process among those of its node, and the number of its GPU.
    """

    def __init__(self) -> None:
        """The world that torchrun's environment tells of; without one, this process alone."""
        self.rank, self.size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.node, self.local_rank = int(os.environ.get("GROUP_RANK", 0)), int(os.environ.get("LOCAL_RANK", 0))
        if self.size > 1:
            die_with_parent(os.getppid(), signal.SIGKILL)  # a launcher that is killed leaves nobody behind who writes

    def join(self, device_type: str) -> None:
        """Meet the other processes, which must be done before anything else here is used.

        Args:
            device_type: `cuda` talks by NCCL, `cpu` by gloo.
        """
        if self.size == 1:
            return
        if device_type == "cuda":
            torch.cuda.set_device(self.local_rank)
        dist.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=_SILENCE)
        # For words between the processes, so that these neither wait for a GPU nor make it wait.
        self._words = dist.new_group(backend="gloo", timeout=_SILENCE)
        self._loading = dist.new_group(backend="gloo", timeout=_LOADING)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def leads_node(self) -> bool:
        """Whether this process is the one that reads for its node."""
        return self.local_rank == 0

    def wait(self) -> None:
        """For all to be here, with the patience that reading features takes."""
        if self.size > 1:
            dist.barrier(self._loading)

    def tell(self, value: Any) -> Any:
        """The value that the leading process has."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, group=self._words)
        return values[0]

    def any(self, *flags: bool) -> list[bool]:
        """Each flag: whether any process has raised it."""
        if self.size == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(raised, dist.ReduceOp.MAX, self._words)
        return raised.bool().tolist()

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Element by element, over all processes."""
        if self.size == 1:
            return values
        total = torch.from_numpy(values.copy())
        dist.all_reduce(total, group=self._words)
        return total.numpy()

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if self.size == 1:
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

    def parallel(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model to call in training: gradients and batch-norm statistics are those of the whole batch.

        Gradients are means over processes, so that a process scales its loss by `size`. The weights are the leading
        process's. From then on `model` itself, too, must run in training mode in all processes at once.
        """
        if self.size == 1:
            return model
        for module in model.modules():
            if isinstance(module, FrameNorm):
                module.together = True
        devices = [device] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=devices, forward_sync_buffers=False)
