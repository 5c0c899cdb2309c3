"""A study of 60 short trials in which all faults of the world are mixed for half an hour; then it is compared.

`python -m bench.faults.soak 1800` takes about so many seconds, beside the time of the same study in peace. In the first
third the faults are those that must not end a driver: one process lives through them, and its memory and open files
are read each second. After that kills, full disks and damaged files are among them, and what they end is begun again.
"""

import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import torch

import study.runs.sqlite
import study.tracking.sync
import study.tracking.telling
from bench.faults.mixture import GENTLE, HARSH, ROOM_B, Deck, Scene
from bench.faults.rights import as_any_user
from bench.faults.studies import KILLED, Counts, Held, fork, held, small_study
from bench.faults.world import World, mounted
from bench.figures import Figure, publish
from study.config import StudyConfig
from study.engine.drive import drive
from study.engine.executor import Watcher
from study.runs.database import is_damaged, put_aside
from study.runs.faults import Exit, fault_of
from study.runs.run import Run
from wake2vec import DAMAGED, Progress, RunConfig, prepare

SECONDS = 1800.0
TRIALS = 60
GENTLE_SHARE = 1 / 3
PACE_SHARE = 0.95
"""Of the time in which the trials would end if no fault took any."""
FAULTS = 150
"""In so many moments of the time, though no closer than two seconds."""
PATIENCE_S = 6.0
"""Of these drivers, in place of half a minute: so a lock beyond it needn't take long."""
AGAIN_S = 1.0
"""From a driver's end to the next one's beginning."""
SECOND_S = 180.0
"""By then one of two drivers must have given up."""
LAST_S = 900.0
"""For the study's end when the faults are over."""
MOST_GROWTH = 1.1
"""Of memory, from a quarter of a driver's life to its end. By then all libraries have been used; what grows still are
caches of prepared products, whose places are bounded (docs/log.md)."""
MOST_FILES = 2
"""More files than at a quarter: a database is opened for each transaction, so that a moment's look may meet one."""
MOST_TOLD, LONGEST = 20, 200
"""Differences that are told, and letters of each."""
STORAGE = {*Exit} - {Exit.UNUSABLE, Exit.INTERRUPTED}
"""Ends with one line that says what to do."""


@dataclass(frozen=True)
class Sample:
    """What a driver has at a moment."""

    at_s: float
    memory_b: int
    files: int
    ended: int
    """Trials of the study by then."""


class Paced(Watcher):
    """It sleeps at each step, so that the trials fill the time: `trial_s` each, from `began_s` on."""

    def __init__(self, began_s: float, trial_s: float) -> None:
        self._began_s, self._trial_s = began_s, trial_s
        self._ended, self._steps = 0, 1

    def run_started(self, run: Run, run_config: RunConfig, ended: int) -> None:
        self._ended, self._steps = ended, run_config.train.steps

    def progressed(self, name: str, record: Progress) -> None:
        due = self._began_s + self._trial_s * (self._ended + record.step / self._steps)
        time.sleep(min(max(due - time.monotonic(), 0), self._trial_s / self._steps))

    def mlflow_lacks(self, what: str) -> None:
        say(f"  driver {os.getpid()}: {what}")

    def remeasuring(self, what: str) -> None:
        say(f"  driver {os.getpid()}: {what}")


def say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


@dataclass
class Life:
    """Of one driver."""

    samples: list[Sample] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.samples[-1].at_s - self.samples[0].at_s if self.samples else 0.0

    def around(self, share: float) -> tuple[float, float, int]:
        """Memory in bytes and open files at that share of its life, medians of a tenth of it; and ended trials."""
        middle = self.samples[0].at_s + share * self.seconds
        near = [sample for sample in self.samples if abs(sample.at_s - middle) <= self.seconds / 10]
        memory_b = statistics.median(sample.memory_b for sample in near)
        return memory_b, statistics.median(sample.files for sample in near), near[-1].ended

    @property
    def growth(self) -> float:
        return self.around(1)[0] / self.around(0.25)[0]

    @property
    def more_files(self) -> float:
        return self.around(1)[1] - self.around(0.25)[1]

    @property
    def is_flat(self) -> bool:
        return self.growth <= MOST_GROWTH and self.more_files <= MOST_FILES


