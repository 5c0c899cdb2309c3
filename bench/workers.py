"""`python -m bench.workers [PART ...]`: what several real trials at once keep, and what they gain: docs/scale.md.

`replay`: 40 small trials on Ray, four at once in free order, and each proposal and verdict made again from what the
study keeps. `stop`: Ctrl-C amid four open trials, and a study that was stopped so beside one left in peace. `pair`: the
profile `tiny` with two workers and with one; it takes 13 minutes of cores that are idle.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import optuna

from bench.cluster import ADVISED
from bench.faults.studies import held
from bench.figures import Figure, publish_parts
from bench.scale import Quiet
from study.config import load_config
from study.engine.drive import drive
from study.engine.ray_address import LOCAL
from study.runs.reader import read_record
from study.runs.record import StudyRecord
from study.runs.run import Run
from study.search.proposal import propose
from study.search.stopping import Stopper
from wake2vec import WorkFolder

AT_ONCE = 4
SMALL = [
    *("train.batch_blocks=4", "corpus.validation_share=0.01", "sample.count=1", "sample.new_tokens=8"),
    *("machine.threads=1", "study.anchors=null", "study.seeds=1"),
]
REPLAYED = 40
REPLAY = [
    *("study.space.train.steps.low=16", "study.space.train.steps.high=24", "study.baseline.train.steps=24"),
    *("train.evaluate_every_steps=4", "study.stopping.grace_steps=8", "study.stopping.keep_share=0.5"),
    *("study.startup_trials=13", "machine.gpus=0"),
    *("study.order=free", f"study.workers={AT_ONCE}", f"study.trials={REPLAYED}"),
]
LONG = [
    *("study.space.train.steps.low=4000", "study.space.train.steps.high=5000", "study.baseline.train.steps=5000"),
    *("train.evaluate_every_steps=1000", "machine.checkpoint_every_s=3600"),
    *("study.order=free", f"study.workers={AT_ONCE}", "machine.gpus=0"),
]
"""Trials that nobody waits for, with no checkpoint but a stop's."""
SHORT = [
    *("study.space.train.steps.low=40", "study.space.train.steps.high=60", "study.baseline.train.steps=60"),
    *("train.evaluate_every_steps=20", "machine.checkpoint_every_s=3600"),
    *("study.workers=1", "study.trials=4", "study.startup_trials=2", "study.aimed_trials=0", "study.stopping=null"),
]
STEPS_TOLD = 5
"""Of each open trial, before the stop."""
STOPPED_AFTER = (0, 2)
"""Ended trials."""
MOST_S = 5.0
"""From the end of a trial's step to its checkpoint."""
PAIRED = 13
"""Trials, as the profile has them."""
SIDES = {
    "two workers, one thread each": [],
    "one worker, two threads": ["study.workers=1", "machine.threads=2"],
}


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    os.environ |= ADVISED
    publish_parts("workers", PARTS)


def replay(folder: Path) -> Iterator[Figure]:
    """The study is read anew, so that nothing of its driver helps."""
    config = load_config("tiny", [*SMALL, *REPLAY])
    began = time.monotonic()
    drive(config, folder, Quiet(), address=LOCAL)
    yield Figure(f"{REPLAYED} trials on Ray, {AT_ONCE} at once, free order: wall", time.monotonic() - began, "s")
    record = read_record(config, folder)
    count = len(proposed(record))
    yield Figure("trials that didn't see all before them", sum(bool(trial.unseen) for trial in record.trials), "")
    yield Figure("trials that were stopped early", len(record.stopped), "")
    proposals, verdicts = replayed(record)
    yield Figure("proposals, all but the baseline's", count, "")
    yield Figure("  made again equal", proposals, "", "all", proposals == count)
    yield Figure("verdicts of early stopping, all but the baseline's", count, "")
    yield Figure("  made again equal", verdicts, "", "all", verdicts == count)
    proposals, verdicts = replayed(forgetful(record))
    yield Figure("control: without what was unseen, equal proposals", proposals, "", f"< {count}", proposals < count)
    yield Figure("control: without what was unseen, equal verdicts", verdicts, "", f"< {count}", verdicts < count)


def proposed(record: StudyRecord) -> list[Run]:
    """The trials that a sampler proposed, on which early stopping has a verdict: no baseline, no anchor."""
    return [trial for trial in record.trials if not trial.is_baseline and not trial.name]


def replayed(record: StudyRecord) -> tuple[int, int]:
    """How many proposals, and how many verdicts, are those that the trials lead to which were seen."""
    proposals = verdicts = 0
    for trial in proposed(record):
        proposals += propose(record, trial.number).params == trial.params
        seen = record.seen_by(trial.number).trained
        peers = [(record.steps(peer), record.evaluations(peer)) for peer in seen]
        stopper = Stopper(record.config, record.steps(trial), peers)
        found = map(stopper.verdict, record.progress(trial.digest))
        verdicts += next((verdict for verdict in found if verdict), "") == trial.reason
    return proposals, verdicts


def forgetful(record: StudyRecord) -> StudyRecord:
    """The same trials, as if each had seen all before it."""
    return replace(record, trials=[replace(trial, unseen=()) for trial in record.trials])


def stop(folder: Path) -> Iterator[Figure]:
    for name, words in (("processes", []), ("Ray", ["--address", LOCAL])):
        yield from stopped(name, [*command(folder / name, [*SMALL, *LONG]), *words], folder / name)
    yield from continued(folder)


