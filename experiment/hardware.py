"""The machine that a run computes on: what it is, which numbers it computes fastest with, how it allocates memory."""

import ctypes
import platform
import sys
import typing
from typing import Literal

import torch

Precision = Literal["32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"]
"""The numbers to compute with, as Lightning calls them."""

# Names and numbers of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def configure_malloc() -> bool:
    """Tell glibc's allocator, for the whole process, to reuse freed memory. Returns False where the allocator isn't glibc's.

    Every large tensor of a training step is freed and asked for again in the next. By default glibc maps each one anew, and the
    kernel has to clear its pages again: a seventh to a third of a step's time where it was measured
    (``python -m benchmarks alexnet_processes``).
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    options = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 << 20}
    return all([mallopt(name, value) == 1 for name, value in options.items()])


def choose_precision(asked: str) -> Precision:
    """Return the precision that the setting ``trainer.precision`` asks for, of which ``auto`` is ``best_precision``."""
    return best_precision() if asked == "auto" else typing.cast(Precision, asked)


def best_precision() -> Precision:
    """Return ``bf16-mixed`` where the GPU, or without one the CPU, has instructions for bfloat16, else ``32-true``."""
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return "bf16-mixed" if native else "32-true"


def best_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def describe_hardware() -> str:
    """Describe the system, its processor and its threads or GPUs."""
    device = f"{torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        device = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"{platform.system()} {platform.machine()}, {describe_processor()}, {device}"


def describe_processor() -> str:
    """Return the processor's name, with family and model where Linux tells them."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = [line.partition(":") for line in file if ":" in line]
    except OSError:
        return platform.processor() or "unknown processor"
    entries = {name.strip(): value.strip() for name, _, value in lines}
    name = entries.get("model name", platform.processor() or "unknown processor")
    return f"{name} (family {entries['cpu family']}, model {entries['model']})" if "cpu family" in entries else name
