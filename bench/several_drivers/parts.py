"""The parts of `python -m bench.several_drivers`."""

import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient
from mlflow.entities import Metric
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from bench.cluster.sleeping import sleep_off, sleeping_study, trained
from bench.faults.studies import code_of, fork
from bench.figures import Figure, publish_parts
from bench.scale import Quiet
from bench.servers import PASSWORD, Mlflow, Postgres, mlflow, postgres
from study.config import StudyConfig
from study.engine import drive as driving
from study.engine.executor import InProcess
from study.engine.stop import Stop
from study.engine.worker import Event, Outcome, Task
from study.runs.addresses import Addresses, keep
from study.runs.faults import UnreachableError
from study.runs.postgres import PostgresDatabase
from study.runs.run import Run
from study.runs.storage import at_once, load_study
from study.tracking import Tracker
from study.tracking.tracker import STUDY as STUDY_RUN
from study.tracking.tracker import Ids
from wake2vec import Progress, RunConfig, WorkFolder, prepare

TRIALS, SECONDS = 60, 2.0
DRIVERS = 3
SECONDS_TO_A_KILL = 4.0
RESTARTED_AT = (20, 35)
"""Ended trials: PostgreSQL, then MLflow's server."""
OUTAGE_S = 60.0
MANY = 3_000
RUNS, MARKED = 400, 8


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    os.environ["PGPASSWORD"] = PASSWORD
    publish_parts("several_drivers", PARTS)


@dataclass
class Sleeper:
    """In place of a `Worker`."""

    source: WorkFolder
    seconds: float
    folder: Path

    def run(self, task: Task, tell: Callable[[Event], None], stop: Callable[[], bool]) -> Outcome:
        class Line:
            def send(self, event: Event) -> None:
                tell(event)

            def asks_to_stop(self) -> bool:
                return stop()

        return sleep_off(self.source, self.seconds, task, self.folder, 1, Line(), Stop.at(None))


def drive(config: StudyConfig, folder: Path, source: WorkFolder, seconds: float, watcher: Quiet) -> None:
    """As `study run` does it, but for the training."""
    executor = InProcess(folder)
    executor._worker = Sleeper(source, seconds, folder)  # type: ignore[assignment]
    driving.executor_for = lambda *given: executor
    driving.drive(config, folder, watcher)


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
    lives, chance = Lives(), random.Random(7)
    with postgres() as database, mlflow(folder / "mlflow", f"sqlite:///{folder}/mlflow.db") as tracking:
        addresses = Addresses(database.create("study"), tracking.address)
        places = [folder / str(number) for number in range(DRIVERS)]
        for place in places:
            keep(place, addresses)
            shutil.copytree(folder / "cache", place / "cache")

        def begin(number: int) -> int:
            return fork(lambda: drive(config, places[number], source, SECONDS, Diary(diary)), places[number])

        began = time.monotonic()
        living = {number: begin(number) for number in range(DRIVERS)}

        def restart_database() -> None:
            Diary(diary).cut_off()
            restart(database)

        restarts = [restart_database, lambda: restart(tracking)]
        limits, next_kill = list(RESTARTED_AT), time.monotonic() + SECONDS_TO_A_KILL
        codes = Counter[int]()
        while living:
            for number, pid in list(living.items()):
                ended_pid, status = os.waitpid(pid, os.WNOHANG)
                if ended_pid:
                    del living[number]
                    codes[os.waitstatus_to_exitcode(status)] += 1
                    if status:  # a server was gone as it began: somebody types the command again
                        living[number] = begin(number)
            ended = sum('"ended"' in line for line in diary.read_text(encoding="utf-8").splitlines())
            if limits and ended >= limits[0]:
                limits.pop(0)
                restarts.pop(0)()
            if living and time.monotonic() >= next_kill and ended < TRIALS - DRIVERS:
                number = chance.choice(list(living))
                os.kill(living[number], signal.SIGKILL)
                lives.deaths[living[number]] = time.time()
                code_of(living[number])
                living[number] = begin(number)
                next_kill = time.monotonic() + SECONDS_TO_A_KILL
            assert time.monotonic() - began < 1500, "it doesn't come to an end"
            time.sleep(0.05)
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


def restart(server: Postgres | Mlflow) -> None:
    server.stop()
    time.sleep(1.0)
    server.start()


def rows_of(database: Path, config: StudyConfig, trials: int) -> Iterator[Figure]:
    """Of MLflow: each trial has one run, and no figure stands there twice."""
    with closing(sqlite3.connect(database)) as opened:
        active = "FROM runs WHERE lifecycle_stage = 'active' AND name LIKE 'trial %'"
        runs = opened.execute(f"SELECT name, status {active}").fetchall()
        figures = opened.execute(
            "SELECT name, key, step, count(*) FROM metrics JOIN runs USING (run_uuid) WHERE lifecycle_stage = 'active' "
            "AND name LIKE 'trial %' AND key NOT LIKE 'system%' GROUP BY 1, 2, 3 HAVING count(*) > 1"
        ).fetchall()
    names = Counter(name for name, _ in runs)
    whole = sum(status == "FINISHED" for _, status in runs)
    yield Figure("MLflow: trials' runs that are finished", whole, "", f"= {trials}", whole == trials == len(names))
    double = sum(count - 1 for count in names.values())
    yield Figure("MLflow: runs that are there twice", double, "", "= 0", double == 0)
    yield Figure("MLflow: figures that are there twice", len(figures), "", "= 0", not figures)


