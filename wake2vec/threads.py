"""How many threads a CPU computes fastest with, found by a short measurement.

More threads are not always faster. They wait for each other after every operation: where another program takes one of
two cores, two threads can take three times as long as one (docs/log.md).
"""

import math
import time

import torch
from torch import Tensor

from wake2vec.loss import CHUNK_TOKENS
from wake2vec.material import Material
from wake2vec.model import EmbeddingModel

AVAILABLE_THREADS = torch.get_num_threads()
"""What torch starts with: the machine's cores, or OMP_NUM_THREADS."""
ROUNDS = 3
WORTH_A_THREAD = 0.9
"""More threads are taken where they need at most this share of the time."""


def use_threads(threads: int | None) -> None:
    """Compute with so many threads from now on; None: as before."""
    if threads is not None:
        torch.set_num_threads(threads)


def measure_threads(material: Material, block_tokens: int, most: int) -> dict[int, float]:
    """Seconds of a training pass over some 500 tokens, by number of threads: 1, 2, 4 and so on up to `most`.

    The counts take turns, so that what else the machine does meanwhile meets all of them. Empty where there is nothing
    to choose: on a GPU, or for one thread.
    """
    if material.device.type != "cpu" or most == 1:
        return {}
    counts = [*(2**power for power in range(most.bit_length()) if 2**power < most), most]
    model = EmbeddingModel(material.base.body, material.base_rows, material.base_rows[:1], "all")
    ids = torch.zeros(math.ceil(CHUNK_TOKENS / (block_tokens - 1)), block_tokens, dtype=torch.long)
    before = torch.get_num_threads()
    seconds = dict.fromkeys(counts, 0.0)
    try:
        for count in counts:  # the first pass after a change makes the threads
            _pass_s(model, ids, count)
        for _ in range(ROUNDS):
            for count in counts:
                seconds[count] += _pass_s(model, ids, count) / ROUNDS
    finally:
        torch.set_num_threads(before)
    return seconds


def quickest(seconds: dict[int, float]) -> int | None:
    """The number of threads to take: more only where they are clearly quicker; None: nothing was measured."""
    best = None
    for count in sorted(seconds):
        if best is None or seconds[count] <= WORTH_A_THREAD * seconds[best]:
            best = count
    return best


def _pass_s(model: EmbeddingModel, ids: Tensor, threads: int) -> float:
    torch.set_num_threads(threads)
    started = time.perf_counter()
    model.add_gradients(ids, scale=1.0)
    return time.perf_counter() - started
