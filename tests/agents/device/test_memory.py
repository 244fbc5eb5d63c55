"""Memory that is freed within the block is reused instead of being returned to the system."""

import json
import platform
import subprocess
import sys

import pytest

from agents.device import keep_freed_memory
from configs import PROJECT

# In a process of its own: the heap of this one depends on earlier tests.
FIGURES = """
import json, resource, torch
from agents.device import keep_freed_memory

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize() / 2**20

def pages_found():
    for _ in range(6):
        torch.ones(48 * 2**18)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(48 * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

outside = pages_found()
start = resident()
with keep_freed_memory():
    within = pages_found()
    small = [bytearray(100) for _ in range(100_000)]  # so that freed memory is not at the end of the heap
    torch.ones(48 * 2**18)
    kept = resident() - start
print(json.dumps([outside, within, kept, resident() - start]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_48_megabytes_are_kept_within_the_block_and_returned_at_its_end() -> None:
    done = subprocess.run([sys.executable, "-c", FIGURES], cwd=PROJECT, capture_output=True, text=True, check=True)

    outside, within, megabytes_within, megabytes_after = json.loads(done.stdout)
    # One per two megabytes, if all pages are huge pages.
    assert outside >= 24
    assert within == 0
    assert megabytes_within > 48
    # The small objects, about 16 MB, stay.
    assert megabytes_after < megabytes_within - 40


def test_exceptions_are_propagated() -> None:
    with pytest.raises(ValueError, match="inside"), keep_freed_memory():
        raise ValueError("inside")
