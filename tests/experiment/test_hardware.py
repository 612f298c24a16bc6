"""The machine: its description, its precision and its memory."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from experiment import hardware

ROOT = Path(__file__).parents[2]
FAULTS = """
import resource, sys, torch
from experiment.hardware import configure_malloc
if sys.argv[1] == "keep" and not configure_malloc():
    sys.exit(3)
for turn in range(24):
    # The first half may still find new places: an aligned allocation asks for a few bytes more than it later frees, so its
    # place fits the next one only once its neighbours are free too. How soon depends on what the imports have left where.
    if turn == 12:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's; elsewhere nothing is done")
def test_freed_memory_is_used_again_without_asking_the_system() -> None:
    faults = {
        way: int(
            subprocess.run([sys.executable, "-c", FAULTS, way], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        )
        for way in ("keep", "leave")
    }
    assert faults["leave"] > 1000
    assert faults["keep"] < faults["leave"] / 5


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    assert hardware.best_precision() == ("bf16-mixed" if native else "32-true")


def test_the_machine_is_described() -> None:
    description = hardware.describe_hardware()
    assert description.startswith(platform.system())
    assert hardware.describe_processor() in description
    assert description.endswith("threads") or torch.cuda.is_available()
    assert len(hardware.describe_processor()) > 3
