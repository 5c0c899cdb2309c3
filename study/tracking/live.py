"""The log of a running trial: its records on their way to MLflow."""

import contextlib
import time

from mlflow.exceptions import MlflowException

from study.tracking.tracker import Tracker
from wake2vec import Progress

SECONDS_BETWEEN_BATCHES = 15.0
"""A batch takes 40 ms, however few figures it has: a commit that waits for the disk."""


class LiveLog:
    """Sends a running trial's records to MLflow now and then; what is left is sent when the trial closes."""

    def __init__(self, tracker: Tracker, run_id: str) -> None:
        self._tracker = tracker
        self._run_id = run_id
        self._waiting: list[Progress] = []
        self._sent_at = time.monotonic()
        self.sent: list[Progress] = []
        """What MLflow has taken."""

    def __call__(self, record: Progress) -> None:
        self._waiting.append(record)
        if time.monotonic() - self._sent_at >= SECONDS_BETWEEN_BATCHES:
            self.flush()

    def flush(self) -> None:
        """Send what waits; what fails is left to the trial's end."""
        with contextlib.suppress(MlflowException):
            self._tracker.log_progress(self._run_id, self._waiting)
            self.sent += self._waiting
        self._waiting = []
        self._sent_at = time.monotonic()
