"""MLflow told of a study while it runs, as far as it listens: no fault of its ends a trial, or slows one.

MLflow is a projection: all that it lacks can be brought later from the work folders. So whatever befalls its database
is said in a line, and MLflow is left alone for a while: a hundred times as long as the fault has taken.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from study.runs.database import is_damaged, put_aside
from study.runs.faults import DamagedDatabaseError, fault_of
from study.runs.record import StudyRecord
from study.runs.run import Run
from study.runs.study_database import Fence
from study.tracking.database import check_tracking
from study.tracking.sync import Projection
from study.tracking.tracker import RunLog
from wake2vec import DAMAGED, Progress

SECONDS_BETWEEN_BATCHES = 15.0
"""A batch takes 40 ms, however few figures it has: a commit that waits for the disk."""
WAIT_S = 0.1
"""For a lock on MLflow's database, while a trial waits."""
MOST_SHARE = 0.01
"""Of a study's time that faults of MLflow take."""
LONGEST = 200
"""Letters of what a library says."""
LACKING = "MLflow lacks what ended meanwhile: the same command brings it, and trains nothing"


@dataclass
class LiveLog:
    """A running run's records on their way to MLflow; what it doesn't take is told when the run has ended."""

    run: Run
    inputs: Mapping[str, str]
    """Hashes of its inputs."""
    log: RunLog | None = None
    """None: MLflow hasn't got the run, or may have lost it."""
    waiting: list[Progress] = field(default_factory=list)
    sent_at: float = field(default_factory=time.monotonic)


class Teller(Protocol):
    """Who tells MLflow of the runs of a study; those that have begun are named by their labels."""

    def begin(self, run: Run, inputs: Mapping[str, str]) -> None:
        """A run begins; `inputs` are the hashes of its inputs."""

    def progressed(self, label: str, record: Progress) -> None:
        """Sent now and then."""

    def restarted(self, label: str) -> None:
        """The run goes on from an earlier step, as after the end of a driver: MLflow's copy is opened anew."""

    def suspended(self, label: str) -> None:
        """It is left, for another driver to go on with."""

    def ended(self, run: Run) -> None:
        """The run came to its end."""

    def catch_up(self) -> None:
        """Bring what MLflow lacks of the runs that ended, if it lacks something and listens again."""

    def bring(self, record: StudyRecord, has_news: bool) -> bool:
        """Bring all that MLflow lacks of a study that has a result; whether it has taken it.

        Pictures and note of the study are among it where `has_news`, or where it isn't told to be done.
        """


class Telling:
    """The teller of one study, in the process that calls; `read` gives the study as it stands.

    `say` is given one line for each kind of fault, once until MLflow listens again.
    """

    def __init__(
        self,
        projection: Projection,
        read: Callable[[], StudyRecord],
        say: Callable[[str], None],
        fence: Fence,
        lacks: bool = False,
    ) -> None:
        self._projection, self._read, self._say, self._fence = projection, read, say, fence
        self._said: set[type] = set()
        self._again_at = 0.0
        self._lacks = lacks
        self._open: dict[str, LiveLog] = {}

    def begin(self, run: Run, inputs: Mapping[str, str]) -> None:
        live = self._open[run.label] = LiveLog(run, inputs)
        self._try(lambda: self._log(live))

    def progressed(self, label: str, record: Progress) -> None:
        live = self._open[label]
        live.waiting.append(record)
        if time.monotonic() - live.sent_at >= SECONDS_BETWEEN_BATCHES:
            self._flush(live)

    def restarted(self, label: str) -> None:
        live = self._open[label]
        live.waiting, live.log = [], None

    def suspended(self, label: str) -> None:
        self._flush(self._open.pop(label))

    def ended(self, run: Run) -> None:
        live = self._open.pop(run.label)
        self._try(lambda: self._projection.ended(run, self._log(live)))

    def catch_up(self) -> None:
        if self._lacks and self._try(lambda: self._projection.missing(self._read())):
            self._lacks = False

    def prepare(self, record: StudyRecord) -> None:
        """What `bring` does without pictures, for whoever draws them meanwhile."""

        def without_pictures() -> None:
            self._projection.missing(record)
            self._projection.mark(record)

        self._try(without_pictures)

    def bring(self, record: StudyRecord, has_news: bool, pictures: Sequence[Path] = ()) -> bool:
        """`pictures` of the study, if somebody has drawn them."""

        def whole() -> None:
            self._projection.missing(record)
            if record.finished and (has_news or not self._projection.tracker.is_study_finished()):
                self._projection.study(record, pictures)

        self._again_at = 0.0
        # Twice: the first fault may have been that something was deleted, or have put a damaged database aside.
        taken = self._try(whole) or self._try(whole)
        if not taken:
            self._say(LACKING)
        return taken

    def _flush(self, live: LiveLog) -> None:
        """Send what waits; what fails is left to the run's end."""
        records, live.waiting = live.waiting, []
        self._try(lambda: self._send(live, records))
        live.sent_at = time.monotonic()

    def _try(self, work: Callable[[], object]) -> bool:
        """Whether MLflow has taken it."""
        began = time.monotonic()
        if began < self._again_at:
            self._lacks = True
            return False
        try:
            with self._fence.alone():
                check_tracking(self._projection.folder, WAIT_S)
                work()
        except Exception as fault:  # noqa: BLE001 - whatever it is, a trial must not end of it
            self._forget()
            self._again_at = time.monotonic() + (time.monotonic() - began) / MOST_SHARE
            self._tell(fault)
            return False
        self._said.clear()
        return True

    def _forget(self) -> None:
        self._lacks = True
        self._projection.forget()
        for live in self._open.values():
            live.log = None

    def _tell(self, fault: Exception) -> None:
        path = self._projection.folder / "mlflow.db"
        named = fault_of(fault, path.parent)
        if isinstance(named, DamagedDatabaseError) and is_damaged(path):
            aside = put_aside(path, DAMAGED)
            self._again_at = 0.0
            self._say(f"{path} was damaged, and lies aside as {aside.name}: it is made anew from the work folders")
        elif type(named or fault) not in self._said:
            self._said.add(type(named or fault))
            said = str(named) if named else " ".join(f"{type(fault).__name__}: {fault}".split())[:LONGEST]
            self._say(f"MLflow isn't told for now, the study goes on: {said}")

    def _log(self, live: LiveLog) -> RunLog:
        """Opened, where MLflow hasn't got it."""
        if live.log is None:
            live.log = self._projection.open(live.run, live.inputs)
        return live.log

    def _send(self, live: LiveLog, records: list[Progress]) -> None:
        log = self._log(live)
        self._projection.tracker.log_progress(log.run_id, records)
        log.sent += records
