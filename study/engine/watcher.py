"""Who looks on while a study runs, such as the terminal: what a driver tells, and when."""

from collections.abc import Mapping
from typing import Protocol

from study.runs.run import Run
from wake2vec import Audit, Progress, RunConfig


class Watcher(Protocol):
    """Who looks on while a study runs; who inherits this need only write what it looks at."""

    def study_started(self, audit: Audit) -> None:
        return

    def remeasuring(self, what: str) -> None:
        """Figures that are new since runs were trained are measured, or can't be: in words."""
        return

    def threads_chosen(self, threads: int, seconds: Mapping[int, float]) -> None:
        """`seconds` of a pass by number of threads, as measured at the beginning of a run."""
        return

    def run_started(self, run: Run, run_config: RunConfig, ended: int) -> None:
        """`ended` trials had ended before it."""
        return

    def progressed(self, name: str, record: Progress) -> None:
        """`name` is the run's label."""
        return

    def run_ended(self, run: Run) -> None:
        """It is finished, stopped or failed."""
        return
