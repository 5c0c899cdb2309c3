"""The terminal: a bar for the study and one for each open run; lines instead where the output is no terminal."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from study.config import StudyConfig
from study.names import objective_label, short_label
from study.runs import Role, Run, State
from study.table import duration, show
from study.terminal.pace import Pace
from wake2vec import Audit, RunConfig
from wake2vec import Progress as Record

NAME_LETTERS = 16
"""Room for `trial 7, seed 43`."""
WIDTH = 80


class Bars:
    """Watches a study: use as a context, which draws and removes the bars."""

    def __init__(self, config: StudyConfig, console: Console) -> None:
        self._config = config
        self._console = console
        self._bars = Progress(
            TextColumn(f"{{task.description:<{NAME_LETTERS}}}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figure]:<12}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._study = self._bars.add_task("study", total=config.study.trials, figure="")
        self._runs: dict[str, TaskID] = {}
        """A bar of each open run, under its name."""
        self._fresh: set[str] = set()
        """The open runs of whose progress nothing is known yet."""
        self._threads: int | None = None
        self._pace = Pace(config)
        self._has_told = False
        """Whether it was said how long the study takes."""
        self._ended = 0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def study_started(self, audit: Audit) -> None:
        self._console.print(
            f"vocabulary: {audit.base_vocabulary:,} tokens and {audit.words_added:,} new ones, of which "
            f"{audit.unseen_share:.0%} never occur in the\ntraining text; new tokens cut {audit.words_cut_share:.1%} "
            "of the text's words inside",
            highlight=False,
        )

    def remeasuring(self, what: str) -> None:
        self._console.print(what, highlight=False)

    def threads_chosen(self, threads: int, seconds: Mapping[int, float]) -> None:
        """Told when it changes."""
        self._pace.timed(seconds[threads])
        if threads != self._threads:
            measured = ", ".join(f"{count}: {duration(taken)}" for count, taken in seconds.items())
            self._console.print(f"threads: {threads} (a pass takes with {measured})", highlight=False)
        self._threads = threads

    def run_started(self, run: Run, run_config: RunConfig, ended: int) -> None:
        name, what, steps = run.label, "", run_config.train.steps
        self._ended = ended
        self._bars.update(self._study, completed=ended)
        if run.role is Role.TRIAL:
            setting = ", ".join(f"{short_label(key)} {show(run.params[key])}" for key in self._config.study.space)
            what = f": {'Phase 1 baseline: ' if run.is_baseline else ''}{setting}"
        left = self._left()
        self._console.print(f"{name}{what}{left and f' ({left})'}", highlight=False)
        self._pace.begin(name, steps, is_companion=run.role is not Role.TRIAL)
        self._fresh.add(name)
        self._runs[name] = self._bars.add_task(name[:NAME_LETTERS], total=steps, figure="")

    def progressed(self, name: str, record: Record) -> None:
        loss = record.numbers.get("training.loss")
        steps_before = record.step - (loss is not None)
        if name in self._fresh and steps_before:
            self._console.print(f"  {name} goes on from step {steps_before}", highlight=False)
        self._fresh.discard(name)
        self._pace.trained(name, record.step)
        if not self._has_told and (left := self._left()):
            self._console.print(f"  {left}, by its first steps", highlight=False)
        self._bars.update(self._runs[name], completed=record.step)
        if loss is not None:
            self._bars.update(self._runs[name], figure=f"loss {loss:.3f}")

    def run_ended(self, run: Run) -> None:
        if run.role is Role.TRIAL:
            self._ended += 1
            self._bars.update(self._study, completed=self._ended)
        name = run.label
        texts = {State.STOPPED: f"stopped, {run.reason}", State.FAILED: f"failed: {run.reason}"}
        text = texts.get(run.state) or self._told(run.values)
        line = f"  {name}: {text}"
        self._console.print(line if len(line) <= WIDTH else f"  {name}:\n    {text}", highlight=False)
        self._pace.end(name)
        self._fresh.discard(name)
        self._bars.remove_task(self._runs.pop(name))

    def _left(self) -> str:
        seconds = self._pace.left_s(self._ended)
        self._has_told |= seconds is not None
        return "" if seconds is None else f"about {duration(max(round(seconds), 1))} left"

    def _told(self, values: tuple[float, ...]) -> str:
        labels = map(objective_label, self._config.study.objectives)
        return ", ".join(f"{label} {show(value)}" for label, value in zip(labels, values, strict=True))
