"""One command as a person types it, in a fork of this process, and how it ended: cleanly, or how else."""

import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from study.config import StudyConfig
from wake2vec.config import RunConfig
from wake2vec.result import RunResult

UNUSABLE = 2
SHORT = {"train.steps": 1, "train.batch_blocks": 4, "sample.count": 2, "sample.new_tokens": 4}
MEMORY_BYTES = 12 * 2**30
"""Of address space, which torch's libraries take several of without touching them."""


@dataclass(frozen=True)
class Attempt:
    """What a command did."""

    code: int
    """As a shell has it; negative: a signal's number."""
    said: str
    """On both streams."""
    errors: str
    """On stderr alone."""
    made: tuple[str, ...]
    """What was created, changed or removed in the folder it ran in."""
    timed_out: bool

    @property
    def is_clean(self) -> bool:
        """Refused as it ought to be: one line, exit code 2, nothing made."""
        return not self.fault

    @property
    def fault(self) -> str:
        """What isn't clean about a refusal; empty where it is."""
        if self.timed_out:
            return "hung"
        if "Traceback (most recent call last)" in self.said or "panicked" in self.said:
            return f"traceback: {self.said.strip().splitlines()[-1]}"
        if self.code != UNUSABLE:
            return f"exit code {self.code}: {self.errors or self.said}"
        if not self.errors.startswith("error: ") or self.errors.count("\n") != 1:
            return f"not one line: {self.errors!r}"
        return f"made {', '.join(self.made)}" if self.made else ""

    @property
    def runs(self) -> bool:
        """Accepted, and done."""
        return self.code == 0 and not self.timed_out and "Traceback" not in self.said


def attempt(work: Callable[[], object], folder: Path, limit_s: float = 60, apart: bool = True) -> Attempt:
    """Do the work in a fork whose current folder is `folder`; a longer one than `limit_s` is killed.

    Not `apart`: in this process, which is quicker, and where a signal ends what takes longer.
    """
    before = _state(folder)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code, timed_out = (_in_a_fork if apart else _here)(work, folder, (out.fileno(), err.fileno()), limit_s)
        texts = [_read(out.fileno()), _read(err.fileno())]
    after = _state(folder)
    made = tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))
    return Attempt(code, "".join(texts), texts[1], made, timed_out)


def command(arguments: Sequence[str], folder: Path, limit_s: float = 60, apart: bool = True) -> Attempt:
    """`study <arguments>`, typed in that folder."""

    def work() -> None:
        from study.cli.main import app

        app(list(arguments), prog_name="study")

    return attempt(work, folder, limit_s, apart)


def one_step(overrides: Sequence[str], folder: Path, limit_s: float = 60, apart: bool = True) -> Attempt:
    """What `study run` does with the settings, as far as one trial: read, check, load, one step of training, measure.

    It has neither Optuna's database nor MLflow's, whose making takes longer than all else.
    """

    def trial() -> None:
        from study.config import load_config

        run_drawn(load_config("tiny", overrides), Path("trials"))

    def work() -> None:
        from study.cli.main import one_line_errors

        one_line_errors(trial)()

    return attempt(work, folder, limit_s, apart)


def run_drawn(config: StudyConfig, trials: Path) -> RunResult:
    """The baseline's trial, and a value that the sampler proposes for each knob; what only costs time is made small.

    Raises:
        Wake2VecError: as a trial does.
    """
    import optuna

    from study.search.proposal import sampler_for, sampler_named, suggest
    from wake2vec import flatten, prepare, run, unflatten

    sampler = sampler_for(1, sampler_named(config, [], config.study.objectives), config)
    drawn = suggest(optuna.create_study(sampler=sampler).ask(), config)
    prepare(config.run_config(drawn))
    leaves = flatten(config.run_config(config.study.baseline).model_dump())
    short = {address: min(leaves[address], most) for address, most in SHORT.items()}
    return run(RunConfig.model_validate(unflatten({**leaves, **short})), trials)


def _in_a_fork(work: Callable[[], object], folder: Path, streams: tuple[int, int], limit_s: float) -> tuple[int, bool]:
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that sleep: they hold no lock
        child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        os._exit(_done(work, folder, streams))
    return _wait(child, limit_s)


def _here(work: Callable[[], object], folder: Path, streams: tuple[int, int], limit_s: float) -> tuple[int, bool]:
    place, kept, objects = Path.cwd(), [os.dup(number) for number in range(3)], (sys.stdin, sys.stdout, sys.stderr)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGTERM)}
    signal.signal(signal.SIGALRM, _over)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    started = time.monotonic()
    try:
        return _done(work, folder, streams), time.monotonic() - started >= limit_s
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for one, handler in handlers.items():
            signal.signal(one, handler)
        for number, descriptor in enumerate(kept):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdin, sys.stdout, sys.stderr = objects
        os.chdir(place)


def _over(number: int, frame: object) -> None:
    raise SystemExit(-int(signal.SIGKILL))


def _done(work: Callable[[], object], folder: Path, streams: tuple[int, int]) -> int:
    """The exit code of the work, done with these streams; what nobody expected is on the second."""
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in zip((null, *streams), range(3), strict=True):
        os.dup2(source, target)
    os.close(null)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", errors="backslashreplace", closefd=False)
    os.chdir(folder)
    try:
        work()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except typer.Exit as end:
        return end.exit_code
    except BaseException:  # noqa: BLE001 - whatever comes out is what is looked for
        traceback.print_exc()
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    return 0


def _wait(child: int, limit_s: float) -> tuple[int, bool]:
    end, pause = time.monotonic() + limit_s, 0.001
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), False
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL, True


def _read(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read().decode(errors="replace")


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of all that lies in a folder; links aren't followed."""
    found: dict[str, tuple[int, int]] = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            stat = path.lstat()
            is_folder = name in folders
            found[str(path.relative_to(folder))] = (0, 0) if is_folder else (stat.st_size, stat.st_mtime_ns)
    return found


def counted(attempts: Sequence[Attempt]) -> dict[str, int]:
    """Of a kind: how many inputs there were, and how they ended."""
    return {
        "inputs": len(attempts),
        "refused cleanly": sum(one.is_clean for one in attempts),
        "done": sum(one.runs for one in attempts),
        "tracebacks": sum("traceback" in one.fault for one in attempts),
        "hangs": sum(one.timed_out for one in attempts),
        "otherwise": sum(
            bool(one.fault) and not one.runs and not one.timed_out and "traceback" not in one.fault for one in attempts
        ),
    }
