"""Projection: what work folders and study database hold, brought to MLflow and to pictures. It may be done again."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from study.companions import config_of
from study.config import StudyConfig
from study.names import row_of, with_beside
from study.note import experiment_note, study_note
from study.pictures.canvas import save_png
from study.pictures.draw import draw_study
from study.pictures.embedding_plot import embedding_figure
from study.record import StudyRecord
from study.runs import Role, Run, State
from study.system import SYSTEM
from study.table import show
from study.tracking import MARK, OBJECTIVE, Ended, Tracker, objective_key
from wake2vec import Numbers, Progress, RunResult, WorkFolder, read_result, write_json

FILES = ("result.json", "audit.json", "embedding.png", "sample.txt")
"""Of a work folder, what MLflow shows."""
HYPERVOLUME = "hypervolume"
REMEASURED = "wake2vec.remeasured"
"""A tag: when a newer version last measured figures of the run that MLflow has, in seconds since 1970."""
CHOSEN = "chosen/"
"""Before the objectives of the chosen trial, on the study's own run."""


class Projection:
    """Of one study, into the MLflow database beside it; `inputs` are the hashes of the study's inputs."""

    def __init__(self, config: StudyConfig, folder: Path, inputs: Mapping[str, str]) -> None:
        self.config = config
        self.folder = folder
        self._inputs = dict(inputs)
        self.tracker = Tracker(folder, config)

    def open_trial(self, trial: Run, inputs: Mapping[str, str]) -> str:
        """The id of the trial's run in MLflow, which is marked as running; `inputs` are the hashes of its inputs."""
        return self.tracker.open_trial(trial, inputs, self._began(trial.digest))

    def finished(self, trial: Run, run_id: str, sent: Sequence[Progress] = ()) -> None:
        """A trial with a result, of whose records `sent` is in MLflow already."""
        self.show(trial.digest, trial.label)
        self._finish(trial, run_id, sent)

    def stopped(self, trial: Run, run_id: str, sent: Sequence[Progress] = ()) -> None:
        """A trial that was ended early."""
        mark = "baseline, stopped" if trial.is_baseline else "stopped"
        tags = {MARK: mark, "wake2vec.stopped": trial.reason, "wake2vec.stopped_at": str(trial.step)}
        records = self._records(trial.digest)
        self.tracker.close(run_id, Ended(State.STOPPED, _without(records, sent), tags, at_s=_end_of(records)))

    def failed(self, run: Run, run_id: str, sent: Sequence[Progress] = ()) -> None:
        """A run that could not be run to its end."""
        records = self._records(run.digest)
        mark = {} if run.role is not Role.TRIAL else {MARK: "baseline, failed" if run.is_baseline else "failed"}
        tags = {**mark, "wake2vec.fault": run.reason}
        self.tracker.close(run_id, Ended(State.FAILED, _without(records, sent), tags, at_s=_end_of(records)))

    def open_companion(self, companion: Run) -> str:
        return self.tracker.open_companion(companion, config_of(companion, self.config), self._began(companion.digest))

    def companion(self, companion: Run, run_id: str, sent: Sequence[Progress] = ()) -> None:
        """A repeat or a reference with a result; nobody opens the picture of a repeat."""
        if companion.role is Role.REFERENCE:
            self.show(companion.digest, companion.label)
        self._close(companion.digest, run_id, companion.values, sent, {})

    def missing(self, record: StudyRecord) -> None:
        """The trials and companions that ended and that MLflow lacks, or has as they stood before."""
        known = {label: tags.get(REMEASURED, "") for label, tags in self.tracker.ended_runs().items()}
        for finished in record.finished:
            if known.get(finished.label) != self._remeasured(finished.digest):
                if finished.label in known or not self._is_shown(finished.digest):
                    self.show(finished.digest, finished.label)
                sent = self._records(finished.digest) if finished.label in known else ()
                self._finish(finished, self._reopen(finished), sent)
        for stopped in record.stopped:
            if stopped.label not in known:
                self.stopped(stopped, self._reopen(stopped))
        for failed in record.failed:
            if failed.label not in known:
                failed = replace(failed, digest=self.config.run_config(failed.params).digest(self._inputs))
                self.failed(failed, self._reopen(failed))
        # Of all trials: who is no finalist now may have been one.
        repeated = (repeat for trial in record.finished for repeat in record.repeats_of(trial))
        for companion in (*record.all_references, *repeated):
            if companion.state is State.FINISHED:
                if known.get(companion.label) != self._remeasured(companion.digest):
                    sent = self._records(companion.digest) if companion.label in known else ()
                    self.companion(companion, self.open_companion(companion), sent)
            elif companion.label not in known and companion.state is State.FAILED:
                self.failed(companion, self.open_companion(companion))

    def study(self, record: StudyRecord) -> None:
        """Pictures, note and tags of the study as a whole."""
        pictures = draw_study(record)
        choice = record.choice
        runners_up = [trial.number for trial in choice.runners_up]
        self.tracker.mark_trials(
            {
                trial.number: {
                    MARK: mark_of(trial, record),
                    "wake2vec.front": str(trial.number in record.front).lower(),
                    "wake2vec.chosen": str(trial.number == choice.trial.number).lower(),
                    "wake2vec.runner_up": str(trial.number in runners_up).lower(),
                }
                for trial in record.finished
            }
        )
        tags = {
            "wake2vec.front": ", ".join(map(str, sorted(record.front))),
            "wake2vec.chosen": str(choice.trial.number),
            "wake2vec.runners_up": ", ".join(map(str, runners_up)),
            "wake2vec.hypervolume": f"{record.hypervolumes[-1]:.6g}",
            # They change with the choice, which parameters can't.
            **{f"wake2vec.chosen.{knob}": show(value) for knob, value in choice.trial.params.items()},
        }
        self.tracker.log_progress(self.tracker.parent, self._story(record))
        links = self.tracker.links()
        shown = [f"get-artifact?path={picture.name}&run_uuid={self.tracker.parent}" for picture in pictures]
        self.tracker.describe_study(
            study_note(record, links, shown),
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
        return self._work(trial.digest).progress()[-1].time_s

    def _reopen(self, trial: Run) -> str:
        work = self._work(trial.digest)
        return self.open_trial(trial, read_result(work).fingerprints if work.result_path.exists() else self._inputs)

    def _finish(self, trial: Run, run_id: str, sent: Sequence[Progress]) -> None:
        tags = {"wake2vec.feasible": str(trial.is_feasible).lower()}
        self._close(trial.digest, run_id, trial.values, sent, tags)

    def _is_shown(self, digest: str) -> bool:
        return all((self._work(digest).path / name).exists() for name in FILES)

    def show(self, digest: str, name: str) -> None:
        """Write what a person looks at into the work folder: picture, audit, samples."""
        work = self._work(digest)
        result = read_result(work)
        title = f"{self.config.study.name}: {name}"
        save_png(embedding_figure(work.read_arrays("geometry"), result.numbers, title), work.path / "embedding.png")
        write_json(work.path / "audit.json", result.audit.model_dump())
        work.write_text("sample.txt", "\n\n---\n\n".join(result.samples) + "\n")

    def _close(
        self,
        digest: str,
        run_id: str,
        values: tuple[float, ...],
        sent: Sequence[Progress],
        tags: Mapping[str, str],
    ) -> None:
        work = self._work(digest)
        result = read_result(work)
        progress = work.progress()
        files = [path for name in FILES if (path := work.path / name).exists()]
        aimed_at = self.config.study.objectives
        row = zip(with_beside(aimed_at), row_of(aimed_at, values, result.numbers), strict=True)
        objectives: Numbers = {objective_key(figure): value for figure, value in row if not math.isnan(value)}
        alone, ends = _beside_curves(result.numbers, progress)
        measured_s = result.remeasured_s or progress[-1].time_s
        # At step 0: the UI draws a bar for a figure that has no later step, and a curve of one point for others.
        finals = [Progress(0, objectives | alone, measured_s), Progress(progress[-1].step, ends, measured_s)]
        records = [*progress, *work.progress(SYSTEM)]
        left = [*_without(records, sent), *finals]
        again = {REMEASURED: self._remeasured(digest)} if result.remeasured_s else {}
        every = {**tags, **machine_tags(result), **again}
        self.tracker.close(run_id, Ended(State.FINISHED, left, every, files, _end_of(records)))

    def _remeasured(self, digest: str) -> str:
        """What `REMEASURED` is of what stands in the work folder; empty where nothing was measured again."""
        work = self._work(digest)
        at_s = read_result(work).remeasured_s if work.result_path.exists() else None
        return "" if at_s is None else f"{at_s:.3f}"

    def _began(self, digest: str) -> float | None:
        """When the first record was made, in seconds since 1970; None: there is none."""
        return next((record.time_s for record in self._work(digest).progress()), None)

    def _records(self, digest: str) -> list[Progress]:
        """Of the training, then of the machine."""
        work = self._work(digest)
        return [*work.progress(), *work.progress(SYSTEM)]

    def _work(self, digest: str) -> WorkFolder:
        return WorkFolder(self.folder / "trials" / digest)


def mark_of(trial: Run, record: StudyRecord) -> str:
    """What tells the trial from others, for a column: `baseline`, `front, chosen`, `breaks a bound`, or nothing."""
    is_of = {
        "baseline": trial.is_baseline,
        "front": trial.number in record.front,
        "chosen": trial.number == record.choice.trial.number,
        "runner-up": any(trial.number == other.number for other in record.choice.runners_up),
        "breaks a bound": not trial.is_feasible,
    }
    return ", ".join(mark for mark, holds in is_of.items() if holds)


def machine_tags(result: RunResult) -> dict[str, str]:
    """On what the trial was computed, and the most memory that it took there."""
    peak = result.computed.peak_memory_gb
    return {
        "machine.threads": str(result.config.machine.threads),  # measured when the run had begun
        "wake2vec.device": result.computed.device,
        "wake2vec.precision": result.computed.precision,
        **({} if peak is None else {"wake2vec.gpu_memory_gb": f"{peak:.2f}"}),
    }


def _without(records: Sequence[Progress], sent: Iterable[Progress]) -> list[Progress]:
    """What MLflow hasn't taken: to find a row there already takes it longer than to write one."""
    taken = {(record.step, record.time_s) for record in sent}
    return [record for record in records if (record.step, record.time_s) not in taken]


def _end_of(records: Sequence[Progress]) -> float | None:
    return max((record.time_s for record in records), default=None)


def _beside_curves(numbers: Numbers, progress: Sequence[Progress]) -> tuple[Numbers, Numbers]:
    """The figures without a curve, and those that differ from their curve's end, as they were measured again."""
    ends = {address: value for record in progress for address, value in record.numbers.items()}
    alone = {address: value for address, value in numbers.items() if address not in ends}
    return alone, {address: value for address, value in numbers.items() if value != ends.get(address, value)}
