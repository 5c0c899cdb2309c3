"""Who works runs off and who looks on, as the driver sees them; and the plainest executor, one run at a time here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from study.engine.worker import Event, Outcome, Suspended, Task, Worker, alone, share_of_cores
from study.runs.run import Run
from wake2vec import Audit, Progress, RunConfig


class Watcher(Protocol):
    """Who looks on while a study runs; who inherits this need only write what it looks at."""

    def study_started(self, audit: Audit) -> None:
        return

    def remeasuring(self, what: str) -> None:
        """Figures that are new since runs were trained are measured, or can't be: in words."""
        return

    def mlflow_lacks(self, what: str) -> None:
        """MLflow can't be told for now, or was made anew: in words. The study goes on, and it is brought later."""
        return

    def waiting(self, what: str) -> None:
        """The driver has nothing to do for now, or can't: in words, once for each reason."""
        return

    def threads_chosen(self, threads: int, seconds: Mapping[int, float]) -> None:
        """`seconds` of a pass by number of threads, as measured at the beginning of a run."""
        return

    def run_started(self, run: Run, run_config: RunConfig, ended: int) -> None:
        """`ended` trials had ended before it."""
        return

    def sampler_changed(self, sampler: str, trials: int) -> None:
        """`sampler` proposes from here on: `auto` changes where the trials, so many by now, or their front are more
        than `gp` bears."""
        return

    def progressed(self, name: str, record: Progress) -> None:
        """`name` is the run's label."""
        return

    def restarted(self, name: str, from_checkpoint: bool) -> None:
        """The run has lost its worker, and another has it; `name` is its label."""
        return

    def run_ended(self, run: Run) -> None:
        """It is finished, stopped or failed."""
        return


class Scheduler(Protocol):
    """Whom an executor asks for work and tells what came of it, always in the thread that called it."""

    def next_task(self) -> Task | None:
        """None: there is nothing to do now, perhaps when another has ended.

        Raises:
            TrialStopped: the study is to stop, and nothing is open.
        """

    def told(self, task: Task, event: Event) -> None: ...

    def ended(self, task: Task, outcome: Outcome) -> None: ...

    def stop(self) -> bool:
        """Whether open runs are to be left with a checkpoint."""

    @property
    def deadline(self) -> float | None:
        """By when they must have been left, on the clock of `time.monotonic`."""


class Executor(Protocol):
    """A context, in which `work` has tasks run until the scheduler has none and all have ended."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def work(self, scheduler: Scheduler) -> None: ...


class InProcess:
    """One run at a time, in the process that calls; `folder` is the results folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._worker = Worker(folder, share_of_cores(1))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        return

    def work(self, scheduler: Scheduler) -> None:
        while (task := scheduler.next_task()) is not None:
            with alone(self._folder / "cache" / f"{task.digest}.lock", scheduler.stop) as is_alone:
                outcome = self._worker.run(task, _teller(scheduler, task), scheduler.stop) if is_alone else Suspended()
            scheduler.ended(task, outcome)


def _teller(scheduler: Scheduler, task: Task) -> Callable[[Event], None]:
    return lambda event: scheduler.told(task, event)
