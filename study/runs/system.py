"""The load of the machine while a trial runs: memory, processor, GPU, every few seconds.

MLflow's own monitor isn't used: it keeps its samples in MLflow alone, under steps and times of its own, so that a trial
that goes on after a crash would have them twice, and a database made anew from the work folders not at all. Here they
are records like those of the training, in a file of the work folder, under the names that MLflow's page of system
metrics looks for. No thread either: a sample is taken at a record of the trial, if the last one is old enough.
"""

import time
from collections.abc import Callable

import psutil

from wake2vec import PROGRESS, Numbers, Progress, ProgressLog, WorkFolder

SYSTEM = "system.jsonl"
RECORDS = (PROGRESS, SYSTEM)
"""Of a work folder: of the training, of the machine."""
SECONDS_BETWEEN_SAMPLES = 10.0
MEGABYTE = 1e6


class SystemSampler:
    """Samples beside one trial, kept in its work folder; the first after ten seconds."""

    def __init__(self, work: WorkFolder, clock: Callable[[], float] = time.monotonic) -> None:
        self._work = work
        self._clock = clock
        self._sampled_at = clock()
        self._log: ProgressLog | None = None
        self._process = psutil.Process()
        psutil.cpu_percent()  # shares are since the last call

    def __call__(self, record: Progress) -> list[Progress]:
        """The sample that this record brings about, if any."""
        if self._clock() - self._sampled_at < SECONDS_BETWEEN_SAMPLES:
            return []
        self._sampled_at = self._clock()
        if self._log is None:
            self._log = self._work.start_progress(SYSTEM)
        return [self._log.add(record.step, self._numbers())]

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def _numbers(self) -> Numbers:
        memory = psutil.virtual_memory()
        return {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/process_memory_megabytes": self._process.memory_info().rss / MEGABYTE,
            "system/system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system/system_memory_usage_percentage": memory.percent,
            **gpu_numbers(),
        }


def gpu_numbers() -> Numbers:
    """Memory that is taken on the GPU in use, by whomever; nothing on a machine without one."""
    import torch  # who reads samples needs none of it

    if not torch.cuda.is_available():
        return {}
    free, total = torch.cuda.mem_get_info()
    return {
        "system/gpu_0_memory_usage_megabytes": (total - free) / MEGABYTE,
        "system/gpu_0_memory_usage_percentage": 100 * (total - free) / total,
    }
