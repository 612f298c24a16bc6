"""glibc's allocator as a process finds it, for the side of a comparison that does nothing about it."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

from lightning_modules.machine import keep_freed_memory

# mallopt(3): trim threshold, top pad, number of maps, with glibc's own values
_DEFAULTS = {-1: 128 << 10, -2: 128 << 10, -4: 65536}


@contextlib.contextmanager
def default_allocator() -> Iterator[None]:
    """Within, freed memory goes back to the system as by default; what was kept before is given back first."""
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        yield
        return
    for option, value in _DEFAULTS.items():
        libc.mallopt(option, value)
    libc.malloc_trim(0)
    yield
    keep_freed_memory()
