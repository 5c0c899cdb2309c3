"""Who looks on while a study runs, such as the terminal: what a driver tells, and when."""

from collections.abc import Mapping
from typing import Protocol

from study.runs import Run
from wake2vec import Audit, Progress, RunConfig


class Watcher(Protocol):
    """Who looks on while a study runs; who inherits this need only write what it looks at."""

    def study_started(self, audit: Audit) -> None:
        return

    def threads_chosen(self, threads: int, seconds: Mapping[int, float]) -> None:
        """`seconds` of a pass by number of threads, as measured at the beginning of a run."""
        return

    def trial_started(self, number: int, run_config: RunConfig, ended: int) -> None:
        return

    def progressed(self, name: str, record: Progress) -> None:
        """`name` is `trial 7`, or a companion's."""
        return

    def trial_ended(self, run: Run) -> None:
        """It is finished, stopped or failed."""
        return

    def companion_started(self, name: str, run_config: RunConfig) -> None:
        return

    def companion_ended(self, name: str, outcome: tuple[float, ...] | str) -> None:
        """`outcome` has the objective values, or the reason where it failed."""
        return
