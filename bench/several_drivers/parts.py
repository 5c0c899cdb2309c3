"""The parts of `python -m bench.several_drivers`."""

import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient
from mlflow.entities import Metric
from optuna.trial import TrialState, create_trial

from bench.cluster.sleeping import sleeping_study, trained
from bench.figures import Figure, publish_parts
from bench.scale import Quiet
from bench.servers import PASSWORD, mlflow, postgres
from bench.several_drivers.kills import kills
from bench.several_drivers.sleeping import drive, restart, rows_of
from bench.several_drivers.takeover import takeover
from study.config import StudyConfig
from study.runs.addresses import Addresses, keep
from study.runs.postgres import PostgresDatabase
from study.runs.reader import StudyReader
from study.runs.run import Run, State
from study.runs.storage import tell_end
from study.search.proposal import distributions
from study.tracking import Tracker
from study.tracking.tracker import STUDY as STUDY_RUN
from study.tracking.tracker import Ids
from wake2vec import Progress

OUTAGE_S = 60.0
MANY = 3_000
RUNS, MARKED = 400, 8


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    os.environ["PGPASSWORD"] = PASSWORD
    publish_parts("several_drivers", PARTS)


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
    config = sleeping_study(1)
    knobs: dict[str, Any] = {"params": config.study.baseline, "distributions": distributions(config)}
    with postgres() as server:
        database = PostgresDatabase(server.create("study"))
        with database.hold("many") as lease, lease.opening() as storage:
            study = optuna.create_study(study_name="many", storage=storage, directions=["minimize"] * 4)
            attributes = {"digest": "0" * 16, "violations": [0.0, 0.0]}
            ended = create_trial(state=TrialState.COMPLETE, values=[0.0] * 4, user_attrs=attributes, **knobs)
            study.add_trials([ended] * MANY)
            reader, walls = StudyReader(study, config, folder), list[float]()
            reader.trials()
            for number in range(MANY, MANY + 50):
                began = time.monotonic()
                with lease.alone():
                    reader.trials()
                    study.add_trial(create_trial(state=TrialState.RUNNING, **knobs))
                    assert lease.claim(f"trial {number}")
                run = Run(State.FINISHED, number, config.study.baseline, (0.0,) * 4, "0" * 16, (0.0, 0.0))
                tell_end(study, run, config)
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


PARTS = {"kills": kills, "takeover": takeover, "outage": outage, "growth": growth, "tracking": tracking}
