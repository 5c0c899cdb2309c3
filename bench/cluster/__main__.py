"""`python -m bench.cluster [PART ...]`: what many workers do to one driver, and what it bears of theirs: docs/scale.md.

`slots`: 80 trials of 2 s with one slot and with eight, and what the driver takes of a trial and of an event.
`kills`: 100 trials on three nodes, whose workers, nodes and drivers are killed meanwhile. Ten minutes in all.
"""

import contextlib
import dataclasses
import itertools
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil

from bench.cluster import ADVISED
from bench.cluster.sleeping import drive, sleeping_study, trained
from bench.faults.soak import doubled
from bench.faults.studies import held
from bench.figures import Figure, publish_parts
from bench.scale import Quiet
from study.engine.ray_address import LOCAL
from study.engine.worker import Outcome, Suspended, Task
from study.runs.run import Run
from wake2vec import Progress, RunConfig, WorkFolder

TRIALS, SECONDS = 80, 2.0
SLOTS = 8
KILLED_TRIALS, KILLED_SLOTS, NODES = 100, 4, 2
SECONDS_TO_A_WORKER, SECONDS_TO_A_NODE = 10.0, 40.0
"""Of a worker that begins, this machine has eleven seconds: more kills would leave none alive."""
DRIVERS_KILLED_AT = (20, 60)
"""Ended trials."""
EVENTS = 2_000


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    os.environ |= ADVISED
    publish_parts("cluster", PARTS)


def slots(folder: Path) -> Iterator[Figure]:
    """Workers begin before what is timed: each must load torch, which eight on two cores do for half a minute."""
    import ray

    from study.engine import cluster

    source = trained(sleeping_study(1), folder / "source")
    cluster._connect(LOCAL, SLOTS, gpus=0)
    drive(sleeping_study(2 * SLOTS), folder / "warm", source, 4.0, SLOTS, LOCAL)
    walls = {}
    for count in (1, SLOTS):
        watch, worked = Watch(), time.process_time()
        record = drive(sleeping_study(TRIALS), folder / str(count), source, SECONDS, count, LOCAL, watch)
        ended_s, took = time.monotonic(), time.process_time() - worked
        assert len(record.finished) == TRIALS
        walls[count] = ended_s - watch.made_s
        yield Figure(f"{TRIALS} trials of {SECONDS:g} s, {count} slots: wall", walls[count], "s")
        yield Figure(f"{TRIALS} trials, {count} slots: the driver's processor time a trial", took / TRIALS, "s")
        yield from watch.figures(count, ended_s)
    ratio = walls[1] / walls[SLOTS]
    yield Figure(f"1 slot / {SLOTS} slots, wall", ratio, "", ">= 7", ratio >= 7)
    for name, events in (("without an event", 0), (f"with {EVENTS:,} events", EVENTS)):
        tasks = Tasks(sleeping_study(1).run, TRIALS)
        work = Chatter(SECONDS, events)
        began, worked = time.monotonic(), time.process_time()
        with cluster.Cluster(folder, SLOTS, sleeping_study(1).run, LOCAL, work=work) as executor:
            executor.work(tasks)
        took, wall = time.process_time() - worked, time.monotonic() - began
        assert (tasks.ended_, tasks.told_) == (TRIALS, TRIALS * events)
        yield Figure(f"the executor alone, {TRIALS} tasks {name}, {SLOTS} slots: wall", wall, "s")
        yield Figure(f"the executor alone, {name}: share of a core", took / wall, "")
    ray.shutdown()


class Watch(Quiet):
    """Of a study: when its runs begin and end, and what MLflow's process takes."""

    def __init__(self) -> None:
        self.made_s = time.monotonic()
        self._begun: dict[str, float] = {}
        self._took: list[float] = []
        self._first_s = self._last_s = self._mlflow_s = self._mlflow_bytes = 0.0
        self._worked_first_s = self._worked_last_s = 0.0

    def run_started(self, run: Run, run_config: RunConfig, ended: int) -> None:
        self._begun[run.label] = time.monotonic()
        self._first_s = self._first_s or self._begun[run.label]
        self._worked_first_s = self._worked_first_s or time.process_time()

    def run_ended(self, run: Run) -> None:
        self._last_s, self._worked_last_s = time.monotonic(), time.process_time()
        self._took.append(self._last_s - self._begun[run.label])
        (mlflow,) = (child for child in multiprocessing.active_children() if child.name == "mlflow")
        process = psutil.Process(mlflow.pid)
        times = process.cpu_times()
        self._mlflow_s, self._mlflow_bytes = times.user + times.system, float(process.memory_info().rss)

    def figures(self, count: int, ended_s: float) -> Iterator[Figure]:
        yield Figure("  from the start to the first run", self._first_s - self.made_s, "s")
        yield Figure("  from the first run's start to the last one's end", self._last_s - self._first_s, "s")
        share = (self._worked_last_s - self._worked_first_s) / (self._last_s - self._first_s)
        bar = ("< 0.1", share < 0.1) if count == SLOTS else ()
        yield Figure("  the driver meanwhile: share of a core", share, "", *bar)
        yield Figure("  after that: the study's pictures, and what MLflow lacks", ended_s - self._last_s, "s")
        first, others = self._took[:count], self._took[count:]
        yield Figure(
            "  a run, from its start to its end, of those that begin first: median", statistics.median(first), "s"
        )
        yield Figure("  of the others: median", statistics.median(others), "s")
        yield Figure("  MLflow's process: processor time a trial", self._mlflow_s / len(self._took), "s")
        yield Figure("  MLflow's process: memory", self._mlflow_bytes / 1e6, "MB")


