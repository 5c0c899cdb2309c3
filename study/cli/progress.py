"""A study that runs: a bar for it and one for each open run, lines where the output is no terminal; and its pace."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from study.config import StudyConfig
from study.format import duration, objective_label, short_label, shown
from study.runs.run import Role, Run, State, references
from study.settings import Range
from study.show.sentences import tying_told
from study.show.table import WIDTH
from wake2vec import Audit, RunConfig
from wake2vec import Progress as Record

NAME_LETTERS = 16
"""Room for `trial 7, seed 43`."""
PASS_TOKENS = 512
"""Of the pass that is timed before a run (`wake2vec.training.machine`)."""
FIRST_STEPS = 5
"""Of the first run, before they tell how long the study takes."""
BESIDE_STEPS = 1.5
"""A run's time in that of its steps, before it is known: evaluations, samples, pictures."""


class Bars:
    """Watches a study; the bars are seen while its `drawn`, a context, is open."""

    def __init__(self, config: StudyConfig, console: Console) -> None:
        self._config = config
        self._console = console
        self.drawn = Progress(
            TextColumn(f"{{task.description:<{NAME_LETTERS}}}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figure]:<12}", markup=False),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._study = self.drawn.add_task("study", total=config.study.trials, figure="")
        self._runs: dict[str, TaskID] = {}
        """A bar of each open run, under its name."""
        self._fresh: set[str] = set()
        """The open runs of whose progress nothing is known yet."""
        self._threads: int | None = None
        self._pace = Pace(config)
        self._has_told = False
        """Whether it was said how long the study takes."""
        self._ended = 0
        self._has_told_head = False

    def study_started(self, audit: Audit) -> None:
        self._console.print(
            f"vocabulary: {audit.base_vocabulary:,} tokens and {audit.words_added:,} new ones, of which "
            f"{audit.unseen_share:.0%} never occur in the\ntraining text; new tokens cut {audit.words_cut_share:.1%} "
            "of the text's words inside"
        )

    def remeasuring(self, what: str) -> None:
        self._console.print(what)

    def mlflow_lacks(self, what: str) -> None:
        self._console.print(what)

    def waiting(self, what: str) -> None:
        self._console.print(what)

    def sampler_changed(self, sampler: str, trials: int) -> None:
        why = (
            "as aimed trials have one objective"
            if sampler == "gp"
            else "whose number or front the Gaussian process can't bear"
        )
        self._console.print(f"sampler: {sampler} from here on, after {trials:,} trials, {why} (study.sampler=auto)")

    def threads_chosen(self, threads: int, seconds: Mapping[int, float]) -> None:
        """Told when it changes."""
        self._pace.timed(seconds[threads])
        if threads != self._threads:
            measured = ", ".join(f"{count}: {duration(taken)}" for count, taken in seconds.items())
            self._console.print(f"threads: {threads} (a pass takes with {measured})")
        self._threads = threads

    def run_started(self, run: Run, run_config: RunConfig, ended: int) -> None:
        name, what, steps = run.label, "", run_config.train.steps
        self._ended = ended
        self.drawn.update(self._study, completed=ended)
        if run.role is Role.TRIAL:
            setting = ", ".join(f"{short_label(key)} {shown(run.params[key])}" for key in self._config.study.space)
            what = f": {'Phase 1 baseline: ' if run.is_baseline else ''}{setting}"
        left = self._left()
        self._console.print(f"{name}{what}{left and f' ({left})'}")
        self._pace.begin(name, steps, is_companion=run.role is not Role.TRIAL)
        self._fresh.add(name)
        self._runs[name] = self.drawn.add_task(name[:NAME_LETTERS], total=steps, figure="")

    def progressed(self, name: str, record: Record) -> None:
        loss = record.numbers.get("training.loss")
        steps_before = record.step - (loss is not None)
        if name in self._fresh and steps_before:
            self._console.print(f"  {name} goes on from step {steps_before}")
        self._fresh.discard(name)
        self._pace.trained(name, record.step)
        if not self._has_told and (left := self._left()):
            self._console.print(f"  {left}, by its first steps")
        self._tell_head(name, record)
        self.drawn.update(self._runs[name], completed=record.step)
        if loss is not None:
            self.drawn.update(self._runs[name], figure=f"loss {loss:.3f}")

    def _tell_head(self, name: str, record: Record) -> None:
        before = record.numbers.get("validation.start_loss_own_head")
        if before is not None and not self._has_told_head:
            self._has_told_head = True
            told = tying_told(before, record.numbers.get("validation.loss"))
            self._console.print(f"  {name}: head: {told}; model.head=native keeps it")

    def restarted(self, name: str, from_checkpoint: bool) -> None:
        how = "goes on elsewhere from its checkpoint" if from_checkpoint else "begins anew elsewhere, from step 0"
        self._console.print(f"  {name} has lost its worker, and {how}")
        self._fresh.add(name)

    def run_ended(self, run: Run) -> None:
        if run.role is Role.TRIAL:
            self._ended += 1
            self.drawn.update(self._study, completed=self._ended)
        name = run.label
        texts = {State.STOPPED: f"stopped, {run.reason}", State.FAILED: f"failed: {run.reason}"}
        text = texts.get(run.state) or self._told(run.values)
        line = f"  {name}: {text}"
        self._console.print(line if len(line) <= WIDTH else f"  {name}:\n    {text}")
        self._pace.end(name)
        self._fresh.discard(name)
        self.drawn.remove_task(self._runs.pop(name))

    def _left(self) -> str:
        seconds = self._pace.left_s(self._ended)
        self._has_told |= seconds is not None
        return "" if seconds is None else f"about {duration(max(round(seconds), 1))} left"

    def _told(self, values: tuple[float, ...]) -> str:
        labels = map(objective_label, self._config.study.objectives)
        return ", ".join(f"{label} {shown(value)}" for label, value in zip(labels, values, strict=True))


@contextlib.contextmanager
def telling(console: Console) -> Iterator[Callable[[str], None]]:
    """Says what is done now, in one line that goes away, with the time; a line each where the output is no terminal."""
    if not console.is_terminal:
        yield lambda what: console.print(f"  {what}")
        return
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    # What libraries write to stderr meanwhile stays as they write it.
    with Progress(*columns, console=console, transient=True, redirect_stderr=False) as progress:
        task = progress.add_task("")
        yield lambda what: progress.update(task, description=what)


class Pace:
    """What is left of a study, from what its runs took so far; before the first ended, from its steps or one pass."""

    def __init__(self, config: StudyConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._step_s: float | None = None
        self._steps: list[int] = []
        self._seconds = 0.0
        self._open: dict[str, _Run] = {}
        self._companions_left = companion_runs(config)

    def timed(self, pass_s: float) -> None:
        """A training pass took so long."""
        if not self._seconds:
            batch_tokens = self._config.run.train.batch_blocks * self._config.run.corpus.block_tokens
            self._step_s = BESIDE_STEPS * pass_s * batch_tokens / PASS_TOKENS

    def begin(self, name: str, steps: int, is_companion: bool = False) -> None:
        """A run of so many steps begins."""
        self._open[name] = _Run(steps, self._clock(), is_companion)

    def trained(self, name: str, step: int) -> None:
        """The run has come to that step: it isn't one whose result is only read."""
        run, now = self._open[name], self._clock()
        run.has_trained, run.done = True, max(run.done, step)
        if step and run.stepped is None:
            run.stepped = (step, now)
        if run.stepped is not None and not self._seconds and step - run.stepped[0] >= FIRST_STEPS:
            self._step_s = BESIDE_STEPS * (now - run.stepped[1]) / (step - run.stepped[0])

    def end(self, name: str) -> None:
        """The run has ended."""
        run = self._open.pop(name)
        self._companions_left -= run.is_companion
        if run.has_trained:
            self._seconds += self._clock() - run.started
            self._steps.append(run.steps)
            self._step_s = self._seconds / sum(self._steps)

    def left_s(self, ended: int) -> float | None:
        """Seconds, the open runs included, when so many trials have ended; None: nothing was timed yet."""
        if self._step_s is None:
            return None
        study = self._config.study
        usual = sum(self._steps) / len(self._steps) if self._steps else mean_steps(self._config)
        trials = max(study.trials - ended, 0)
        steps = trials * usual + max(self._companions_left, 0) * baseline_steps(self._config)
        done = sum(run.done for run in self._open.values())
        return max(steps - done, 0) * self._step_s / study.workers


@dataclass
class _Run:
    """A run that is open."""

    steps: int
    started: float
    is_companion: bool
    done: int = 0
    """Its last step."""
    has_trained: bool = False
    stepped: tuple[int, float] | None = None
    """Its first step since it began, and when it was done."""


def companion_runs(config: StudyConfig) -> int:
    """Runs that are no trials: references, and baseline and finalists with the other seeds."""
    return len(references(config)) + (1 + config.study.finalists) * (config.study.seeds - 1)


def baseline_steps(config: StudyConfig) -> int:
    return config.run_config(config.study.baseline).train.steps


def mean_steps(config: StudyConfig) -> float:
    """Steps of a trial on average, if the sampler drew from the space at random."""
    space = config.study.space.get("train.steps")
    if space is None:
        return config.run.train.steps
    if not isinstance(space, Range):
        return sum(float(choice) for choice in space.choices) / len(space.choices)
    if space.log:
        return (space.high - space.low) / math.log(space.high / space.low)
    return (space.low + space.high) / 2
