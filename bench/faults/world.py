"""Whole studies that are killed, starved of disk and driven twice; each is then brought to its end and compared.

`python -m bench.faults world --count 3000` makes so many faults, `python -m bench.faults.world 1800` as many as half an
hour takes. Every study is compared with one that was left in peace: its
trials with parameters, values, records and rows, and MLflow's runs with their figures. Trials that had a result must
not be trained again.
"""

import contextlib
import itertools
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import torch
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

import study.tracking.sync
from bench.figures import Figure, publish
from bench.kills import OPERATIONS
from bench.small_base import build_base
from study.config import StudyConfig, check_config, read_profile
from study.engine.driver import drive
from study.engine.executor import Watcher
from study.runs.faults import Exit, exit_of, fault_of
from study.runs.reader import read_record
from study.runs.run import Run, State
from study.tracking.database import make_tracking
from study.tracking.sync import Projection
from study.tracking.telling import MOST_SHARE, Telling
from wake2vec import Progress, Wake2VecError, WorkFolder, prepare
from wake2vec.config import DEFAULT_FOLDER

KILLED = 9
SECONDS = 1800.0
MOST_DEATHS = 40
"""Of one study."""
LOCKED_S = 120.0
FURTHER = 16
"""Points at the most from one death to the next."""
LETTERS = 40_000
WORDS = 100
SIZES_B = [round(50e3 * 1.3**power) for power in range(26)]
"""Of disks, up to 35 MB."""
ROOM_B = 400_000_000
Held = tuple[list[tuple[object, ...]], list[tuple[object, ...]], list[tuple[object, ...]]]


Enough = Callable[["Counts"], bool]


def run(count: int, seed: int) -> list[Figure]:
    """So many faults."""
    return found(seed, lambda share: lambda counts: counts.faults >= share * count)


def main(seconds: float = SECONDS) -> bool:
    """As many as the time takes; whether all bars hold."""

    def until(share: float) -> Enough:
        ends: list[float] = []

        def is_over(_: Counts) -> bool:
            ends.append(time.monotonic() + share * seconds)
            return time.monotonic() >= ends[0]

        return is_over

    return publish("faults-world", f"python -m bench.faults.world {seconds:g}", found(0, until))


def found(seed: int, enough: Callable[[float], Enough]) -> list[Figure]:
    """`enough` gives, for a share of all, when a kind has had it."""
    torch.set_num_threads(1)  # a fork inherits no pool of threads
    vars(study.tracking.sync)["draw_study"] = lambda record: []  # pictures take longer than all the rest
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        config = small_study(Path(name))
        prepare(config.run)  # before any fork: all victims share it
        bench = Bench(config, Path(name), random.Random(seed))
        counts = {
            "kill -9 at random": bench.until(enough(0.25), bench.random_kills),
            "death before a commit": bench.until(enough(0.25), bench.deaths(before_commits)),
            "death before a file operation": bench.until(enough(0.2), bench.deaths(before_operations)),
            "full disk": bench.small_disks(enough(0.15)),
            "two drivers": bench.until(enough(0.15), bench.two_drivers),
        }
        share = bench.share_of_faults(LOCKED_S)
        controls = bench.controls()
    return [
        *figures(counts, controls),
        Figure("a trial's time that a locked MLflow takes", share, "", "<= 0.01", share <= MOST_SHARE),
    ]


def figures(counts: dict[str, "Counts"], controls: dict[str, bool]) -> Iterator[Figure]:
    for what, count in counts.items():
        yield Figure(what, count.faults, "")
        yield Figure(f"{what}: studies", count.studies, "")
        for name, value in (
            ("lost", count.lost),
            ("doubled", count.doubled),
            ("folders that can't go on", count.stuck),
        ):
            yield Figure(f"{what}: {name}", value, "", "0", value == 0)
        same = count.identical
        yield Figure(f"{what}: identical", same, "", "all studies", same == count.studies)
        if count.left_out:
            yield Figure(f"{what}: left out", count.left_out, "")
    for name, noticed in controls.items():
        yield Figure(f"control: {name}, noticed", str(noticed), "", "True", noticed)


def small_study(folder: Path) -> StudyConfig:
    """Three trials of a few steps, an anchor among them, with a checkpoint after each step.

    Its inputs are written into `folder`: a model of random weights, the beginning of the profile's text, and words of
    its lexicon that stand there.
    """
    text = (DEFAULT_FOLDER / "corpus.txt").read_text(encoding="utf-8")[:LETTERS]
    (folder / "corpus.txt").write_text(text, encoding="utf-8")
    there = set(text.split())
    words = [word for word in (DEFAULT_FOLDER / "lexicon.txt").read_text("utf-8").split() if word in there]
    (folder / "lexicon.txt").write_text("\n".join(words[:WORDS]) + "\n", encoding="utf-8")
    build_base(folder / "model", text)
    tree = read_profile("tiny", ["machine.threads=1", "machine.checkpoint_every_s=0", "sample.count=0"])
    section = tree["study"]
    section |= {"trials": 3, "workers": 1, "sampler": "random", "seeds": 1, "bounds": [], "stopping": None}
    section |= {"choice": {}, "aimed_trials": 0, "anchors": {"noise 1.0": {"init.noise_scale": 1.0}}}
    section["space"]["train.steps"] = {"low": 2, "high": 3}
    section["baseline"]["train.steps"] = 3
    tree["model"] = {"path": str(folder / "model")}
    tree["vocabulary"] = {"lexicon": str(folder / "lexicon.txt")}
    tree["corpus"] = {"path": str(folder / "corpus.txt"), "validation_share": 0.1, "block_tokens": 64}
    tree["retention"] = {"path": str(folder / "corpus.txt")}
    tree["train"] = {**tree.get("train", {}), "evaluate_every_steps": 3, "precision": "float32"}
    return check_config(tree)


