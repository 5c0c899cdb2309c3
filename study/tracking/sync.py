"""What work folders and study database hold, brought to MLflow and to pictures. Idempotent: again changes nothing."""

import logging
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from study.charts.canvas import save_png
from study.charts.run_charts import Side, embedding_figure
from study.charts.study_charts import draw_study
from study.config import StudyConfig
from study.format import row_of, shown, with_beside
from study.runs.judge import standing
from study.runs.record import StudyRecord
from study.runs.run import Role, Run, State, config_of
from study.runs.system import SYSTEM
from study.show.sentences import sample_text
from study.tracking import MARK, OBJECTIVE, Ended, RunLog, Tracker, objective_key
from study.tracking.index import REMEASURED
from study.tracking.note import experiment_note, study_note
from wake2vec import DamagedError, Numbers, Progress, RunResult, WorkFolder, read_result, result_arrays, write_json

logger = logging.getLogger(__name__)

FILES = ("result.json", "audit.json", "embedding.png", "sample.txt")
"""Of a work folder, what MLflow shows."""
HYPERVOLUME = "hypervolume"
CHOSEN = "chosen/"
"""Before the objectives of the chosen trial, on the study's own run."""


class Projection:
    """Of one study, into the MLflow database beside it, opened when it is first needed.

    `inputs` are the hashes of the study's inputs.
    """

    def __init__(self, config: StudyConfig, folder: Path, inputs: Mapping[str, str]) -> None:
        self.config = config
        self.folder = folder
        self.inputs = dict(inputs)

    @cached_property
    def tracker(self) -> Tracker:
        return Tracker(self.folder, self.config)

    def forget(self) -> None:
        """What was known of MLflow may not hold any more: it is opened anew."""
        self.__dict__.pop("tracker", None)

    def open(self, run: Run, inputs: Mapping[str, str]) -> RunLog:
        """The log of the run in MLflow, where it is marked as running; `inputs` are the hashes of its inputs."""
        return RunLog(self._open(run, inputs))

    def _open(self, run: Run, inputs: Mapping[str, str], anew: bool = False) -> str:
        return self.tracker.open(run, config_of(run, self.config), inputs, self._began(run.digest), anew)

    def _inputs_of(self, run: Run) -> Mapping[str, str]:
        work = self._work(run.digest)
        return read_result(work).fingerprints if work.result_path.exists() else self.inputs

    def ended(self, run: Run, log: RunLog) -> None:
        """A run that came to its end, of whose records `log` has sent a part; nobody opens the picture of a repeat."""
        if self._is_shown(run):
            self._show(run)
        if self._is_told_twice(run, log):
            log = RunLog(self._open(run, self._inputs_of(run), anew=True))
        self._close(run, log)

    def _is_told_twice(self, run: Run, log: RunLog) -> bool:
        """Whether MLflow has a step under another time: of a record that is gone, as when a run is trained again.

        Nothing can be taken out of a run's curves there.
        """
        progress = self._work(run.digest).progress()
        for address in {next(iter(record.numbers)) for record in progress if record.numbers}:
            own = {(record.step, round(record.time_s * 1000)) for record in progress if address in record.numbers}
            last = max(own)  # figures that are measured again stand behind it
            steps = {step for step, _ in own}
            others = self.tracker.points(log.run_id, address) - own
            if any(step in steps and (step, at_ms) < last for step, at_ms in others):
                return True
        return False

    @staticmethod
    def _is_shown(run: Run) -> bool:
        return run.state is State.FINISHED and run.role is not Role.REPEAT

    def _show(self, run: Run) -> None:
        """Pictures are made of arrays; where these are damaged, the run has none, and it is told."""
        try:
            self.show(run)
        except DamagedError as fault:
            logger.warning("%s has no picture: %s", run.label, fault)

    def missing(self, record: StudyRecord) -> None:
        """The runs that ended and that MLflow lacks, or has as they were measured before."""
        # Of all trials: who is no finalist now may have been one.
        repeated = (repeat for trial in record.finished for repeat in record.repeats_of(trial))
        runs = (*record.finished, *record.stopped, *record.failed, *record.all_references, *repeated)
        ended = {run.label: run for run in runs if run.state in (State.FINISHED, State.STOPPED, State.FAILED)}
        known = {label: tags.get(REMEASURED, "") for label, tags in self.tracker.ended_runs(ended).items()}
        for label, run in ended.items():
            work = self._work(run.digest)
            if known.get(label) == self._remeasured(run.digest):
                if self._is_shown(run) and not all((work.path / name).is_file() for name in FILES):
                    self._show(run)
                continue
            log = self.open(run, self._inputs_of(run))
            if label in known:
                log.sent += [*work.progress(), *work.progress(SYSTEM)]
                self.ended(run, log)
            elif all((work.path / name).is_file() for name in FILES):
                self._close(run, log)
            else:
                self.ended(run, log)

    def draw(self, record: StudyRecord) -> list[Path]:
        """The pictures of the study as a whole, for `study`; MLflow isn't touched."""
        return draw_study(record)

    def mark(self, record: StudyRecord) -> None:
        """How each trial stands among the others, and what the study's own run has of figures."""
        choice = record.choice
        runners_up = [trial.number for trial in choice.runners_up]
        self.tracker.mark_trials(
            {
                trial.number: {
                    MARK: ", ".join(standing(trial, record).words),
                    "wake2vec.front": str(trial.number in record.front).lower(),
                    "wake2vec.chosen": str(trial.number == choice.trial.number).lower(),
                    "wake2vec.runner_up": str(trial.number in runners_up).lower(),
                }
                for trial in record.finished
            }
        )
        self.tracker.log_progress(self.tracker.parent, self._story(record))

    def study(self, record: StudyRecord, pictures: Sequence[Path] = ()) -> None:
        """Marks, pictures, note and tags of the study as a whole; without `pictures` they are drawn."""
        pictures = pictures or self.draw(record)
        self.mark(record)
        choice = record.choice
        tags = {
            "wake2vec.front": ", ".join(map(str, sorted(record.front))),
            "wake2vec.chosen": str(choice.trial.number),
            "wake2vec.runners_up": ", ".join(str(trial.number) for trial in choice.runners_up),
            "wake2vec.hypervolume": f"{record.hypervolumes[-1]:.6g}",
            # They change with the choice, which parameters can't.
            **{f"wake2vec.chosen.{knob}": shown(value) for knob, value in choice.trial.params.items()},
        }
        links = self.tracker.links()
        images = [f"get-artifact?path={picture.name}&run_uuid={self.tracker.parent}" for picture in pictures]
        self.tracker.describe_study(
            study_note(record, links, images),
            experiment_note(record, links),
            tags,
            pictures,
        )

    def _story(self, record: StudyRecord) -> list[Progress]:
        """What the study's own run lacks: the chosen trial's objectives, the hypervolume after each trial."""
        chosen: Numbers = {
            objective_key(objective).replace(OBJECTIVE, CHOSEN, 1): value
            for objective, value in zip(self.config.study.objectives, record.choice.trial.values, strict=True)
        }
        held = {name: at[0] for name in chosen if (at := self.tracker.study_figure(name))}
        story = []
        if {name: value for name, (value, _) in held.items()} != chosen:
            later = [time_s + 0.001 for _, time_s in held.values()]  # of two at one time MLflow shows the larger
            # At step 0, for which the UI draws bars.
            story.append(Progress(0, chosen, max([self._ended(record.finished[-1]), *later])))
        known = self.tracker.study_figure(HYPERVOLUME)
        for count, (trial, value) in enumerate(zip(record.finished, record.hypervolumes, strict=True), start=1):
            if count not in known or known[count][0] != value:
                story.append(Progress(count, {HYPERVOLUME: value}, self._ended(trial)))
        return story

    def _ended(self, trial: Run) -> float:
        progress = self._work(trial.digest).progress()
        return progress[-1].time_s if progress else self._work(trial.digest).result_path.stat().st_mtime

    def show(self, run: Run) -> None:
        """Write what a person looks at into the work folder: picture, audit, samples.

        Raises:
            DamagedError: the arrays of the run aren't what was written.
        """
        work = self._work(run.digest)
        result = read_result(work)
        side = Side(f"{self.config.study.name}: {run.label}", result.numbers, result_arrays(work, result, "geometry"))
        save_png(embedding_figure(side), work.path / "embedding.png")
        write_json(work.path / "audit.json", result.audit.model_dump())
        work.write_text("sample.txt", sample_text(result))

    def _close(self, run: Run, log: RunLog) -> None:
        work = self._work(run.digest)
        progress = work.progress()
        records = [*progress, *work.progress(SYSTEM)]
        taken = {(record.step, record.time_s) for record in log.sent}  # to find a row takes longer than to write one
        left = [record for record in records if (record.step, record.time_s) not in taken]
        files: list[Path] = []
        tags = {"wake2vec.fault": run.reason}
        if run.state is State.STOPPED:
            tags = {"wake2vec.stopped": run.reason, "wake2vec.stopped_at": str(run.step)}
        if run.state is State.FINISHED:
            result = read_result(work)
            left += self._finals(run, result, progress)
            files = [path for name in FILES if (path := work.path / name).is_file()]
            again = {REMEASURED: self._remeasured(run.digest)} if result.remeasured_s else {}
            tags = {**machine_tags(result), **again}
        if run.role is Role.TRIAL:
            is_whole = run.state is State.FINISHED
            mark = f"{'baseline, ' if run.is_baseline else ''}{run.state}"
            tags |= {"wake2vec.feasible": str(run.is_feasible).lower()} if is_whole else {MARK: mark}
        at_s = max((record.time_s for record in records), default=None)
        self.tracker.close(log.run_id, Ended(run.state, left, tags, files, at_s))

    def _finals(self, run: Run, result: RunResult, progress: Sequence[Progress]) -> list[Progress]:
        """The objectives, and the figures without a curve, at step 0: for these the UI draws a bar.

        Then the figures that differ from their curve's end, as they were measured again or are of a step before it.
        """
        aims = self.config.study.objectives
        row = zip(with_beside(aims), row_of(aims, run.values, result.numbers), strict=True)
        objectives: Numbers = {objective_key(figure): value for figure, value in row if not math.isnan(value)}
        ends = {address: value for record in progress for address, value in record.numbers.items()}
        alone = {address: value for address, value in result.numbers.items() if address not in ends}
        moved = {address: value for address, value in result.numbers.items() if value != ends.get(address, value)}
        measured_s = result.remeasured_s or progress[-1].time_s
        later_s = result.remeasured_s or progress[-1].time_s + 0.001  # of two at one time MLflow shows the larger
        return [Progress(0, objectives | alone, measured_s), Progress(progress[-1].step, moved, later_s)]

    def _remeasured(self, digest: str) -> str:
        """What `REMEASURED` is of what stands in the work folder; empty where nothing was measured again."""
        work = self._work(digest)
        at_s = read_result(work).remeasured_s if work.result_path.exists() else None
        return "" if at_s is None else f"{at_s:.3f}"

    def _began(self, digest: str) -> float | None:
        """When the first record was made, in seconds since 1970; None: there is none."""
        return next((record.time_s for record in self._work(digest).progress()), None)

    def _work(self, digest: str) -> WorkFolder:
        return WorkFolder(self.folder / "trials" / digest)


def machine_tags(result: RunResult) -> dict[str, str]:
    """On what the trial was computed, and the most memory that it took there."""
    peak = result.computed.peak_memory_gb
    return {
        "machine.threads": str(result.config.machine.threads),  # measured when the run had begun
        "wake2vec.device": result.computed.device,
        "wake2vec.precision": result.computed.precision,
        **({} if peak is None else {"wake2vec.gpu_memory_gb": f"{peak:.2f}"}),
    }
