"""The one judge: a word for each state and standing, what is noise, what beats the baseline, when a study is done."""

import math
import tarfile
from pathlib import Path
from typing import Any

import pytest

from study.config import StudyConfig, check_config, load_config
from study.noise import Interval, interval
from study.runs.judge import Standing, beats_baseline, front_runs, is_done, standing, verdict, verdicts, why_enough
from study.runs.reader import read_record
from study.runs.record import StudyRecord
from study.runs.run import NO_NUMBER, Run, State
from study.settings import Objective

LOSS = Objective(result="validation.loss", goal="minimize")
ISOTROPY = Objective(result="geometry.isotropy_new", goal="maximize")
KEPT = Path(__file__).parents[1] / "golden" / "study-format-4.tar.xz"


def trial(number: int, *values: float, state: State = State.FINISHED, **more: Any) -> Run:
    """`values` are loss, |d|, isotropy and collapse share; all but the loss as the baseline's if they aren't given."""
    return Run(state, number, {}, (*values, *(2.0, 0.5, 0.3)[len(values) - 1 :]) if values else (), **more)


BASELINE = trial(0, 4.0)


@pytest.fixture
def asked(tree: dict[str, Any]) -> StudyConfig:
    """Four objectives, one bound, four trials, no repeats."""
    return check_config({**tree, "study": {**tree["study"], "bounds": ["validation.loss <= 5"]}})


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of which trials 0, 1 and 3 have two seeds."""
    home = tmp_path_factory.mktemp("kept")
    with tarfile.open(KEPT) as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python has it from 3.11.4 on
        archive.extractall(home, **safely)  # noqa: S202 (this project's own)
    return home


def record_of(config: StudyConfig, *trials: Run) -> StudyRecord:
    knobs = config.study.baseline
    runs = [Run(**{**vars(run), "params": {**knobs, "train.lr": 1e-4 * (1 + run.number)}}) for run in trials]
    return StudyRecord(config, Path("nowhere"), runs)


@pytest.mark.parametrize(
    ("objective", "difference", "word"),
    [
        (LOSS, Interval(-0.1, -0.2, -0.001, 3), "better"),
        (LOSS, Interval(-0.1, -0.2, 0.001, 3), "within the noise"),
        (LOSS, Interval(0.1, 0.05, 0.15, 2), "worse"),
        (ISOTROPY, Interval(0.1, 0.05, 0.15, 2), "better"),
        (LOSS, interval([0.0, 0.0]), "equal"),
        (LOSS, interval([0.1, 0.1]), "worse"),  # it lies beyond any noise
        (LOSS, interval([1e-9]), "worse"),  # one seed shows no noise
        (LOSS, interval([0.0]), "equal"),
        (LOSS, interval([math.nan]), ""),
        (LOSS, interval([math.nan, 1.0]), ""),
    ],
)
def test_a_difference_has_one_word(objective: Objective, difference: Interval, word: str) -> None:
    assert verdict(objective, difference) == word


TRIALS = (
    trial(0, 4.0),
    trial(1, 3.0, violations=(-2.0,)),
    trial(2, 3.9, source="old:4"),
    trial(3, 3.5, 1.0, violations=(0.5,)),
    trial(4, 4.5),
    trial(5, 3.3, 1.9, name="loud"),
    trial(6, state=State.STOPPED, step=40, name="loud"),
    trial(7, state=State.FAILED),
    trial(8, state=State.RUNNING),
)
STANDINGS = {
    0: ("baseline", ["baseline"]),
    1: ("chosen", ["chosen", "on the front", "beats the baseline"]),
    2: ("beats it", ["beats the baseline", "from old:4"]),
    3: ("breaks bound", ["on the front", "beats the baseline", "breaks validation.loss <= 5"]),
    4: ("", ["not on the front"]),
    5: ("beats it", ["runner-up 1", "on the front", "beats the baseline", "anchor loud"]),
    6: ("stopped at 40", ["stopped at 40", "anchor loud"]),
    7: ("failed", ["failed"]),
    8: ("open", ["open"]),
}


def test_a_trial_has_a_word_for_its_state_or_its_standing_and_words_for_all_of_it(asked: StudyConfig) -> None:
    record = record_of(asked, *TRIALS)
    found = {run.number: standing(run, record) for run in record.trials}
    assert {number: (one.word, one.words) for number, one in found.items()} == STANDINGS


@pytest.mark.parametrize(
    ("run", "word"),
    [
        (trial(NO_NUMBER, 3.0, name="sphere"), "reference"),
        (trial(NO_NUMBER, state=State.FAILED, name="sphere"), "reference"),
        (trial(1, 3.0, seed=43), "repeat"),
        (trial(1, state=State.FAILED, seed=43), "failed"),
    ],
)
def test_a_run_that_is_no_trial_has_no_standing(run: Run, word: str, asked: StudyConfig) -> None:
    found = standing(run, record_of(asked, *TRIALS))
    assert (found.word, found.words) == (word, [word])
    assert found == Standing(run)


def test_the_first_with_a_result_stands_as_the_baseline_where_trial_0_failed(asked: StudyConfig) -> None:
    record = record_of(asked, trial(0, state=State.FAILED), trial(1, 4.0), trial(2, 3.0))
    assert [standing(run, record).word for run in record.trials] == ["failed", "baseline", "chosen"]
    assert standing(record_of(asked, BASELINE).trials[0], record_of(asked, BASELINE)).word == "baseline, chosen"


@pytest.mark.parametrize(
    ("values", "beats"),
    [
        ((3.9,), True),
        ((4.0,), False),  # equal in all
        ((3.0, 2.1), False),  # worse in one
        ((4.0, 2.0, 0.6), True),
        ((4.0, 2.0, 0.4), False),  # more isotropy is better
    ],
)
def test_with_one_seed_it_is_beaten_by_values(values: tuple[float, ...], beats: bool, asked: StudyConfig) -> None:
    record = record_of(asked, BASELINE, trial(1, *values))
    assert beats_baseline(record.trials[1], record) is beats
    assert not beats_baseline(record.trials[0], record)


def test_with_several_seeds_it_is_beaten_by_more_than_the_noise(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(kept)
    loaded = {seeds: load_config("golden.yaml", [f"study.seeds={seeds}"]) for seeds in (1, 2)}
    found = {}
    for seeds, config in loaded.items():
        record = read_record(config, kept / "mlruns")
        trial = next(run for run in record.finished if run.number == 1)
        found[seeds] = (verdicts(record, trial), beats_baseline(trial, record))
    assert found[2] == (["within the noise", "better", "within the noise", "equal"], True)
    assert found[1] == (["worse", "better", "better", "equal"], False)  # control: its own seed alone


def test_the_front_has_the_baseline_first_then_the_chosen_trial(asked: StudyConfig) -> None:
    record = record_of(asked, BASELINE, trial(1, 4.5, 1.0), trial(2, 3.9), trial(3, 3.95, 1.5), trial(4, 9.0, 9.0))
    order = [run.number for run in front_runs(record)]
    assert order[:2] == [0, record.choice.trial.number]
    assert sorted(order) == [0, 1, 2, 3]
    assert front_runs(record_of(asked, trial(0, state=State.RUNNING))) == []


def test_a_study_is_done_when_it_has_its_trials_or_went_on_in_vain(asked: StudyConfig, tree: dict[str, Any]) -> None:
    four = (BASELINE, trial(1, 4.1), trial(2, state=State.STOPPED), trial(3, state=State.FAILED))
    assert why_enough(record_of(asked, *four)) == "the study has its 4 trials"
    assert is_done(record_of(asked, *four))
    assert not why_enough(record_of(asked, *four[:3]))
    taken = trial(4, 4.2, source="old:4")  # it isn't the study's own
    assert not why_enough(record_of(asked, *four[:3], taken))
    patient = check_config({**tree, "study": {**tree["study"], "patience": 2}})
    assert why_enough(record_of(patient, *four[:3])) == "the last 2 of 3 trials brought no gain"
    assert not why_enough(record_of(patient, *four[:2]))
    assert not why_enough(record_of(patient, trial(0, state=State.FAILED), trial(1, state=State.FAILED)))


def test_a_study_with_an_open_trial_or_a_reference_to_run_is_not_done(
    asked: StudyConfig, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    four = [trial(number, 4.0 + number) for number in range(4)]
    assert is_done(record_of(asked, *four))
    assert not is_done(record_of(asked, *four, trial(4, state=State.RUNNING)))
    monkeypatch.chdir(kept)
    record = read_record(load_config("golden.yaml", ["study.seeds=3"]), kept / "mlruns")
    assert why_enough(record) and not record.running[1:]
    assert any(run.state is State.WAITING for run in record.companions)
    assert not is_done(record)
