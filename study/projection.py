"""Projection: what work folders and study database hold, brought to MLflow and to pictures. It may be done again."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from study.canvas import save_png
from study.companions import Companion
from study.config import StudyConfig
from study.embedding_plot import embedding_figure
from study.record import StudyRecord
from study.study_plots import FrontPoint, curves_figure, front_figure
from study.table import shown_name, study_note
from study.tracking import Tracker
from study.trials import FinishedTrial
from wake2vec import Numbers, Progress, WorkFolder, flatten, read_result, write_json


class Projection:
    """Of one study, into the MLflow database beside it."""

    def __init__(self, config: StudyConfig, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self.tracker = Tracker(folder, config)

    def finished(self, trial: FinishedTrial, run_id: str, sent: Sequence[Progress] = ()) -> None:
        """A trial with a result, of whose records `sent` is in MLflow already."""
        name = f"{self._config.study.name}: trial {trial.number}"
        self._close(trial.digest, name, run_id, trial.values, sent)

    def companion(self, companion: Companion, digest: str, values: tuple[float, ...], run_id: str) -> None:
        """A repeat or a reference with a result."""
        self._close(digest, f"{self._config.study.name}: {companion.name}", run_id, values, ())

    def missing(self, record: StudyRecord) -> None:
        """The finished trials that MLflow doesn't hold."""
        known = self.tracker.finished_trials()
        for trial in record.finished:
            if trial.number not in known:
                run_config = self._config.run_config(trial.params)
                self.finished(trial, self.tracker.open_trial(trial.number, run_config, trial.params))

    def study(self, record: StudyRecord) -> None:
        """Pictures, note and tags of the study as a whole."""
        choice, name = record.choice, self._config.study.name
        points = [
            FrontPoint(
                trial.number,
                trial.values,
                trial.number in record.front,
                trial.is_baseline,
                trial.number == choice.trial.number,
            )
            for trial in record.finished
        ]
        objectives = self._config.study.objectives
        pictures = self._folder / "studies" / name
        pictures.mkdir(parents=True, exist_ok=True)
        title = f"{name}: front of {len(points)} trials"
        directions = [objective.direction for objective in objectives]
        save_png(
            front_figure(points, list(map(shown_name, objectives)), title, directions),
            pictures / "front.png",
        )
        curves = {trial.number: loss_curve(record.progress(trial.digest)) for trial in record.trained}
        save_png(curves_figure(curves, 0, choice.trial.number, "validation.loss"), pictures / "curves.png")
        self.tracker.mark_trials(record.front, choice.trial.number)
        tags = {
            "wake2vec.front": ", ".join(map(str, sorted(record.front))),
            "wake2vec.chosen": str(choice.trial.number),
        }
        note = study_note(record.finished, choice, self._config)
        self.tracker.describe_study(note, tags, [pictures / "front.png", pictures / "curves.png"])

    def _close(self, digest: str, title: str, run_id: str, values: tuple[float, ...], sent: Sequence[Progress]) -> None:
        work = WorkFolder(self._folder / "trials" / digest)
        result = read_result(work)
        save_png(embedding_figure(work.read_arrays("geometry"), result.numbers, title), work.path / "embedding.png")
        write_json(work.path / "audit.json", result.audit.model_dump())
        work.write_text("sample.txt", "\n\n---\n\n".join(result.samples) + "\n")
        names = ("result.json", "audit.json", "embedding.png", "sample.txt")
        progress = work.progress()
        if list(sent) != progress:
            self.tracker.log_progress(run_id, progress)
        objectives = dict(zip((o.name for o in self._config.study.objectives), values, strict=True))
        knobs = flatten(result.config.model_dump())
        params = {address: knobs[address] for address in self._config.study.space}
        last = Progress(progress[-1].step, _without_curve(result.numbers, progress), progress[-1].time_s)
        self.tracker.close_trial(run_id, last, params, objectives, [work.path / name for name in names])


def loss_curve(progress: Iterable[Progress]) -> list[tuple[int, float]]:
    """Validation loss by step."""
    return [(record.step, loss) for record in progress if (loss := record.numbers.get("validation.loss")) is not None]


def _without_curve(numbers: Numbers, progress: Sequence[Progress]) -> Numbers:
    on_curves = {address for record in progress for address in record.numbers}
    return {address: value for address, value in numbers.items() if address not in on_curves}
