"""The C library's allocator, told to keep what is freed."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST_KEPT = 2**25
"""32 MB, the most that glibc takes for this limit everywhere: a larger tensor goes back to the system when freed."""


def keep_freed_memory() -> None:
    """Let tensors take memory that earlier ones left, where it would go back to the system and come again page by page.

    On a CPU a step frees and takes many megabytes, and each new page costs a fault: an eighth of a step of the profile
    `tiny` and a third of its validation. Only glibc is told, where it is the C library.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
