"""Where the network runs, and in which precision."""

from __future__ import annotations

import ctypes

import torch

from ser.base.errors import SerError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def set_up_device(name: str) -> torch.device:
    """The device, with this process set up for it. `auto` is the first GPU if there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise SerError("--device cuda: this torch sees no GPU; use --device cpu, or check nvidia-smi and the driver")
    if name == "cpu":
        _keep_freed_memory()
        # Numbers under 1e-38 are 0: attention that has found its place is full of them, and a step takes twice as long.
        torch.set_flush_denormal(True)
    return torch.device(name)


def _keep_freed_memory() -> None:
    """Have the C library keep large blocks that are freed, for the next layer's tensors.

    glibc would give them back to the system, which clears every page that it hands out again: a quarter of an epoch.
    So a process holds what it once needed until it ends.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


def resolve_precision(precision: str, device: torch.device) -> str:
    """`auto` is bf16 where the device multiplies bf16 natively, else fp32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"
