"""What the driver reads and writes of trials by shorter ways than Optuna's own is what Optuna reads and writes."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.config import StudyConfig, check_config
from study.runs.reader import StudyReader
from study.runs.run import Run, State
from study.runs.storage import open_study, tell_end
from study.search.proposal import distributions, suggest


def content(trial: FrozenTrial) -> dict[str, Any]:
    """All but when, and by which id."""
    own = {key.strip("_"): value for key, value in vars(trial).items()}
    return {key: own[key] for key in own.keys() - {"datetime_start", "datetime_complete", "trial_id"}}


def contents(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    return [content(trial) for trial in trials]


@pytest.fixture
def study(study_config: StudyConfig, tmp_path: Path) -> optuna.Study:
    return open_study(tmp_path, study_config, {"a": 1})


def test_what_is_read_again_is_all_that_has_changed(study: optuna.Study, study_config: StudyConfig) -> None:
    reader = StudyReader(study, study_config, Path())

    def check() -> None:
        assert contents(reader.trials()) == contents(study.get_trials(deepcopy=False))

    check()
    first = study.ask()
    check()
    suggest(first, study_config)  # it ran already
    check()
    knobs: dict[str, Any] = {"params": study_config.study.baseline, "distributions": distributions(study_config)}
    added = create_trial(state=TrialState.RUNNING, user_attrs={"unseen": [0]}, **knobs)
    study.add_trial(added)
    reader.begun(len(study.trials) - 1, added)
    check()
    count = len(study_config.study.objectives)
    tell_end(study, Run(State.FINISHED, 0, {}, (0.5,) * count, "0" * 16), study_config)
    study.enqueue_trial(study_config.study.baseline)
    check()
    assert [trial.state.name for trial in reader.trials()][-1] == "WAITING"


def test_a_trial_that_is_whole_is_not_read_again_before_its_state_is_another(
    study: optuna.Study, study_config: StudyConfig
) -> None:
    """The control: what the rule doesn't look for isn't seen."""
    reader, trial = StudyReader(study, study_config, Path()), study.ask()
    suggest(trial, study_config)
    reader.trials()
    trial.set_user_attr("fault", "told before its end")
    assert "fault" not in reader.trials()[0].user_attrs
    study.tell(trial, state=TrialState.FAIL)
    assert reader.trials()[0].user_attrs["fault"] == "told before its end"


BOUNDS = ["validation.loss <= baseline", "geometry.norm_gap_d <= baseline"]
DIGEST = "d" * 16
ENDS = {
    TrialState.COMPLETE: (
        Run(State.FINISHED, 0, {}, (1.0,), DIGEST, (0.25, -1.0)),
        {"digest": DIGEST, "violations": [0.25, -1.0]},
    ),
    TrialState.PRUNED: (
        Run(State.STOPPED, 0, {}, digest=DIGEST, reason="lags", step=3),
        {"digest": DIGEST, "stopped": "lags", "stopped_at": 3},
    ),
    TrialState.FAIL: (Run(State.FAILED, 0, {}, reason="no memory"), {"fault": "no memory"}),
}


@pytest.mark.parametrize("state", ENDS)
def test_an_end_is_told_as_optuna_tells_it(state: TrialState, tree: dict[str, Any], tmp_path: Path) -> None:
    objectives = [{"result": "validation.loss", "goal": "minimize"}]
    config = check_config({**tree, "study": {**tree["study"], "bounds": BOUNDS, "objectives": objectives}})
    run, attributes = ENDS[state]
    studies = [open_study(tmp_path / way, config, {"a": 1}) for way in ("own", "its")]
    own, its = (study.ask() for study in studies)
    for trial in (own, its):
        suggest(trial, config)
    tell_end(studies[0], run, config)
    for key, value in attributes.items():
        its.set_user_attr(key, value)
    for bound, by in zip(config.study.bounds, run.violations, strict=bool(run.violations)):
        its.set_constraint(str(bound), by)
    studies[1].tell(its, list(run.values) or None, state)
    told, expected = (content(study.get_trials()[0]) for study in studies)
    assert told == expected
    assert told["state"] is state and told["user_attrs"] == attributes
