"""The terminal: a bar for the study and one for the trial; lines instead where the output is no terminal."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from study.config import StudyConfig
from study.names import objective_label, short_label
from study.table import duration, show
from study.terminal.pace import Pace
from study.trials import FinishedTrial, StoppedTrial
from wake2vec import Audit, RunConfig, flatten
from wake2vec import Progress as Record


class Bars:
    """Watches a study: use as a context, which draws and removes the bars."""

    def __init__(self, config: StudyConfig, console: Console) -> None:
        self._config = config
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figure]:<12}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._study = self._bars.add_task("study", total=config.study.trials, figure="")
        self._trial = self._bars.add_task("trial", total=1, figure="", visible=False)
        self._is_fresh = True
        """Whether nothing is known yet of the trial's progress."""
        self._threads: int | None = None
        self._pace = Pace(config)
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

    def threads_chosen(self, threads: int, seconds: Mapping[int, float]) -> None:
        """Told when it changes."""
        self._pace.timed(seconds[threads])
        if threads != self._threads:
            measured = ", ".join(f"{count}: {duration(taken)}" for count, taken in seconds.items())
            self._console.print(f"threads: {threads} (a pass takes with {measured})", highlight=False)
        self._threads = threads

    def trial_started(self, number: int, run_config: RunConfig, ended: int) -> None:
        knobs = flatten(run_config.model_dump())
        setting = ", ".join(f"{short_label(key)} {show(knobs[key])}" for key in self._config.study.space)
        what = "Phase 1 baseline: " if number == 0 else ""
        self._ended = ended
        self._pace.begin(run_config.train.steps)
        self._console.print(f"trial {number}: {what}{setting}{self._left()}", highlight=False)
        self._is_fresh = True
        self._bars.update(self._study, completed=ended)
        self._bars.reset(
            self._trial, total=run_config.train.steps, description=f"trial {number}", figure="", visible=True
        )

    def progressed(self, record: Record) -> None:
        loss = record.numbers.get("training.loss")
        steps_before = record.step - (loss is not None)
        if self._is_fresh and steps_before:
            self._console.print(f"  goes on from step {steps_before}", highlight=False)
        self._is_fresh = False
        self._pace.trained()
        self._bars.update(self._trial, completed=record.step)
        if loss is not None:
            self._bars.update(self._trial, figure=f"loss {loss:.3f}")

    def companion_started(self, name: str, run_config: RunConfig) -> None:
        self._ended = self._config.study.trials
        self._console.print(f"{name}{self._left()}", highlight=False)
        self._pace.begin(run_config.train.steps, is_companion=True)
        self._is_fresh = True
        self._bars.reset(self._trial, total=run_config.train.steps, description=name[:10], figure="", visible=True)

    def companion_ended(self, outcome: tuple[float, ...] | str) -> None:
        self._console.print(
            f"  {f'failed: {outcome}' if isinstance(outcome, str) else self._told(outcome)}", highlight=False
        )

    def trial_ended(self, number: int, outcome: FinishedTrial | StoppedTrial | str) -> None:
        if isinstance(outcome, str):
            text = f"failed: {outcome}"
        elif isinstance(outcome, StoppedTrial):
            text = f"stopped, {outcome.reason}"
        else:
            text = self._told(outcome.values)
        self._console.print(f"  {text}", highlight=False)
        self._bars.advance(self._study)

    def _left(self) -> str:
        seconds = self._pace.left_s(self._ended)
        return "" if seconds is None else f" (about {duration(max(seconds, 1.0))} left)"

    def _told(self, values: tuple[float, ...]) -> str:
        labels = map(objective_label, self._config.study.objectives)
        return ", ".join(f"{label} {show(value)}" for label, value in zip(labels, values, strict=True))
