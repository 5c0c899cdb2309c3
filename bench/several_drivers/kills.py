"""Three drivers, of which one is killed each four seconds, while both servers are restarted once."""

import json
import os
import random
import shutil
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optuna.trial import TrialState

from bench.cluster.sleeping import sleeping_study, trained
from bench.faults.studies import code_of, fork
from bench.figures import Figure
from bench.scale import Quiet
from bench.servers import Postgres, mlflow, postgres
from bench.several_drivers.sleeping import drive, restart, rows_of
from study.runs.addresses import Addresses, keep
from study.runs.faults import UnreachableError
from study.runs.run import Run
from study.runs.storage import load_study
from wake2vec import RunConfig, prepare

TRIALS, SECONDS = 60, 2.0
DRIVERS = 3
SECONDS_TO_A_KILL = 4.0
RESTARTED_AT = (20, 35)
"""Ended trials: PostgreSQL, then MLflow's server."""


class Diary(Quiet):
    """Of a driver: a line for each run that begins or ends."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def run_started(self, run: Run, run_config: RunConfig, ended: int) -> None:
        self._write("begun", run.label)

    def run_ended(self, run: Run) -> None:
        self._write("ended", run.label)

    def waiting(self, what: str) -> None:
        self._write("waits", what)

    def cut_off(self) -> None:
        """From now on nobody holds a run: locks go with the connections."""
        self._write("cut off", "")

    def mlflow_lacks(self, what: str) -> None:
        self._write("lacks", what)

    def _write(self, what: str, of: str) -> None:
        with self._path.open("a", encoding="utf-8") as lines:  # a line is written at once
            lines.write(json.dumps([time.time(), os.getpid(), what, of]) + "\n")


@dataclass
class Lives:
    """What the diary says of who had which run when."""

    deaths: dict[int, float] = field(default_factory=dict)
    """Of killed drivers, by their processes' numbers."""
    took_over_s: list[float] = field(default_factory=list)
    told_twice: int = 0
    begun_while_held: int = 0
    begun_again: int = 0

    def read(self, diary: Path) -> None:
        held: dict[str, int] = {}
        ends: Counter[str] = Counter()
        lost_at: dict[str, float] = {}
        for at_s, pid, what, label in sorted(map(json.loads, diary.read_text(encoding="utf-8").splitlines())):
            if what == "begun":
                before = held.get(label)
                if before not in (None, pid):
                    dead_at = self.deaths.get(before or 0)
                    self.begun_while_held += dead_at is None or dead_at > at_s
                    lost_at.setdefault(label, dead_at or at_s)
                    self.took_over_s.append(at_s - lost_at.pop(label))
                self.begun_again += before is not None
                held[label] = pid
            elif what == "ended":
                ends[label] += 1
                held.pop(label, None)
            elif what == "cut off":
                held.clear()
        self.told_twice = sum(count - 1 for count in ends.values())


def kills(folder: Path) -> Iterator[Figure]:
    config = sleeping_study(TRIALS)
    source = trained(sleeping_study(1), folder / "source")
    prepare(config.run, folder / "cache")  # ten seconds of each driver's start
    diary = folder / "diary"
    diary.touch()
    lives = Lives()
    with postgres() as database, mlflow(folder / "mlflow", f"sqlite:///{folder}/mlflow.db") as tracking:
        addresses = Addresses(database.create("study"), tracking.address)
        places = [folder / str(number) for number in range(DRIVERS)]
        for place in places:
            keep(place, addresses)
            shutil.copytree(folder / "cache", place / "cache")

        def begin(number: int) -> int:
            return fork(lambda: drive(config, places[number], source, SECONDS, Diary(diary)), places[number])

        began = time.monotonic()
        codes = _until_all_end(begin, diary, lives, (lambda: _cut_off(database, diary), lambda: restart(tracking)))
        wall = time.monotonic() - began
        lives.read(diary)
        trials = load_study(places[0], config.study.name).get_trials(deepcopy=False)
        states = Counter(trial.state for trial in trials)
        yield Figure(f"{TRIALS} trials of {SECONDS:g} s, {DRIVERS} drivers: wall", wall, "s")
        yield Figure("killed: drivers", len(lives.deaths), "")
        yield Figure("restarted: PostgreSQL, MLflow's server", len(RESTARTED_AT), "")
        gone, faults = codes[UnreachableError.exit], codes.total() - codes[0] - codes[UnreachableError.exit]
        yield Figure("drivers that began while a server was gone, and ended with one line", gone, "")
        yield Figure("drivers that ended by another fault", faults, "", "= 0", faults == 0)
        ended_once = states[TrialState.COMPLETE]
        yield Figure("trials ended", ended_once, "", f"= {TRIALS}", ended_once == TRIALS == len(trials))
        yield Figure("told twice", lives.told_twice, "", "= 0", lives.told_twice == 0)
        held = lives.begun_while_held
        yield Figure("begun while a living driver held them", held, "", "= 0", held == 0)
        yield Figure("begun again", lives.begun_again, "")
        if lives.took_over_s:
            yield Figure("from a kill to another's beginning: median", statistics.median(lives.took_over_s), "s")
            yield Figure("from a kill to another's beginning: longest", max(lives.took_over_s), "s")
        yield from rows_of(folder / "mlflow.db", config, TRIALS)


def _until_all_end(
    begin: Callable[[int], int], diary: Path, lives: Lives, restarts: Sequence[Callable[[], None]]
) -> Counter[int]:
    """Kill one of the drivers that live each `SECONDS_TO_A_KILL`, restart servers in between; with what they ended."""
    living, chance = {number: begin(number) for number in range(DRIVERS)}, random.Random(7)
    began, codes, left = time.monotonic(), Counter[int](), list(zip(RESTARTED_AT, restarts, strict=True))
    next_kill = began + SECONDS_TO_A_KILL
    while living:
        for number, pid in list(living.items()):
            ended_pid, status = os.waitpid(pid, os.WNOHANG)
            if ended_pid:
                del living[number]
                codes[os.waitstatus_to_exitcode(status)] += 1
                if status:  # a server was gone as it began: somebody types the command again
                    living[number] = begin(number)
        ended = sum('"ended"' in line for line in diary.read_text(encoding="utf-8").splitlines())
        if left and ended >= left[0][0]:
            left.pop(0)[1]()
        if living and time.monotonic() >= next_kill and ended < TRIALS - DRIVERS:
            number = chance.choice(list(living))
            os.kill(living[number], signal.SIGKILL)
            lives.deaths[living[number]] = time.time()
            code_of(living[number])
            living[number] = begin(number)
            next_kill = time.monotonic() + SECONDS_TO_A_KILL
        assert time.monotonic() - began < 1500, "it doesn't come to an end"
        time.sleep(0.05)
    return codes


def _cut_off(database: Postgres, diary: Path) -> None:
    Diary(diary).cut_off()
    restart(database)
