"""Memory that is freed while a network learns is used again, not given back."""

import json
import platform
import subprocess
import sys

import pytest

from agents.allocator import freed_memory_kept
from configs import PROJECT

# In a process of its own: what lies where in this one's heap depends on the tests before.
PAGES_FOUND = """
import json, resource, torch
from agents.allocator import freed_memory_kept

def of_another_result():
    for _ in range(6):
        torch.ones(48 * 2**18)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(48 * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

outside = of_another_result()
with freed_memory_kept():
    kept = of_another_result()
print(json.dumps([outside, kept, of_another_result()]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_pages_for_48_megabytes_are_found_once_within_the_block_and_each_time_outside() -> None:
    done = subprocess.run([sys.executable, "-c", PAGES_FOUND], cwd=PROJECT, capture_output=True, text=True, check=True)

    before, kept, after = json.loads(done.stdout)
    assert kept == 0
    # One for each two megabytes, were all pages huge ones.
    assert before >= 24
    assert after >= 24


def test_an_exception_passes() -> None:
    with pytest.raises(ValueError, match="inside"), freed_memory_kept():
        raise ValueError("inside")