def command(folder: Path, settings: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "study", "run", "tiny", *settings, "--folder", str(folder)]


def stopped(name: str, words: Sequence[str], folder: Path) -> Iterator[Figure]:
    """By the clock of the files: a checkpoint is there when it has its name."""
    at_s, ended_s, code = interrupted(words, folder, AT_ONCE)
    afters, kept = [], 0
    for number, work in enumerate(open_trials(folder), 1):
        records = [record for record in work.progress() if "training.loss" in record.numbers]
        there = [path.name for path in work.checkpoints_path.glob("*")]
        kept += there == [f"step-{records[-1].step:08d}"]
        there_s = work.checkpoints_path.stat().st_mtime if there else float("inf")
        afters.append(there_s - records[-1].time_s)
        step_s = statistics.median(after.time_s - before.time_s for before, after in pairwise(records))
        yield Figure(f"{name}, trial {number}: from Ctrl-C to the checkpoint", there_s - at_s, "s")
        yield Figure("  a step", step_s, "s")
        yield Figure("  from the end of the step to the checkpoint", afters[-1], "s")
    yield Figure(f"{name}: checkpoints, of the last step", kept, "", f"{AT_ONCE} of {AT_ONCE}", kept == AT_ONCE)
    latest = max(afters)
    yield Figure(f"{name}: the latest after its step", latest, "s", f"<= {MOST_S:g}", latest <= MOST_S)
    yield Figure(f"{name}: exit code", code, "", "130", code == 130)
    yield Figure(f"{name}: from Ctrl-C to the command's end", ended_s - at_s, "s")


def interrupted(words: Sequence[str], folder: Path, at_once: int, ended: int = 0) -> tuple[float, float, int]:
    """Ctrl-C, as a terminal sends it to all processes, when so many open trials have told of a few steps.

    Gives when it was sent and when the command had ended, in seconds since 1970, and the exit code.
    """
    victim = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    while sum(steps_told(work) >= STEPS_TOLD for work in open_trials(folder)) < at_once or results(folder) < ended:
        assert victim.poll() is None, "it ended before it was stopped"
        time.sleep(0.05)
    at_s = time.time()
    os.killpg(victim.pid, signal.SIGINT)
    code = victim.wait()
    return at_s, time.time(), code


def results(folder: Path) -> int:
    return sum(1 for _ in folder.glob("trials/*/result.json"))


def open_trials(folder: Path) -> list[WorkFolder]:
    works = [WorkFolder(path.parent) for path in sorted(folder.glob("trials/*/progress.jsonl"))]
    return [work for work in works if not work.has_ended]


def steps_told(work: WorkFolder) -> int:
    last = work.last_record()
    return 0 if last is None else last.step


def continued(folder: Path) -> Iterator[Figure]:
    """By the same command, with one worker, beside the study that was left in peace: all that must not depend on it."""
    settings = [*SMALL, *SHORT]
    config = load_config("tiny", settings)
    for name, also in (("peace", []), ("other", ["seed=1"]), ("stopped", [])):
        words = command(folder / name, [*settings, *also])
        for ended in STOPPED_AFTER if name == "stopped" else ():
            _, _, code = interrupted(words, folder / name, 1, ended)
            left = [path.name for work in open_trials(folder / name) for path in work.checkpoints_path.glob("*")]
            yield Figure(f"one worker, stopped after {ended} trials: exit code", code, "", "130", code == 130)
            yield Figure("  its checkpoints", len(left), "", "1", len(left) == 1)
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    peace, other, stopped = (held(folder / name, config) for name in ("peace", "other", "stopped"))
    equal = sum(one == two for one, two in zip(peace[0], stopped[0], strict=True))
    count = len(peace[0])
    yield Figure("trials, stopped and continued, equal to those left in peace", equal, "", str(count), equal == count)
    yield Figure("the same of MLflow's runs and figures", str(peace == stopped), "", "True", peace == stopped)
    equal = sum(one == two for one, two in zip(peace[0], other[0], strict=True))
    yield Figure("control: with another seed, equal trials", equal, "", "0", equal == 0)


def pair(folder: Path) -> Iterator[Figure]:
    """Whole commands, each from nothing; what the first reads from the disk the second finds in memory.

    Training alone gains as much as two threads lack on this machine of being twice as quick as one.
    """
    walls, steps = [], []
    for number, (name, settings) in enumerate(SIDES.items()):
        place, began, began_at = folder / str(number), time.monotonic(), time.time()
        subprocess.run(command(place, [f"study.trials={PAIRED}", *settings]), check=True, stdout=subprocess.DEVNULL)
        walls.append(time.monotonic() - began)
        runs = [work.progress() for work in map(WorkFolder, place.glob("trials/*"))]
        steps.append(statistics.median(after.time_s - before.time_s for run in runs for before, after in pairwise(run)))
        yield Figure(f"the default study, {name}: wall", walls[-1], "s")
        yield Figure("  from the command to the first figures", min(run[0].time_s for run in runs) - began_at, "s")
        yield Figure("  a step: median", steps[-1], "s")
    yield Figure("what two workers gain of training alone", 2 * steps[1] / steps[0], "")
    ratio = walls[1] / walls[0]
    yield Figure("the second of the first", ratio, "", ">= 1.4", ratio >= 1.4)


PARTS = {"replay": replay, "stop": stop, "pair": pair}


if __name__ == "__main__":
    main()