@dataclasses.dataclass
class Chatter:
    """In place of training: it tells so many events in so many seconds."""

    seconds: float
    events: int

    def __call__(self, task: Task, folder: Path, threads: int, line: Any, stop: Any) -> Outcome | Exception:
        until = time.monotonic() + self.seconds
        for step in range(self.events):
            line.send(Progress(step, {"training.loss": 4.0, "training.grad_norm": 1.0}, 0.0))
        while time.monotonic() < until:
            line.asks_to_stop()
            time.sleep(0.1)
        return Suspended()


class Tasks:
    """A scheduler that has nothing to do."""

    deadline = None

    def __init__(self, config: Any, count: int) -> None:
        self._left = [Task(str(number), config, str(number)) for number in range(count)]
        self.ended_, self.told_ = 0, 0

    def next_task(self) -> Task | None:
        return self._left.pop() if self._left else None

    def told(self, task: Task, event: object) -> None:
        self.told_ += 1

    def ended(self, task: Task, outcome: object) -> None:
        self.ended_ += 1

    def stop(self) -> bool:
        return False


def kills(folder: Path) -> Iterator[Figure]:
    """Three nodes, one of them the driver's own, without room for trials."""
    from ray.cluster_utils import Cluster as Nodes

    source = trained(sleeping_study(1), folder / "source")
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(NODES):
        nodes.add_node(num_cpus=KILLED_SLOTS // NODES)
    results, killer = folder / "results", Killer(nodes)
    limits = iter((*DRIVERS_KILLED_AT, KILLED_TRIALS + 1))
    began, limit, called, code = time.monotonic(), next(limits), 0, -1
    while code:
        driver, called = call_driver(nodes.address, results, source), called + 1
        while driver.poll() is None:
            killer.look()
            if ended(results) >= limit:
                driver.kill()
                limit = next(limits)
            time.sleep(0.2)
        code = driver.returncode
        assert called < 20, "it doesn't come to an end"
    wall = time.monotonic() - began
    nodes.shutdown()
    config = sleeping_study(KILLED_TRIALS)
    found = held(results, config)
    numbers = [trial[0] for trial in found[0]]
    states = {str(trial[1]) for trial in found[0]}
    names = [name for name, _ in found[1]]
    yield Figure(f"{KILLED_TRIALS} trials of {SECONDS:g} s on {NODES} nodes with {KILLED_SLOTS} slots: wall", wall, "s")
    for what, count in killer.counts.items():
        yield Figure(f"killed: {what}", count, "")
    yield Figure("killed: drivers", len(DRIVERS_KILLED_AT), "")
    again = called - 1 - len(DRIVERS_KILLED_AT)
    yield Figure("called again for another reason: a run that lost its worker four times", again, "")
    is_whole = numbers == list(range(KILLED_TRIALS)) and len(states) == 1
    yield Figure("trials ended, each once", len(set(numbers)), "", str(KILLED_TRIALS), is_whole)
    yield Figure("runs of MLflow doubled", len(names) - len(set(names)), "", "0", len(names) == len(set(names)))
    yield Figure("figures of MLflow doubled", doubled(found), "", "0", doubled(found) == 0)
    with_result = sum((results / "trials" / name / "result.json").exists() for name in digests(results))
    yield Figure("trials with a result", with_result, "", str(KILLED_TRIALS), with_result == KILLED_TRIALS)


def digests(results: Path) -> set[str]:
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{results / 'optuna.db'}")
    return {trial.user_attrs["digest"] for trial in study.get_trials(deepcopy=False)}


def ended(results: Path) -> int:
    return sum(1 for _ in results.glob("trials/*/result.json"))


def call_driver(address: str, results: Path, source: WorkFolder) -> "subprocess.Popen[bytes]":
    arguments = [address, str(results), str(source.path), str(KILLED_TRIALS), str(KILLED_SLOTS), str(SECONDS)]
    return subprocess.Popen([sys.executable, "-m", "bench.cluster.sleeping", *arguments], stdin=subprocess.DEVNULL)


class Killer:
    """Kills a worker that has a trial every ten seconds, and a node every forty, which another follows."""

    def __init__(self, nodes: Any) -> None:
        self._nodes, self._dice = nodes, random.Random(0)
        self._beats, self._last_s = itertools.count(1), time.monotonic()
        self.counts = {"workers": 0, "nodes": 0}

    def look(self) -> None:
        if time.monotonic() - self._last_s < SECONDS_TO_A_WORKER:
            return
        self._last_s = time.monotonic()
        all_ = psutil.process_iter(["cmdline"])
        serving = [one for one in all_ if "ray::serve" in "".join(one.info["cmdline"] or ())]
        if serving:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._dice.choice(serving).kill()
                self.counts["workers"] += 1
        if next(self._beats) % round(SECONDS_TO_A_NODE / SECONDS_TO_A_WORKER) == 0:
            lost = self._dice.choice(sorted(self._nodes.worker_nodes, key=id))
            self._nodes.remove_node(lost, allow_graceful=False)
            self._nodes.add_node(num_cpus=KILLED_SLOTS // NODES)
            self.counts["nodes"] += 1


PARTS = {"slots": slots, "kills": kills}


if __name__ == "__main__":
    main()
