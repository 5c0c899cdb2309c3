"""Whole studies that are killed, starved of disk and driven twice; each is then brought to its end and compared.

`python -m bench.faults world --count 3000` makes so many faults, `python -m bench.faults.world 1800` as many as half an
hour takes, beside a death at each statement of the libraries' set-up.
"""

import contextlib
import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.faults import making
from bench.faults.studies import (
    Countdown,
    Counts,
    Enough,
    Studies,
    before_commits,
    before_operations,
    code_of,
    figures,
    fork,
    held,
    small_studies,
)
from bench.figures import Figure, publish
from study.runs.faults import Exit
from study.runs.lease import OneDriver
from study.runs.record import StudyRecord
from study.runs.run import Run, State
from study.tracking.database import make_tracking
from study.tracking.sync import Projection
from study.tracking.telling import MOST_SHARE, Telling
from wake2vec import Progress

SECONDS = 1800.0
MOST_DEATHS = 40
"""Of one study."""
LOCKED_S = 120.0
SIZES_B = [round(50e3 * 1.3**power) for power in range(26)]
"""Of disks, up to 35 MB."""
ROOM_B = 400_000_000


def run(count: int, seed: int) -> list[Figure]:
    """So many faults, those of the set-up included."""
    return found(seed, lambda made, share: lambda counts: counts.faults >= share * (count - made))


def pairs(count: int, seed: int) -> list[Figure]:
    """So many pairs of drivers alone."""
    with small_studies(seed, World) as bench:
        counts = {"two drivers": bench.until(lambda counts: counts.faults >= count, bench.two_drivers)}
        return list(figures(counts, bench.controls()))


def main(seconds: float = SECONDS) -> bool:
    """As many as the time takes; whether all bars hold."""

    def until(_: int, share: float) -> Enough:
        ends: list[float] = []

        def is_over(_: Counts) -> bool:
            ends.append(time.monotonic() + share * seconds)
            return time.monotonic() >= ends[0]

        return is_over

    return publish("faults-world", f"python -m bench.faults.world {seconds:g}", found(0, until))


def found(seed: int, enough: Callable[[int, float], Enough]) -> list[Figure]:
    """`enough` gives, for the faults that there are and a share of the rest, when a kind has had it."""
    with small_studies(seed, World) as bench:
        config, folder = bench.config, bench.folder
        counts = {"kill at a statement of the libraries' set-up": making.each_statement(config, folder / "making")}
        made = sum(count.faults for count in counts.values())
        counts |= {
            "kill -9 at random": bench.until(enough(made, 0.2), bench.random_kills),
            "death before a commit": bench.until(enough(made, 0.35), bench.before(before_commits)),
            "death before a file operation": bench.until(enough(made, 0.35), bench.before(before_operations)),
            "full disk": bench.small_disks(),
            "two drivers": bench.until(enough(made, 0.03), bench.two_drivers),
        }
        share = bench.share_of_faults(LOCKED_S)
        controls = bench.controls() | making.controls(folder / "making")
    return [
        *figures(counts, controls),
        Figure("a trial's time that a locked MLflow takes", share, "", f"<= {MOST_SHARE}", share <= MOST_SHARE),
    ]


