"""A study that is stopped, by a signal or because its time is over, goes on as if it had never been."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from io import BufferedWriter, RawIOBase, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TRIALS, Silent
from rich.console import Console
from stored import children, metric_rows, records, results

import study.engine.driver
from study.cli.options import continuing
from study.cli.progress import Bars
from study.config import StudyConfig
from study.engine.drive import drive
from study.engine.driver import StudyOutcome
from study.engine.stop import Stop, seconds_of
from study.runs.lease import driver_of
from study.runs.record import StudyRecord
from study.runs.run import Run, State
from study.search.proposal import Proposal, propose
from wake2vec import ConfigError, Progress, TrialStopped


@pytest.mark.parametrize(("text", "seconds"), [("2h30m", 9000), ("45m", 2700), ("90s", 90), ("1.5h", 5400)])
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2d", "2h 30m", "-1h", "0s", "2h30", "1e3s", "two hours"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"a time .* it is"):
        seconds_of(text)


def test_it_stops_while_what_comes_next_still_fits() -> None:
    now = [0.0]
    stop = Stop(100, clock=lambda: now[0])
    stops = []
    for now[0] in (0, 10, 20, 40, 50):  # the longest step took 20
        stops.append(stop())
    assert stops == [False] * 5
    now[0] = 55  # 55 + 2 * 20 = 95 = 100 less 5 %
    assert stop()
    assert not Stop(None)()


def test_a_signal_amid_a_print_is_announced_after_it() -> None:
    class Interrupted(RawIOBase):
        """A terminal at which Ctrl-C is pressed while the first line is written."""

        def __init__(self) -> None:
            self.written: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, text: Any) -> int:
            if not self.written:
                signal.raise_signal(signal.SIGINT)
            self.written.append(bytes(text))
            return len(text)

    terminal = Interrupted()
    console = Console(file=TextIOWrapper(BufferedWriter(terminal), encoding="utf-8"))
    stop, said = Stop(), threading.Event()

    def announce() -> None:
        console.print("stopping")
        said.set()

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stop.listen(announce)
        console.print("first")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert said.wait(10) and stop()
    assert b"".join(terminal.written).split() == [b"first", b"stopping"]


def test_stopped_again_and_again_a_study_has_the_same_results(
    done: tuple[Path, StudyOutcome], study_config: StudyConfig, tmp_path: Path
) -> None:
    stops = 0
    for after in (2, 9, 1, 12, 6):
        seen: list[Progress] = []
        try:
            drive(study_config, tmp_path, Silent(seen.append), stop=lambda seen=seen, after=after: len(seen) >= after)  # type: ignore[misc]
        except TrialStopped:
            stops += 1
    assert stops >= 4
    outcome = drive(study_config, tmp_path, Silent())
    assert results(tmp_path, outcome) == results(*done)
    runs = children(tmp_path)
    assert [run.data.tags["wake2vec.trial"] for run in runs] == [str(number) for number in range(TRIALS)]
    assert {run.info.status for run in runs} == {"FINISHED"}
    rows = [row[:3] for row in metric_rows(tmp_path)]
    assert len(rows) == len(set(rows)), "a figure of one step stands twice"
    assert sorted(row[1:3] for row in metric_rows(tmp_path)) == sorted(row[1:3] for row in metric_rows(done[0]))


def test_a_stop_amid_a_proposal_begins_no_run_and_the_next_driver_begins_it(
    done: tuple[Path, StudyOutcome], study_config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def asking(record: StudyRecord, number: int) -> Proposal:
        asked.append(number)
        return propose(record, number)

    monkeypatch.setattr(study.engine.driver, "propose", asking)
    with pytest.raises(TrialStopped):
        drive(study_config, tmp_path, Silent(), stop=lambda: len(asked) >= 2)
    assert len(list(tmp_path.glob("trials/*"))) == asked[-1] == 2
    outcome = drive(study_config, tmp_path, Silent())
    assert results(tmp_path, outcome) == results(*done)


def command(tree: dict[str, Any], folder: Path, *options: str) -> list[str]:
    profile = folder / "small.yaml"
    profile.write_text(yaml.safe_dump(tree))
    return [sys.executable, "-m", "study", "run", str(profile), "--folder", str(folder / "mlruns"), *options]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_checkpoint_and_says_how_to_go_on(
    tree: dict[str, Any], tmp_path: Path, number: int, code: int
) -> None:
    long = {**tree, "study": {**tree["study"], "trials": 1000}}
    victim = subprocess.Popen(
        command(long, tmp_path),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"},
    )
    while victim.poll() is None and records(tmp_path / "mlruns") < 3:
        time.sleep(0.01)
    victim.send_signal(number)
    printed, _ = victim.communicate()
    assert victim.returncode == code
    assert "Stopped: you asked for it. This continues:" in printed
    assert f"{interpreter()} -m study run {tmp_path}/small.yaml" in printed
    assert list((tmp_path / "mlruns").glob("trials/*/checkpoints/step-*"))
    assert driver_of(tmp_path / "mlruns", "small") is None


def test_when_the_time_is_over_it_stops_and_exits_with_0(tree: dict[str, Any], tmp_path: Path) -> None:
    long = {**tree, "study": {**tree["study"], "trials": 100_000}}
    done = subprocess.run(
        command(long, tmp_path, "--for", "15s"),
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Stopped: the time is over. This continues:" in done.stdout
    assert "--for 15s" in done.stdout


def test_a_trial_that_goes_on_says_from_where(study_config: StudyConfig) -> None:
    printed = StringIO()
    bars = Bars(study_config, Console(file=printed, width=80))
    firsts = [Progress(0, {"validation.loss": 4.0}, 0.0), Progress(8, {"training.loss": 3.0}, 0.0)]
    for number, first in enumerate(firsts):
        bars.run_started(Run(State.RUNNING, number, study_config.study.baseline), study_config.run, 0)
        bars.progressed(f"trial {number}", first)
        bars.progressed(f"trial {number}", Progress(9, {"training.loss": 3.0}, 0.0))
    assert printed.getvalue().count("goes on") == 1
    assert printed.getvalue().endswith("  trial 1 goes on from step 7\n")


def interpreter() -> str:
    """As it is called from here."""
    return os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else sys.executable


def test_the_command_that_continues_is_the_one_that_was_given() -> None:
    assert (
        continuing("t4", ["corpus.path=my text.txt"], Path("mlruns"), "2h", Path("/drive/w"))
        == f"{shlex.quote(interpreter())} -m study run t4 'corpus.path=my text.txt' --for 2h --mirror /drive/w"
    )