class Pace(Quiet):
    """When records of a trial came."""

    def __init__(self, on_record: Callable[[int], None]) -> None:
        self._on_record = on_record
        self.at_s: dict[str, list[float]] = defaultdict(list)
        self.lacked: list[str] = []

    def progressed(self, name: str, record: Progress) -> None:
        self.at_s[name].append(time.monotonic())
        self._on_record(sum(map(len, self.at_s.values())))

    def mlflow_lacks(self, what: str) -> None:
        self.lacked.append(what)


def outage(folder: Path) -> Iterator[Figure]:
    """One trial with the server there, one amid which it goes for a minute, each of two minutes."""
    config, seconds = sleeping_study(2), 2 * OUTAGE_S
    source = trained(sleeping_study(1), folder / "source")
    with postgres() as database, mlflow(folder / "mlflow", f"sqlite:///{folder}/mlflow.db") as tracking:
        place = folder / "results"
        keep(place, Addresses(database.create("study"), tracking.address))
        pace = Pace(lambda count: None)
        gone: list[float] = []

        def progressed(count: int) -> None:
            if len(pace.at_s) == 2 and len(gone) == 0 and len(pace.at_s["trial 1"]) == 3:
                gone.append(time.monotonic())
                tracking.stop()
            if len(gone) == 1 and time.monotonic() - gone[0] > OUTAGE_S:
                gone.append(time.monotonic())
                tracking.start()

        pace._on_record = progressed
        drive(config, place, source, seconds, pace)
        lengths = {name: at_s[-1] - at_s[0] for name, at_s in pace.at_s.items()}
        started = gone[1] - gone[0]
        slowed = lengths["trial 1"] - lengths["trial 0"]
        yield Figure("MLflow's server was gone", started, "s")
        yield Figure("a trial with the server there", lengths["trial 0"], "s")
        yield Figure("a trial amid which it was gone, longer by", slowed, "s", "<= 5", slowed <= 5)
        yield from rows_of(folder / "mlflow.db", config, 2)


def growth(folder: Path) -> Iterator[Figure]:
    """Without a sampler: a trial is added, claimed, told as the driver does it, and the study read."""
    names = [f"knob {number}" for number in range(4)]
    space: dict[str, BaseDistribution] = {name: FloatDistribution(0, 1) for name in names}
    with postgres() as server:
        database = PostgresDatabase(server.create("study"))
        with database.hold("many") as lease, lease.opening() as storage:
            study = optuna.create_study(study_name="many", storage=storage, directions=["minimize"] * 4)
            ended = create_trial(
                state=TrialState.COMPLETE,
                params=dict.fromkeys(names, 0.5),
                distributions=space,
                values=[0.0] * 4,
                user_attrs={"digest": "0" * 16, "violations": [0.0, 0.0]},
            )
            study.add_trials([ended] * MANY)
            walls = []
            for number in range(MANY, MANY + 50):
                began = time.monotonic()
                with lease.alone():
                    study.get_trials(deepcopy=False)
                    study.add_trial(
                        create_trial(state=TrialState.RUNNING, params=dict.fromkeys(names, 0.5), distributions=space)
                    )
                    assert lease.claim(f"trial {number}")
                trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
                trial = optuna.Trial(study, trial_id)
                with at_once(study):
                    trial.set_user_attr("digest", "0" * 16)
                    trial.set_user_attr("violations", [0.0, 0.0])
                    for bound in ("a", "b"):
                        trial.set_constraint(bound, 0.0)
                    study.tell(number, [0.0] * 4)
                lease.free(f"trial {number}")
                walls.append(time.monotonic() - began)
        median_ms = 1000 * statistics.median(walls)
        yield Figure(
            f"ask and tell at {MANY:,} trials, without the sampler: median", median_ms, "ms", "<= 60", median_ms <= 60
        )


