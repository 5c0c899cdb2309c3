"""The number of threads: chosen by a measurement, said, kept, set; and how long a study still takes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Silent
from threadpoolctl import threadpool_info, threadpool_limits

from study.cli.progress import Pace, mean_steps
from study.config import StudyConfig, check_config
from study.engine import worker
from study.engine.drive import drive
from wake2vec import RunConfig, WorkFolder, prepare, read_result, use_threads
from wake2vec.training.machine import measure_threads, quickest


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({}, None),
        ({1: 1.0}, 1),
        ({1: 1.0, 2: 0.6}, 2),
        ({1: 1.0, 2: 0.95}, 1),  # not worth a thread
        ({1: 1.0, 2: 3.0}, 1),  # another process has one of two cores
        ({1: 1.0, 2: 0.6, 4: 0.58, 8: 0.3}, 8),
    ],
)
def test_more_threads_are_taken_where_they_are_clearly_quicker(seconds: dict[int, float], chosen: int | None) -> None:
    assert quickest(seconds) == chosen


def test_every_count_up_to_the_most_is_measured_and_nothing_is_left_changed(config: RunConfig) -> None:
    material = prepare(config)
    before = torch.get_num_threads()
    seconds = measure_threads(material.base.body, material.base_rows, config.corpus.block_tokens, 3)
    assert list(seconds) == [1, 2, 3]
    assert all(taken > 0 for taken in seconds.values())
    assert torch.get_num_threads() == before
    assert measure_threads(material.base.body, material.base_rows, config.corpus.block_tokens, 1) == {}


@pytest.mark.parametrize("threads", [1, 2])
def test_numpys_and_scipys_blas_has_as_many_threads_as_pytorch(threads: int) -> None:
    """Left to itself it takes all cores, beside workers that have them: a proposal took a quarter more of them."""
    before = torch.get_num_threads()
    with threadpool_limits(3 - threads, user_api="blas"):
        assert blas_threads() == {3 - threads}
        use_threads(None)
        assert blas_threads() == {3 - threads}
        use_threads(threads)
        assert blas_threads() == {threads} == {torch.get_num_threads()}
    use_threads(before)


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


class Listening(Silent):
    """Keeps what it is told of threads."""

    def __init__(self) -> None:
        super().__init__()
        self.chosen: list[int] = []

    def threads_chosen(self, threads: int, seconds: Any) -> None:
        self.chosen.append(threads)


def test_a_study_measures_before_each_run_says_it_and_keeps_it_and_a_user_may_set_it(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "AVAILABLE_THREADS", 2)
    results = {}
    for count in (None, 1):
        machine = {**tree["machine"], "threads": count}
        config = check_config({**tree, "machine": machine, "study": {**tree["study"], "trials": 2}})
        watcher, folder = Listening(), tmp_path / str(count)
        outcome = drive(config, folder, watcher)
        results[count] = [read_result(WorkFolder(folder / "trials" / trial.digest)) for trial in outcome.trials]
        assert len(watcher.chosen) == (2 if count is None else 0)
        told = watcher.chosen or [1, 1]
        assert [result.computed.device for result in results[count]] == [
            f"CPU, {each} thread{'s' if each > 1 else ''}" for each in told
        ]
    # Threads are no knob: the trials are the same ones, and their numbers to rounding.
    assert [result.digest for result in results[None]] == [result.digest for result in results[1]]
    losses = [[result.numbers["validation.loss"] for result in of] for of in results.values()]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(("holds_s", "measured"), [(60.0, 1), (0.0, 2)])
def test_a_measurement_holds_for_a_minute_and_each_run_says_what_it_computes_with(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds_s: float, measured: int
) -> None:
    measurements: list[dict[int, float]] = []

    def counted(*given: Any) -> dict[int, float]:
        measurements.append(measure_threads(*given))
        return measurements[-1]

    monkeypatch.setattr(worker, "AVAILABLE_THREADS", 2)
    monkeypatch.setattr(worker, "MEASUREMENT_HOLDS_S", holds_s)
    monkeypatch.setattr(worker, "measure_threads", counted)
    watcher = Listening()
    untold = {"machine": {**tree["machine"], "threads": None}, "study": {**tree["study"], "trials": 2}}
    drive(check_config({**tree, **untold}), tmp_path, watcher)
    assert len(measurements) == measured
    assert len(watcher.chosen) == 2


def test_how_long_a_study_takes_follows_its_own_pace(study_config: StudyConfig) -> None:
    """Two seconds a step; the study has 4 trials, all as long as the first, and no companions."""
    now = [0.0]
    pace = Pace(study_config, lambda: now[0])
    assert pace.left_s(0) is None
    pace.timed(1.0)
    assert pace.left_s(0) is not None
    pace.begin("trial 0", 8)
    now[0] = 9.0
    pace.end("trial 0")  # its result was read
    pace.begin("trial 0", 8)
    pace.trained("trial 0", 1)
    now[0] = 25.0
    pace.end("trial 0")
    assert pace.left_s(1) == pytest.approx(3 * 16)
    pace.timed(100.0)  # a timed pass is only for the beginning
    assert pace.left_s(1) == pytest.approx(3 * 16)
    pace.begin("trial 1", 8)
    pace.trained("trial 1", 6)
    assert pace.left_s(1) == pytest.approx(3 * 16 - 12)
    assert pace.left_s(4) == 0


def test_before_a_run_has_ended_its_first_steps_tell_how_long_the_study_takes(study_config: StudyConfig) -> None:
    """Two seconds a step, half as much for what is beside the steps; what came before the first step isn't counted."""
    now = [0.0]
    pace = Pace(study_config, lambda: now[0])
    pace.begin("trial 0", 8)
    for step, now[0] in ((0, 50.0), (1, 52.0), (2, 54.0)):
        pace.trained("trial 0", step)
    assert pace.left_s(0) is None
    now[0] = 62.0
    pace.trained("trial 0", 6)
    assert pace.left_s(0) == pytest.approx((4 * mean_steps(study_config) - 6) * 3)


def test_two_runs_side_by_side_take_half_the_time(tree: dict[str, Any]) -> None:
    """Each of 8 steps in 16 seconds, both at once: two are left of four, which take as long."""
    now = [0.0]
    config = check_config({**tree, "study": {**tree["study"], "workers": 2}})
    pace = Pace(config, lambda: now[0])
    for name in ("trial 0", "trial 1"):
        pace.begin(name, 8)
        pace.trained(name, 0)
    now[0] = 16.0
    for name in ("trial 0", "trial 1"):
        pace.end(name)
    assert pace.left_s(2) == pytest.approx(16)