class World(Studies):
    """What machines and people do to a study while it runs."""

    def random_kills(self, folder: Path, counts: Counts) -> None:
        for _ in range(MOST_DEATHS):
            child = fork(lambda: self.drive(folder), folder)
            time.sleep(self.random.uniform(0, self.takes_s / 3))
            os.kill(child, signal.SIGKILL)
            if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
                return
            counts.faults += 1
            counts.note(folder)

    def before(self, dying: Callable[[Countdown], None]) -> Callable[[Path, Counts], None]:
        """Of a study whose trials have been trained: at all that is done with results. So deaths cost no training."""
        made = self.new()
        make_tracking(made)

        def strike(folder: Path, counts: Counts) -> None:
            shutil.copytree(self.calm / "trials", folder / "trials")
            shutil.copy(made / "mlflow.db", folder)
            self.deaths(folder, counts, dying, lambda: self.drive(folder), MOST_DEATHS)

        return strike

    def small_disks(self) -> Counts:
        """A disk in memory, full at some point of the study, in which there is room then."""
        counts = Counts()
        if os.geteuid() != 0:
            counts.left_out = "only root can mount a disk"
            return counts
        for size in SIZES_B:
            folder = self.new()
            if not mounted(folder, size, "rw"):
                counts.left_out = "no disk can be mounted here"
                return counts
            try:
                counts.faults += code_of(fork(lambda folder=folder: self.drive(folder), folder)) == Exit.DISK  # type: ignore[misc]
                counts.note(folder)
                assert mounted(folder, ROOM_B, "remount")
                self.compare(folder, counts)
            finally:
                subprocess.run(["umount", str(folder)], check=True)
        return counts

    def two_drivers(self, folder: Path, counts: Counts) -> None:
        """A second one beside the first, which may sleep, and whose lock and note may be gone."""
        first = fork(lambda: self.drive(folder), folder)
        time.sleep(self.random.uniform(0, self.takes_s))
        sleeps, lock, note = (self.random.random() < 0.5 for _ in range(3))
        if sleeps:
            os.kill(first, signal.SIGSTOP)
        for is_gone, ending in ((lock, "lock"), (note, "driver")):
            if is_gone:
                (folder / f".{self.config.study.name}.{ending}").unlink(missing_ok=True)
        second = fork(lambda: self.drive(folder), folder)
        time.sleep(self.random.uniform(0, self.takes_s))
        if sleeps:
            os.kill(first, signal.SIGCONT)
        codes = {code_of(first), code_of(second)}
        counts.faults += 1
        counts.stuck += not codes <= {0, Exit.IN_USE}  # the loser ends with a line
        counts.note(folder)

    def share_of_faults(self, seconds: float) -> float:
        """Of the time of a trial whose MLflow is locked all the while."""
        folder = self.new()
        make_tracking(folder)
        record = StudyRecord(self.config, folder, [])
        told, spent_s = (
            Telling(Projection(self.config, folder, {}), lambda: record, lambda said: None, OneDriver(folder)),
            0.0,
        )
        end = time.monotonic() + seconds
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            began = time.monotonic()
            begun = Run(State.RUNNING, 0, self.config.study.baseline)
            told.begin(begun, {})
            spent_s += time.monotonic() - began
            for step in itertools.count():
                time.sleep(0.05)
                began = time.monotonic()
                told.progressed(begun.label, Progress(step, {"training.loss": 1.0}, time.time()))
                spent_s += time.monotonic() - began
                if began > end:
                    return spent_s / seconds
        raise AssertionError

    def controls(self) -> dict[str, bool]:
        """Faults that the comparison must find."""
        found = {}
        for name, spoil in {
            "a trial lost": "DELETE FROM trials WHERE number = 2",
            "a run doubled": "INSERT INTO runs SELECT 'x' || run_uuid, name, source_type, source_name, "
            "entry_point_name, user_id, status, start_time, end_time, source_version, lifecycle_stage, artifact_uri, "
            "experiment_id, deleted_time FROM runs WHERE name LIKE 'trial 2%'",
            "a run left running": "UPDATE runs SET status = 'RUNNING' WHERE name LIKE 'trial 2%'",
        }.items():
            folder = self.copy()
            with contextlib.closing(
                sqlite3.connect(folder / ("optuna.db" if "trials" in spoil else "mlflow.db"))
            ) as database:
                database.execute(spoil)
                database.commit()
            found[name] = held(folder, self.config) != self.expected
        return found


def mounted(folder: Path, size_b: int, how: str) -> bool:
    words = ["mount", "-t", "tmpfs", "-o", f"{how},size={size_b}", "tmpfs", str(folder)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(not main(*map(float, sys.argv[1:])))