def sample_of(pid: int, ended: int = 0) -> Sample | None:
    """None: it is ending."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        kilobytes = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")), None)
        if kilobytes is not None:
            files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
            return Sample(time.monotonic(), 1024 * int(kilobytes), files, ended)
    return None


class Soak(World):
    """One study, driven for as long as possible by one process, and begun again by the same call when it ended."""

    def __init__(self, config: StudyConfig, folder: Path, random_: random.Random, seconds: float) -> None:
        super().__init__(config, folder, random_)
        self.counts = Counts()
        self.seconds = seconds
        self.driver: int | None = None
        self.others: list[int] = []
        self.lives: dict[int, Life] = {}
        self.ends: Counter[str] = Counter()
        self.untold = 0
        """Ends of drivers by a traceback, or in another way that isn't one of `STORAGE`."""
        self.ended_gently = 0
        """Ends of drivers by faults that must not end them."""
        self.is_gentle = True
        self.is_done = False
        self._again_s = 0.0
        self._sampled_s = 0.0
        self._killed: set[int] = set()
        place, aside = self.new(), self.folder / "aside"
        aside.mkdir()
        self.scene = Scene(config, place, aside, random_, self.counts, self)
        self.scene.has_disk = os.geteuid() == 0 and mounted(place, ROOM_B, "rw")
        self.began_s = time.monotonic()
        self.gentle, self.all = Deck(GENTLE, random_), Deck(GENTLE | HARSH, random_)

    def soak(self) -> Held:
        """What the study holds in the end."""
        pause = max(self.seconds / FAULTS, 2.0)
        self.began_s = time.monotonic()
        self._begin()
        while (now := time.monotonic() - self.began_s) < self.seconds and not self.is_done:
            self.wait(self.random.uniform(0.3, 1.7) * pause)
            self.is_gentle = now < GENTLE_SHARE * self.seconds
            self.scene.keep_copies()
            self.counts.note(self.scene.folder)
            name = (self.gentle if self.is_gentle else self.all).strike(self.scene)
            self.counts.faults += bool(name)
            say(f"{time.monotonic() - self.began_s:6.0f} s, {self.ended} ended: {name}")
        self.is_gentle = False
        say("the faults are over")
        self.scene.calm()
        end = time.monotonic() + LAST_S
        while not self.is_done and time.monotonic() < end:
            self.wait(1)
        for pid in (self.driver, *self.others):
            if pid is not None:
                self._end(pid)
        self.counts.stuck += not self.is_done
        self.compare(self.scene.folder, self.counts)
        found = held(self.scene.folder, self.config)
        for what, own, peace in zip(("trials", "runs", "figures"), found, self.expected, strict=True):
            for sign, rows in (
                (("more", set(own) - set(peace)), ("less", set(peace) - set(own))) if own != peace else ()
            ):
                for row in sorted(map(str, rows))[:MOST_TOLD]:
                    say(f"  {what}, {sign}: {row[:LONGEST]}")
        return found

    @property
    def ended(self) -> int:
        return sum(1 for _ in self.scene.folder.glob("trials/*/result.json"))

    def wait(self, seconds: float) -> None:
        """Meanwhile drivers are watched and begun again, and faults are undone."""
        end = time.monotonic() + seconds
        while True:
            self.scene.look()
            self._reap()
            self._sample()
            if (left := end - time.monotonic()) <= 0:
                return
            time.sleep(min(left, 0.2))

    def second(self) -> None:
        """Another driver beside the one that is there; one of them must give up."""
        self.others.append(self._fork())
        end = time.monotonic() + SECOND_S
        while self.others and time.monotonic() < end:
            self.wait(0.2)
        for pid in self.others:
            say(f"  two drivers at once: {self.driver} and {pid}")
            self.counts.stuck += 1
            self._end(pid)
        self.others.clear()

    def drive_on(self) -> None:
        pace = Paced(self.began_s, PACE_SHARE * self.seconds / self.config.study.trials)
        try:
            with as_any_user():
                drive(self.config, self.scene.folder, pace)
        except Exception as fault:
            say(f"  driver {os.getpid()}: {fault_of(fault, self.scene.folder) or fault}")
            raise

    def _fork(self) -> int:
        pid = fork(self.drive_on, self.scene.folder)
        self.lives[pid] = Life()
        return pid

    def _begin(self) -> None:
        self.driver = self._fork()
        say(f"  driver {self.driver} begins")

    def _end(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def _reap(self) -> None:
        for pid in [pid for pid in (self.driver, *self.others) if pid is not None]:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            self._note_end(pid, os.waitstatus_to_exitcode(status))
            if pid == self.driver:
                self.driver = self.others.pop(0) if self.others else None
                self._again_s = time.monotonic() + AGAIN_S
            else:
                self.others.remove(pid)
        if self.driver is None and not self.is_done and time.monotonic() >= self._again_s:
            self._begin()

    def _note_end(self, pid: int, code: int) -> None:
        """Of a driver; what its line advises is done."""
        self.is_done |= code == 0
        words = "done" if code == 0 else "killed" if code == -KILLED else f"exit {code}"
        if code in STORAGE:
            words = Exit(code).name.lower().replace("_", " ")
        say(f"  driver {pid} ends: {words}")
        self.ends[words] += 1
        self.untold += code not in {0, -KILLED, *STORAGE}
        self.ended_gently += self.is_gentle and pid == self.driver and code != 0
        database = self.scene.folder / "optuna.db"
        if code == Exit.DAMAGED and database.exists() and is_damaged(database):
            put_aside(database, DAMAGED)

    def _sample(self) -> None:
        if time.monotonic() - self._sampled_s < 1:
            return
        self._sampled_s = time.monotonic()
        if self.driver is not None and (sample := sample_of(self.driver, self.ended)) is not None:
            self.lives[self.driver].samples.append(sample)

    def close(self) -> None:
        self.scene.calm()
        if self.scene.has_disk:
            subprocess.run(["umount", str(self.scene.folder)], check=True)

    def figures(self, found: Held) -> Iterator[Figure]:
        longest = max(self.lives.values(), key=lambda life: life.seconds)
        (early_b, early_files, first), (late_b, late_files, last) = longest.around(0.25), longest.around(1)
        damaged = self.scene.damaged
        again = sum(path.exists() and path.stat().st_mtime_ns != at for path, at in damaged.items())
        yield Figure("faults", self.counts.faults, "")
        yield Figure("kinds of faults", len(self.gentle.made | self.all.made), "")
        yield Figure("trials", len(found[0]), "")
        for name, value in (
            ("trials lost", self.counts.lost),
            ("trials and runs of MLflow doubled", self.counts.doubled),
            ("figures of MLflow doubled", doubled(found) - doubled(self.expected)),
            ("drivers that ended by a fault that must not end them", self.ended_gently),
            ("drivers that ended without one line and its exit code", self.untold),
            ("times that the same command didn't go on", self.counts.stuck),
        ):
            yield Figure(name, value, "", "0", value == 0)
        same = found == self.expected
        yield Figure("identical to a study in peace", str(same), "", "True", same)
        yield Figure("trials damaged on purpose", len(damaged), "")
        yield Figure("of them named by the doctor", self.scene.named, "", "all", self.scene.named == len(damaged))
        yield Figure("of them trained again", again, "", "all", again == len(damaged))
        yield Figure("drivers", len(self.lives), "")
        for words, count in sorted(self.ends.items()):
            yield Figure(f"drivers: {words}", count, "")
        yield Figure("the longest-living driver's life", longest.seconds, "s")
        yield Figure("trials that had ended at a quarter of it", first, "")
        yield Figure("trials that had ended at its end", last, "")
        yield Figure("its memory at a quarter", early_b / 1e6, "MB")
        yield Figure("its memory at the end", late_b / 1e6, "MB")
        yield Figure("memory's growth", longest.growth, "x", f"<= {MOST_GROWTH}", longest.growth <= MOST_GROWTH)
        yield Figure("its open files at a quarter", early_files, "")
        yield Figure("its open files at the end", late_files, "")
        more = longest.more_files
        yield Figure("more open files", more, "", f"<= {MOST_FILES}", more <= MOST_FILES)
        if not self.scene.has_disk:
            yield Figure("left out", "full disks: none can be mounted here", "")
        for name, noticed in (self.controls() | leak_controls()).items():
            yield Figure(f"control: {name}, noticed", str(noticed), "", "True", noticed)
        for name, count in sorted((self.gentle.made + self.all.made).items()):
            yield Figure(f"faults: {name}", count, "")

    def controls(self) -> dict[str, bool]:
        """Faults that the comparison must find, with a trial that is trained again."""
        found, folder, counts = super().controls(), self.copy(), Counts()
        counts.note(folder)
        next(folder.glob("trials/*/result.json")).unlink()
        self.compare(folder, counts)
        return found | {"a trial trained again": counts.lost == 1}


def doubled(found: Held) -> int:
    """Rows of MLflow that say the same of the same."""
    return sum(count - 1 for count in Counter(found[2]).values())


def leak_controls() -> dict[str, bool]:
    """Processes that keep what they take, as the same look sees them; and one that doesn't."""
    kept: list[object] = []

    def keep_memory() -> None:
        kept.append(bytearray(b"x" * 4_000_000))

    def keep_files() -> None:
        kept.append(os.open("/dev/null", os.O_RDONLY))

    def flat(take: Callable[[], object]) -> bool:
        def work() -> None:
            for _ in range(50):
                take()
                time.sleep(0.05)

        pid, life = fork(work, Path()), Life()
        while not os.waitpid(pid, os.WNOHANG)[0]:
            if (sample := sample_of(pid)) is not None:
                life.samples.append(sample)
            time.sleep(0.05)
        return life.is_flat

    return {
        "memory that grows": not flat(keep_memory),
        "files that stay open": not flat(keep_files),
        "a process that keeps nothing is flat": flat(lambda: None),
    }


def found(seconds: float, trials: int) -> Sequence[Figure]:
    torch.set_num_threads(1)  # a fork inherits no pool of threads
    vars(study.tracking.sync)["draw_study"] = lambda record: []  # as in the other faults of the world
    vars(study.runs.sqlite)["PATIENCE_S"] = PATIENCE_S
    # At each trial something is sent while it runs.
    vars(study.tracking.telling)["SECONDS_BETWEEN_BATCHES"] = min(15.0, seconds / trials / 3)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        small = small_study(Path(name))
        config = small.model_copy(update={"study": small.study.model_copy(update={"trials": trials})})
        prepare(config.run)  # before any fork: all share it
        soak = Soak(config, Path(name), random.Random(0), seconds)
        try:
            return [*soak.figures(soak.soak())]
        finally:
            soak.close()


def main(seconds: float = SECONDS, trials: float = TRIALS) -> bool:
    command = f"python -m bench.faults.soak {seconds:g}" + (f" {trials:g}" if trials != TRIALS else "")
    return publish("faults-soak", command, found(seconds, int(trials)))


if __name__ == "__main__":
    sys.exit(not main(*map(float, sys.argv[1:])))