def tracking(folder: Path) -> Iterator[Figure]:
    """Of a study of 400 trials with 120 figures each: what a driver that has just come looks for, and marks."""
    config, place = sleeping_study(RUNS), folder / "results"
    database = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(database)
    experiment = client.create_experiment(config.study.name, artifact_location="mlflow-artifacts:/1")
    parent = client.create_run(experiment, tags={"wake2vec.role": "study"}, run_name=f"study {config.study.name}")
    own = {"mlflow.parentRunId": parent.info.run_id, "wake2vec.role": "trial", "wake2vec.state": "finished"}
    knobs = {f"knob.{number}": "1" for number in range(60)}
    figures = [Metric(f"figure.{number}", 1.0, step, step) for number in range(120) for step in range(3)]
    for number in range(RUNS):
        run = client.create_run(
            experiment, tags={**own, **knobs, "wake2vec.trial": str(number)}, run_name=f"trial {number}"
        )
        client.log_batch(run.info.run_id, metrics=figures)
        client.set_terminated(run.info.run_id)
    with mlflow(folder / "mlflow", database) as server:
        keep(place, Addresses(None, server.address))
        Ids(place, config.study.name).keep({STUDY_RUN: parent.info.run_id})
        looked_s, _ = _looked_for(config, place)
        yield Figure(f"{RUNS} runs that no driver has looked for, as of an earlier version", looked_s, "s")
        restart(server)
        for when in ("for the first time since the server's start", "again, by another driver"):
            looked_s, wall = _looked_for(config, place)
            yield Figure(f"{RUNS} runs are looked for, {when}", looked_s, "s")
            yield Figure(f"  and {MARKED} of them marked: both", wall, "s", "<= 2", wall <= 2)


def _looked_for(config: StudyConfig, place: Path) -> tuple[float, float]:
    """Seconds to find all runs, and to have marked some too, for a driver that has just come."""
    tracker = Tracker(place, config)
    began = time.monotonic()
    found = tracker.ended_runs([f"trial {number}" for number in range(RUNS)])
    looked_s = time.monotonic() - began
    assert len(found) == RUNS
    changed = {number: {"wake2vec.front": f"{began}"} for number in range(MARKED)}
    tracker.mark_trials(changed | {number: {} for number in range(MARKED, RUNS)})
    return looked_s, time.monotonic() - began


def takeover(folder: Path) -> Iterator[Figure]:
    """A driver waits for the trial of another, which is killed; and of one whose link is cut, in a network of its own.

    Needs root, for that network.
    """
    with network() as (here, there):
        for what, bar_s in (("a kill", 5), ("the cut of the link", 60)):
            took_s = _took_over(folder / what.replace(" ", "-"), here, there if bar_s == 60 else None)
            yield Figure(f"from {what} to the trial's beginning elsewhere", took_s, "s", f"<= {bar_s}", took_s <= bar_s)


def _took_over(folder: Path, host: str, cut: "Link | None") -> float:
    config, diary = sleeping_study(1), folder / "diary"
    source = trained(sleeping_study(1), folder / "source")
    with postgres(host) as database, mlflow(folder / "mlflow", f"sqlite:///{folder}/mlflow.db", host=host) as tracking:
        database.create("study")
        addresses = Addresses(database.address("study", host), tracking.address)
        for name in ("first", "second"):
            keep(folder / name, addresses)
        diary.touch()

        def lines(what: str) -> list[list[Any]]:
            told = map(json.loads, diary.read_text(encoding="utf-8").splitlines())
            return [line for line in told if line[2] == what]

        def first() -> None:
            if cut is not None:
                cut.enter()
            drive(config, folder / "first", source, 600.0, Diary(diary))

        one = fork(first, folder)
        wait_for(lambda: len(lines("begun")) == 1)
        two = fork(lambda: drive(config, folder / "second", source, 1.0, Diary(diary)), folder)
        wait_for(lambda: len(lines("waits")) == 1)
        lost_s = time.time()
        if cut is None:
            os.kill(one, signal.SIGKILL)
        else:
            cut.cut()
        wait_for(lambda: len(lines("begun")) == 2)
        took_s: float = lines("begun")[1][0] - lost_s
        code_of(two)
        if cut is not None:
            os.kill(one, signal.SIGKILL)
        code_of(one)
    return took_s


def wait_for(it: Callable[[], bool]) -> None:
    until = time.monotonic() + 180
    while not it():
        assert time.monotonic() < until
        time.sleep(0.05)


@dataclass
class Link:
    """To a network of its own, which ends here in `device`."""

    name: str
    device: str

    def enter(self) -> None:
        """This process is in that network from now on."""
        with open(f"/run/netns/{self.name}", "rb") as place:
            assert ctypes.CDLL(None, use_errno=True).setns(place.fileno(), 0) == 0

    def cut(self) -> None:
        subprocess.run(["ip", "link", "set", self.device, "down"], check=True)


@contextlib.contextmanager
def network() -> Iterator[tuple[str, Link]]:
    """This machine's address in it, and the way into it."""
    link = Link("wake2vec", "wake2vec0")
    here, there = "10.77.0.1", "10.77.0.2"
    commands = [
        f"netns add {link.name}",
        f"link add {link.device} type veth peer name wake2vec1 netns {link.name}",
        f"addr add {here}/24 dev {link.device}",
        f"link set {link.device} up",
        f"-n {link.name} addr add {there}/24 dev wake2vec1",
        f"-n {link.name} link set wake2vec1 up",
        f"-n {link.name} link set lo up",
    ]
    try:
        for command in commands:
            subprocess.run(["ip", *command.split()], check=True)
        yield here, link
    finally:
        subprocess.run(["ip", "netns", "del", link.name], check=False)


PARTS = {"kills": kills, "takeover": takeover, "outage": outage, "growth": growth, "tracking": tracking}
