import platform
import subprocess
import sys

import pytest

FREED, LARGEST = 60 * 2**20, 20 * 2**20
BYTES_KEPT = f"""
import ctypes, sys, torch
from wake2vec.training.device import keep_freed_memory

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]

if sys.argv[1] == "keep":
    keep_freed_memory()
tensors = [torch.ones({LARGEST} // 4) for _ in range({FREED // LARGEST})]
del tensors
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo2
print(libc.mallinfo2().fordblks)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_the_memory_of_freed_tensors_stays_with_the_process() -> None:
    kept = {}
    for how in ("stock", "keep"):
        command = [sys.executable, "-c", BYTES_KEPT, how]
        kept[how] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert kept["stock"] < LARGEST < FREED <= kept["keep"]
