"""The device: in which type it multiplies, how far that may move the numbers, how its memory is kept."""

import ctypes
import platform

import torch

from wake2vec.config import DeviceName, Precision
from wake2vec.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

LOSS_TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
"""Largest relative difference of a training loss from the plain float32 recipe's, over the first 50 steps."""

START_LOSS_SCALE = {torch.float32: 1.0, torch.float16: 2.0**16, torch.bfloat16: 1.0}
"""What the gradient of the loss is multiplied by on its way back: float16 would lose what is below 6e-8."""


def device_for(name: DeviceName = "auto") -> torch.device:
    """The GPU if there is one that CUDA knows and `cpu` isn't asked for, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() and name != "cpu" else "cpu")


def check_device(name: DeviceName) -> None:
    """Where something is to be trained; what was trained on a GPU may be read and exported anywhere.

    Raises:
        ConfigError: a GPU is demanded, and there is none that CUDA knows.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "machine.device=cuda needs a GPU that CUDA knows: torch finds none on this machine; take one that has it, "
            "or give machine.device=auto"
        )


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The type that `precision` stands for on this device.

    `auto` takes bfloat16 where it is native (GPUs from compute capability 8.0, CPUs with AMX or AVX512-BF16, which
    multiply it about twice as fast as float32 or faster), else float16 on a GPU (a Tesla T4 has no bfloat16), else
    float32: other CPUs multiply no half precision faster.
    """
    if precision != "auto":
        return DTYPES[precision]
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if native else torch.float16
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def attention_for(dtype: torch.dtype, device: torch.device) -> str | None:
    """transformers' name of the attention that is quickest here; None: the one that it takes for the model by itself.

    That is torch's fused attention for all models that have it. It takes ten times as long backwards in half precision
    on a CPU as in float32: there the plain products are quicker.
    """
    return "eager" if device.type == "cpu" and dtype is not torch.float32 else None


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
