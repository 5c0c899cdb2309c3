"""Kill trials with SIGKILL, at random times and at every file operation, and compare what comes of them.

`python -m bench.kills` kills the profile `tiny` 300 times, and once before each of its file operations; each trial is
then run to its end and must have the rows, records and figures of one that was left in peace.
"""

import dataclasses
import itertools
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.figures import Figure, publish
from study.config import load_knobs
from wake2vec import RunConfig, RunResult, TrialStopped, WorkFolder, prepare, run
from wake2vec.training import checkpoint
from wake2vec.training.train import Training

KILLS = 300
KILLS_A_TRIAL = 6

OPERATIONS: list[tuple[Any, str]] = [
    (checkpoint, "save_file"),
    (pathlib.Path, "write_text"),
    *((os, name) for name in ("mkdir", "rename", "replace", "unlink", "fsync")),
    (shutil, "rmtree"),
]
"""What is done to files, and where the function is looked up."""

Outcome = tuple[Any, ...]


def main() -> None:
    torch.set_num_threads(1)  # a fork inherits no pool of threads
    overrides = [
        *("train.steps=12", "train.evaluate_every_steps=6"),
        *("sample.new_tokens=8", "corpus.validation_share=0.02"),  # only to be done sooner
    ]
    config = every_step(load_knobs("tiny", overrides))
    points_config = config.model_copy(update={"train": config.train.model_copy(update={"steps": 4})})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(config)  # before any fork: all victims share it
        kills, trials, identical = random_kills(config, folder, KILLS, random.Random(0))
        points = list(killed_at_every_point(points_config, folder))
        controls = {name: differs(config, folder / name, fault) for name, fault in CONTROLS.items()}
    publish(
        "kills",
        "python -m bench.kills",
        [
            Figure("random kill -9", kills, "", f">= {KILLS}", kills >= KILLS),
            Figure("trials killed so", trials, ""),
            Figure("of them bit-identical to one left in peace", identical, "", "all", identical == trials),
            Figure("file operations, killed before each", len(points), ""),
            Figure("of them bit-identical", sum(points), "", "all", all(points)),
            *(
                Figure(f"control: resumed {name}, differs", str(differing), "", "True", differing)
                for name, differing in controls.items()
            ),
        ],
    )


def every_step(config: RunConfig) -> RunConfig:
    """With a checkpoint after each step."""
    return config.model_copy(update={"machine": config.machine.model_copy(update={"checkpoint_every_s": 0})})


def outcome(result: RunResult, trials_folder: Path) -> Outcome:
    """All that must not depend on how often a trial was killed."""
    work = WorkFolder(trials_folder / result.digest)
    records = [(record.step, record.numbers) for record in work.progress()]
    rows = {name: rows.tobytes() for name, rows in work.read_arrays("rows").items()}
    return result.numbers, result.samples, records, rows


def random_kills(config: RunConfig, folder: Path, kills: int, random_: random.Random) -> tuple[int, int, int]:
    """Kills done, trials killed, and those of them that came out bit-identical."""
    started = time.monotonic()
    expected = outcome(run(config, folder / "peace"), folder / "peace")
    duration = time.monotonic() - started
    done = trials = identical = 0
    while done < kills:
        target = folder / f"killed-{trials}"
        for _ in range(KILLS_A_TRIAL):
            seconds = random_.uniform(0, 2 * duration / KILLS_A_TRIAL)
            done += killed_after(seconds, partial(run, config, target))
        identical += outcome(run(config, target), target) == expected
        trials += 1
        print(f"{done} kills, {identical} of {trials} trials identical", file=sys.stderr)
        shutil.rmtree(target)
    return done, trials, identical


def killed_at_every_point(config: RunConfig, folder: Path) -> Iterator[bool]:
    """For each file operation in turn, killed before it: whether the trial then came out bit-identical.

    Killed before the next operation is killed after this one.
    """
    expected = outcome(run(config, folder / "calm"), folder / "calm")
    target = folder / "killed"
    for count in itertools.count(1):
        if not killed_before(count, partial(run, config, target)):
            return
        yield outcome(run(config, target), target) == expected
        shutil.rmtree(target)


def killed_after(seconds: float, work: Callable[[], object]) -> bool:
    """Fork, work, kill; False where the work was done before."""
    child = _fork(work)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return _was_killed(child)


def killed_before(count: int, work: Callable[[], object]) -> bool:
    """Fork, and die before the count-th file operation; False where there are fewer."""

    def dying() -> None:
        calls = itertools.count(1)

        def deadly(original: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*arguments: Any, **options: Any) -> Any:
                if next(calls) == count:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments, **options)

            return counted

        for owner, name in OPERATIONS:
            setattr(owner, name, deadly(getattr(owner, name)))
        work()

    return _was_killed(_fork(dying))


def _fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def _was_killed(child: int) -> bool:
    """Wait for a victim: it was killed, or it came to its end, and to a good one."""
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, "the victim failed by itself"
    return os.WIFSIGNALED(status)


def without_optimizer(state: checkpoint.State) -> checkpoint.State:
    rows = {"rows": state.tensors["rows"]}
    return dataclasses.replace(state, optimizer={}, tensors=rows)


def one_step_back(state: checkpoint.State) -> checkpoint.State:
    return dataclasses.replace(state, step=state.step - 1)


CONTROLS: dict[str, Callable[[checkpoint.State], checkpoint.State]] = {
    "without the optimizer's state": without_optimizer,
    "with the step before": one_step_back,
}


def differs(config: RunConfig, folder: Path, fault: Callable[[checkpoint.State], checkpoint.State]) -> bool:
    """Whether a trial whose restored state has the fault comes out otherwise: it must."""
    expected = outcome(run(config, folder / "calm"), folder / "calm")
    # Stopped, not killed: a stop leaves a checkpoint at its step, a kill may come before the first was on disk.
    stops = itertools.chain(itertools.repeat(False, config.train.steps // 2), [True])
    try:
        run(config, folder / "cut", stop=lambda: next(stops))
    except TrialStopped:
        pass
    else:
        raise AssertionError("the trial came to its end before the stop")
    restore = Training.restore
    try:
        Training.restore = lambda self, state: restore(self, fault(state))  # type: ignore[method-assign]
        return outcome(run(config, folder / "cut"), folder / "cut")[3] != expected[3]
    finally:
        Training.restore = restore  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
