"""Small studies that faults are put into, beside one that was left in peace; each is brought to its end and compared.

What is compared: trials with parameters, values, records and rows, and MLflow's runs with their figures. Trials that
had a result must not be trained again.
"""

import contextlib
import itertools
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import optuna
import torch
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

import study.tracking.sync
from bench.figures import Figure
from bench.kills import OPERATIONS
from bench.small_base import build_base
from study.config import StudyConfig, check_config, read_profile
from study.engine.drive import drive
from study.engine.executor import Watcher
from study.runs.faults import exit_of, fault_of
from study.runs.reader import read_record
from study.tracking import relocate
from wake2vec import Wake2VecError, WorkFolder, prepare
from wake2vec.config import DEFAULT_FOLDER

KILLED = 9
FURTHER = 16
"""Points at the most from one death to the next."""
LETTERS = 40_000
WORDS = 100
Kind = TypeVar("Kind", bound="Studies")
Held = tuple[list[tuple[object, ...]], list[tuple[object, ...]], list[tuple[object, ...]]]


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
    """When each result was first seen to be written, that stood there at a fault."""

    def note(self, folder: Path) -> None:
        there = {str(path): path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")}
        self.seen = there | self.seen


Enough = Callable[[Counts], bool]


class Studies:
    """Each in a folder of its own."""

    def __init__(self, config: StudyConfig, folder: Path, random_: random.Random) -> None:
        self.config, self.random, self.folder = config, random_, folder
        self.calm = folder / "calm"
        """Of the study that was left in peace."""
        began = time.monotonic()
        assert self.drive_to_its_end(self.calm)
        self.takes_s = time.monotonic() - began
        self.expected = held(self.calm, config)
        self._count = itertools.count()

    def until(
        self,
        enough: Enough,
        strike: Callable[[Path, Counts], None],
        also: Callable[[Path], bool] = lambda folder: True,
        begin: Callable[[], Path] | None = None,
    ) -> Counts:
        """Studies, struck and brought to their end, one after the other.

        `also`: whether what else came of it is as it must be; `begin` makes the folder, which is empty without it.
        """
        counts = Counts()
        while not enough(counts):
            folder = (begin or self.new)()
            strike(folder, counts)
            self.compare(folder, counts, also)
            for path in (folder, *self.folder.glob(f"{folder.name}-*")):
                shutil.rmtree(path)
        return counts

    def compare(self, folder: Path, counts: Counts, also: Callable[[Path], bool] = lambda folder: True) -> None:
        counts.studies += 1
        if not self.drive_to_its_end(folder):
            counts.stuck += 1
            return
        counts.lost += sum(Path(path).stat().st_mtime_ns != at for path, at in counts.seen.items())
        counts.seen.clear()
        found = held(folder, self.config)
        counts.doubled += max(len(found[0]) - len(self.expected[0]), 0)
        counts.doubled += sum(number - 1 for number in Counter(name for name, _ in found[1]).values())
        counts.identical += found == self.expected and also(folder)
        print(f"{counts.faults} faults, {counts.identical} of {counts.studies} studies identical", file=sys.stderr)

    def deaths(
        self, folder: Path, counts: Counts, dying: Callable[["Countdown"], None], work: Callable[[], object], most: int
    ) -> None:
        """Up to `most` of them, a few points further each time, until the work is done."""
        for _ in range(most):
            at = Countdown(self.random.randrange(FURTHER))

            def doomed(at: Countdown = at) -> None:
                dying(at)
                work()

            if code_of(fork(doomed, folder)) != KILLED:
                return
            counts.faults += 1
            counts.note(folder)

    def new(self) -> Path:
        folder = self.folder / str(next(self._count))
        folder.mkdir()
        return folder

    def copy(self) -> Path:
        """Of the study that was left in peace."""
        folder = self.new()
        shutil.copytree(self.calm, folder, dirs_exist_ok=True)
        relocate(folder / "mlflow.db", self.calm, folder)
        return folder

    def drive(self, folder: Path) -> None:
        drive(self.config, folder, Silent())

    def drive_to_its_end(self, folder: Path) -> bool:
        return code_of(fork(lambda: self.drive(folder), folder)) == 0


def figures(counts: dict[str, Counts], controls: dict[str, bool]) -> Iterator[Figure]:
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
    yield Figure("faults in all", sum(count.faults for count in counts.values()), "")
    for name, noticed in controls.items():
        yield Figure(f"control: {name}, noticed", str(noticed), "", "True", noticed)


@contextlib.contextmanager
def small_studies(seed: int, kind: type[Kind]) -> Iterator[Kind]:
    """Beside one that was left in peace; the folder goes with the context."""
    torch.set_num_threads(1)  # a fork inherits no pool of threads
    vars(study.tracking.sync)["draw_study"] = lambda record: []  # pictures take longer than all the rest
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        config = small_study(Path(name))
        prepare(config.run)  # before any fork: all victims share it
        yield kind(config, Path(name), random.Random(seed))


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
            "WHERE lifecycle_stage = 'active' AND name {} ? AND key NOT LIKE 'system%' ORDER BY 1, 2, 3, 4"
        )
        found = [
            row
            for which in (("metrics", "!="), ("latest_metrics", "="))
            for row in database.execute(figures.format(*which), (own,)).fetchall()
        ]
        return trials, database.execute(names).fetchall(), found


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
