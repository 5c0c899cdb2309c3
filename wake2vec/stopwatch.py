"""A stopwatch: wall time by part."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator


class Stopwatch:
    """`with watch("train"): ...` adds the time of the block to the part `train`."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._parts: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._parts[part] += time.perf_counter() - started

    @property
    def seconds(self) -> dict[str, float]:
        """Each part's time so far, and `total` since the stopwatch was made."""
        return {**self._parts, "total": time.perf_counter() - self._started}
