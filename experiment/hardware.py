"""The machine that a run computes on: what it is, which numbers it computes fastest with, how it keeps memory."""

import ctypes
import platform
import sys

import torch

# Names and numbers of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def configure_malloc() -> bool:
    """Tell glibc's allocator, for the whole process, to keep freed memory for the next step. False where that isn't glibc.

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


def best_precision() -> str:
    """``bf16-mixed`` where the GPU, or without one the CPU, multiplies bfloat16 in its own instructions, else ``32-true``."""
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return "bf16-mixed" if native else "32-true"


def describe_hardware() -> str:
    """System, processor and number of threads or GPU, in words."""
    device = f"{torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        device = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"{platform.system()} {platform.machine()}, {describe_processor()}, {device}"


def describe_processor() -> str:
    """The processor's name, family and model where Linux tells them."""
    try:
        with open("/proc/cpuinfo") as file:
            facts = dict(line.strip().partition("\t")[::2] for line in file if ":" in line)
    except OSError:
        return platform.processor() or "unknown processor"
    facts = {name.strip(): value.strip(" :\t") for name, value in facts.items()}
    name = facts.get("model name", platform.processor() or "unknown processor")
    return f"{name} (family {facts['cpu family']}, model {facts['model']})" if "cpu family" in facts else name
