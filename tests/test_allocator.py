import platform
import resource
import subprocess
import sys

import pytest

PAGES_TOUCHED = f"""
import resource, sys, torch
from wake2vec.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()

def pages_of_rounds(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        tensors = [torch.ones(5 * 2**20) for _ in range(3)]
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

pages_of_rounds(3)
print(pages_of_rounds(20) * {resource.getpagesize()} / (20 * 3 * 20 * 2**20))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_freed_memory_is_taken_again_without_new_pages() -> None:
    shares = {}
    for how in ("stock", "keep"):
        command = [sys.executable, "-c", PAGES_TOUCHED, how]
        shares[how] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert shares["keep"] < 0.25 * shares["stock"]