def held(folder: Path, config: StudyConfig) -> Held:
    """All that must not depend on what befell the study: trials, MLflow's runs, and their figures."""
    trials: list[tuple[object, ...]] = []
    for trial in read_record(config, folder).trials:
        work = WorkFolder(folder / "trials" / trial.digest)
        records = [(record.step, record.numbers) for record in work.progress()]
        rows = {name: rows.tobytes() for name, rows in work.read_arrays("rows").items()}
        trials.append((trial.number, trial.state, trial.params, trial.values, trial.name, records, rows))
    own = f"study {config.study.name}"
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        names = "SELECT name, status FROM runs WHERE lifecycle_stage = 'active' ORDER BY name"
        # Of the study's own figures the latest: one that is made anew doesn't know what was chosen before.
        figures = (
            "SELECT name, key, step, round(value, 9) FROM {} JOIN runs USING (run_uuid) "
            "WHERE lifecycle_stage = 'active' AND name {} ? AND key NOT LIKE 'system.%' ORDER BY 1, 2, 3, 4"
        )
        found = [
            row
            for which in (("metrics", "!="), ("latest_metrics", "="))
            for row in database.execute(figures.format(*which), (own,)).fetchall()
        ]
        return trials, database.execute(names).fetchall(), found


@dataclass
class Counts:
    """What came of one kind of fault."""

    faults: int = 0
    studies: int = 0
    lost: int = 0
    """Trials that had a result and were trained again."""
    doubled: int = 0
    """Trials and runs of MLflow that stand there more than once."""
    stuck: int = 0
    """Folders in which the same command doesn't come to a good end."""
    identical: int = 0
    left_out: str = ""
    """Why the kind wasn't tried; empty: it was."""
    seen: dict[str, int] = field(default_factory=dict)
    """When each result was written that stood there at a fault."""

    def note(self, folder: Path) -> None:
        self.seen |= {str(path): path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")}


class Bench:
    """Studies in folders of their own, beside one that was left in peace."""

    def __init__(self, config: StudyConfig, folder: Path, random_: random.Random) -> None:
        self._config, self._folder, self._random = config, folder, random_
        self._calm = folder / "calm"
        began = time.monotonic()
        assert self._drive_to_its_end(self._calm)
        self._takes_s = time.monotonic() - began
        self._expected = held(self._calm, config)
        self._count = itertools.count()
        self._made = folder / "made"
        self._made.mkdir()
        make_tracking(self._made)

    def until(self, enough: Enough, strike: Callable[[Path, Counts], None]) -> Counts:
        """Studies, struck and brought to their end, one after the other."""
        counts = Counts()
        while not enough(counts):
            folder = self._new()
            strike(folder, counts)
            self._compare(folder, counts)
        return counts

    def random_kills(self, folder: Path, counts: Counts) -> None:
        for _ in range(MOST_DEATHS):
            child = fork(lambda: self._drive(folder), folder)
            time.sleep(self._random.uniform(0, self._takes_s / 3))
            os.kill(child, signal.SIGKILL)
            if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
                return
            counts.faults += 1
            counts.note(folder)

    def deaths(self, dying: Callable[["Countdown"], None]) -> Callable[[Path, Counts], None]:
        """Of a study whose trials have been trained: at all that is done with results, a few points further each time.

        So deaths cost no training.
        """

        def strike(folder: Path, counts: Counts) -> None:
            shutil.copytree(self._calm / "trials", folder / "trials")
            shutil.copy(self._made / "mlflow.db", folder)
            for _ in range(MOST_DEATHS):
                at = Countdown(self._random.randrange(FURTHER))

                def work(at: Countdown = at) -> None:
                    dying(at)
                    self._drive(folder)

                if code_of(fork(work, folder)) != KILLED:
                    return
                counts.faults += 1
                counts.note(folder)

        return strike

    def small_disks(self, enough: Enough) -> Counts:
        """A disk in memory, full at some point of the study, in which there is room then."""
        counts = Counts()
        if os.geteuid() != 0:
            counts.left_out = "only root can mount a disk"
            return counts
        sizes = SIZES_B.copy()
        self._random.shuffle(sizes)
        while sizes and not enough(counts):
            size, folder = sizes.pop(), self._new()
            if not mounted(folder, size, "rw"):
                counts.left_out = "no disk can be mounted here"
                return counts
            try:
                counts.faults += code_of(fork(lambda folder=folder: self._drive(folder), folder)) == Exit.DISK  # type: ignore[misc]
                counts.note(folder)
                assert mounted(folder, ROOM_B, "remount")
                self._compare(folder, counts, keep=True)
            finally:
                subprocess.run(["umount", str(folder)], check=True)
        counts.left_out = f"{len(sizes)} sizes" if sizes else ""
        return counts

    def two_drivers(self, folder: Path, counts: Counts) -> None:
        """A second one beside the first, which may sleep, and whose lock and note may be gone."""
        first = fork(lambda: self._drive(folder), folder)
        time.sleep(self._random.uniform(0, self._takes_s))
        sleeps, lock, note = (self._random.random() < 0.5 for _ in range(3))
        if sleeps:
            os.kill(first, signal.SIGSTOP)
        for is_gone, ending in ((lock, "lock"), (note, "driver")):
            if is_gone:
                (folder / f".{self._config.study.name}.{ending}").unlink(missing_ok=True)
        second = fork(lambda: self._drive(folder), folder)
        time.sleep(self._random.uniform(0, self._takes_s))
        if sleeps:
            os.kill(first, signal.SIGCONT)
        codes = {code_of(first), code_of(second)}
        counts.faults += 1
        counts.stuck += not codes <= {0, Exit.IN_USE}  # the loser ends with a line
        counts.note(folder)

    def share_of_faults(self, seconds: float) -> float:
        """Of the time of a trial whose MLflow is locked all the while."""
        folder = self._new()
        shutil.copy(self._made / "mlflow.db", folder)
        told, spent_s = Telling(Projection(self._config, folder, {}), lambda said: None), 0.0
        end = time.monotonic() + seconds
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            began = time.monotonic()
            live = told.begin(Run(State.RUNNING, 0, self._config.study.baseline), {})
            spent_s += time.monotonic() - began
            for step in itertools.count():
                time.sleep(0.05)
                began = time.monotonic()
                told.progressed(live, Progress(step, {"training.loss": 1.0}, time.time()))
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
            folder = self._new()
            shutil.copytree(self._calm, folder, dirs_exist_ok=True)
            with contextlib.closing(
                sqlite3.connect(folder / ("optuna.db" if "trials" in spoil else "mlflow.db"))
            ) as database:
                database.execute(spoil)
                database.commit()
            found[name] = held(folder, self._config) != self._expected
        return found

    def _compare(self, folder: Path, counts: Counts, keep: bool = False) -> None:
        counts.studies += 1
        if not self._drive_to_its_end(folder):
            counts.stuck += 1
            return
        counts.lost += sum(Path(path).stat().st_mtime_ns != at for path, at in counts.seen.items())
        counts.seen.clear()
        found = held(folder, self._config)
        counts.doubled += max(len(found[0]) - len(self._expected[0]), 0)
        counts.doubled += sum(number - 1 for number in Counter(name for name, _ in found[1]).values())
        counts.identical += found == self._expected
        print(f"{counts.faults} faults, {counts.identical} of {counts.studies} studies identical", file=sys.stderr)
        if not keep:
            shutil.rmtree(folder)

    def _new(self) -> Path:
        folder = self._folder / str(next(self._count))
        folder.mkdir()
        return folder

    def _drive(self, folder: Path) -> None:
        drive(self._config, folder, Silent())

    def _drive_to_its_end(self, folder: Path) -> bool:
        return code_of(fork(lambda: self._drive(folder), folder)) == 0


class Silent(Watcher):
    """Says nothing."""


def fork(work: Callable[[], object], folder: Path) -> int:
    """The process that does it in a results folder; it ends with its fault's exit code, with 1 after a traceback."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except Exception as fault:  # noqa: BLE001 - as the commands tell it
        said = fault if isinstance(fault, Wake2VecError) else fault_of(fault, folder)
        code = exit_of(said) if said is not None else 1
        if said is None:
            traceback.print_exc()
    except BaseException:  # noqa: BLE001 - the child must never go on as a second bench
        traceback.print_exc()
    finally:
        os._exit(code)


def code_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Countdown:
    """Called at each point, it ends the process at the last one."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            os._exit(KILLED)


def before_commits(point: Countdown) -> None:
    """From now on it is called before each commit of a change, of whatever database."""
    changed = set[Connection]()

    def note(connection: Connection, cursor: object, statement: str, *_: object) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            changed.add(connection)

    def commit(connection: Connection) -> None:
        if connection in changed:
            changed.discard(connection)
            point()

    event.listen(Engine, "before_cursor_execute", note)
    event.listen(Engine, "commit", commit)


def before_operations(point: Countdown) -> None:
    """From now on it is called before each operation on files, in work folders, beside databases, of notes."""

    def deadly(original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            point()
            return original(*arguments, **options)

        return counted

    for owner, name in OPERATIONS:
        setattr(owner, name, deadly(getattr(owner, name)))


def mounted(folder: Path, size_b: int, how: str) -> bool:
    words = ["mount", "-t", "tmpfs", "-o", f"{how},size={size_b}", "tmpfs", str(folder)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(not main(*map(float, sys.argv[1:])))
