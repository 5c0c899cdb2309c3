"""The optimiser on real trials of a tiny base: bounds, anchors, early stopping, repeats, warm start."""

import json
import math
import shutil
import sqlite3
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from conftest import TRIALS, Silent
from hypothesis import given
from hypothesis import strategies as st
from optuna._hypervolume.box_decomposition import get_non_dominated_box_bounds
from optuna.trial import FrozenTrial, create_trial

import study.search.proposal
from study.config import StudyConfig, check_config
from study.engine.drive import drive
from study.engine.driver import StudyOutcome
from study.runs.objectives import violations
from study.runs.reader import StudyReader, read_record
from study.runs.record import StudyRecord
from study.runs.run import Run, State
from study.runs.storage import load_study, tell_end
from study.search.proposal import Gains, Told, gp_bytes, propose, sampler_named, sides
from study.settings import ChoiceSettings, Objective
from study.show.tables import references_table
from study.tracking import Tracker
from wake2vec import ConfigError, WorkFolder

Done = tuple[Path, StudyOutcome]


def with_study(tree: dict[str, Any], **settings: object) -> StudyConfig:
    return check_config({**tree, "study": {**tree["study"], **settings}})


@pytest.fixture(scope="module")
def rich(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyConfig, Path, StudyOutcome]:
    """A study with everything on: anchors, a bound, seeds, stopping."""
    config = with_study(
        tree,
        trials=7,
        startup_trials=6,
        anchors={
            "noise 1.0": {"init.noise_scale": 1.0},
            "library default": {"init.name": "library_default"},
            "norm-matched sphere": {"init.name": "sphere"},
        },
        bounds=["validation.loss <= baseline - 0.002"],
        seeds=2,
        finalists=2,
        stopping={"grace_steps": 3, "stuck_nats": 0.05},
    )
    folder = tmp_path_factory.mktemp("rich") / "mlruns"
    return config, folder, drive(config, folder, Silent())


def test_anchors_in_the_space_are_trials_and_others_are_references(
    rich: tuple[StudyConfig, Path, StudyOutcome],
) -> None:
    config, _, outcome = rich
    record = outcome.record
    anchor = next(trial for trial in record.trained if trial.number == 1)
    assert anchor.params == {**config.study.baseline, "init.noise_scale": 1.0}
    assert [reference.name for reference in record.references] == ["library default", "norm-matched sphere"]
    # The sampler never sees what lies outside the space.
    assert all(trial.params["init.noise_scale"] >= 0.05 for trial in record.trained)


def test_the_baseline_and_the_finalists_are_repeated_and_seeds_differ(
    rich: tuple[StudyConfig, Path, StudyOutcome],
) -> None:
    record = rich[2].record
    for trial in (record.baseline, *record.finalists):
        values = record.repeated_values(trial)
        assert len(values) == 2
        assert values[0] != values[1]
    mean, low, high = (getattr(record.intervals(record.baseline)[0], name) for name in ("mean", "low", "high"))
    assert low < mean < high
    assert "means over 2 seeds" in record.choice.reason


def test_repeats_lie_where_they_are_looked_for_when_an_input_is_a_knob(tree: dict[str, Any], tmp_path: Path) -> None:
    words = Path(tree["vocabulary"]["lexicon"]).read_text(encoding="utf-8").splitlines()
    other = tmp_path / "other.txt"
    other.write_text("\n".join(words[:-1]), encoding="utf-8")
    lexica = [tree["vocabulary"]["lexicon"], str(other)]
    space = {**tree["study"]["space"], "vocabulary.lexicon": {"choices": lexica}}
    baseline = {**tree["study"]["baseline"], "vocabulary.lexicon": lexica[0]}
    config = with_study(
        tree,
        space=space,
        baseline=baseline,
        trials=3,
        startup_trials=3,
        seed=1,
        seeds=2,
    )
    record = drive(config, tmp_path / "mlruns", Silent()).record
    assert {trial.params["vocabulary.lexicon"] for trial in (record.baseline, *record.finalists)} == set(lexica)
    assert all(companion.state is State.FINISHED for companion in record.companions)
    assert all(len(record.repeated_values(trial)) == 2 for trial in record.finalists)


def test_a_reference_that_fails_ends_nothing_and_the_report_says_why(tree: dict[str, Any], tmp_path: Path) -> None:
    config = with_study(tree, trials=1, anchors={"burst": {"train.lr": 1e30}})
    record = drive(config, tmp_path, Silent()).record
    assert record.references == []
    (burst,) = record.companions
    assert burst.state is State.FAILED
    (tmp_path / "mlflow.db").unlink()
    rebuilt = drive(config, tmp_path, Silent())
    assert rebuilt.added == 0
    assert {*Tracker(tmp_path, config).ended_runs(["trial 0", "trial 1", "burst"])} == {"trial 0", "burst"}
    assert references_table(record).rows == [("burst", *["–"] * 5, f"train.lr 1e+30; failed: {burst.reason}")]


def test_stopped_trials_are_pruned_with_reason_and_step_and_their_curve_stays(
    rich: tuple[StudyConfig, Path, StudyOutcome],
) -> None:
    config, folder, outcome = rich
    (stopped, *_) = outcome.record.stopped
    assert f"at step {stopped.step} of {stopped.params['train.steps']}" in stopped.reason
    assert outcome.record.progress(stopped.digest)[-1].step == stopped.step
    work = WorkFolder(folder / "trials" / stopped.digest)
    assert not work.result_path.exists()
    assert not work.checkpoints_path.exists()
    states = [trial.state.name for trial in load_study(folder, config.study.name).get_trials()]
    assert states.count("PRUNED") == len(outcome.record.stopped)
    assert outcome.record.ended == 7


def test_a_choice_keeps_the_bounds(rich: tuple[StudyConfig, Path, StudyOutcome]) -> None:
    record = rich[2].record
    assert record.choice.trial.is_feasible
    assert record.choice.trial.values[0] <= record.baseline.values[0] - 0.002
    assert {trial.is_feasible for trial in record.finished} == {True, False}


def test_a_bound_on_the_baseline_is_judged_seed_by_seed(rich: tuple[StudyConfig, Path, StudyOutcome]) -> None:
    record = rich[2].record
    trial = record.choice.trial
    difference = record.differences(trial)[0]
    assert difference.count == 2
    assert record.mean_violations(trial) == pytest.approx([difference.mean + 0.002])
    assert record.mean_violations(trial) != pytest.approx(trial.violations)  # its own seed says something else


def test_the_same_seeds_give_the_same_stops_and_repeats_and_run_again_it_does_nothing(
    rich: tuple[StudyConfig, Path, StudyOutcome], tmp_path: Path
) -> None:
    config, folder, outcome = rich
    again = drive(config, tmp_path, Silent()).record
    assert (again.finished, again.stopped) == (outcome.record.finished, outcome.record.stopped)
    assert again.choice == outcome.record.choice
    other = config.model_copy(update={"study": config.study.model_copy(update={"seed": 1})})
    with pytest.raises(ConfigError, match=r"study\.seed: 0 -> 1"):
        drive(other, tmp_path, Silent())
    with sqlite3.connect(folder / "mlflow.db") as database:
        before = database.execute("SELECT count(*) FROM metrics").fetchone()
    assert drive(config, folder, Silent()).added == 0
    with sqlite3.connect(folder / "mlflow.db") as database:
        assert database.execute("SELECT count(*) FROM metrics").fetchone() == before


def test_a_driver_that_dies_while_it_stops_a_trial_comes_to_the_same_verdict(
    rich: tuple[StudyConfig, Path, StudyOutcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(study: optuna.Study, run: Run, config: StudyConfig) -> None:
        if run.state is State.STOPPED:
            raise KeyboardInterrupt
        tell_end(study, run, config)

    config, _, outcome = rich
    with monkeypatch.context() as patched:
        patched.setattr("study.engine.driver.tell_end", die)
        with pytest.raises(KeyboardInterrupt):
            drive(config, tmp_path, Silent())
    again = drive(config, tmp_path, Silent()).record
    assert (again.finished, again.stopped) == (outcome.record.finished, outcome.record.stopped)


def test_what_a_sampler_proposes_depends_on_stopped_trials(rich: tuple[StudyConfig, Path, StudyOutcome]) -> None:
    record = rich[2].record
    assert propose(record, 9) == propose(record, 9)
    blind = replace(record, trials=[trial for trial in record.trials if trial.state is not State.STOPPED])
    assert propose(record, 9) != propose(blind, 9)


def front_of(count: int, behind: int, objectives: int) -> list[FrozenTrial]:
    """Told trials: so many on a sphere, where none dominates another, and others behind them."""
    places = np.abs(np.random.default_rng(0).normal(size=(count, objectives))) + 0.01
    ahead = -places / np.linalg.norm(places, axis=1, keepdims=True)
    return [create_trial(values=list(values)) for values in (*ahead, *np.ones((behind, objectives)))]


@pytest.mark.parametrize(
    ("objectives", "front", "behind", "sampler"),
    [(1, 1, 299, "gp"), (1, 1, 300, "tpe"), (2, 300, 0, "gp"), (4, 24, 0, "gp"), (4, 25, 0, "tpe"), (6, 6, 0, "tpe")],
)
def test_a_gaussian_process_proposes_as_long_as_it_can_be_borne(
    tree: dict[str, Any], objectives: int, front: int, behind: int, sampler: str
) -> None:
    aims = [Objective(result="validation.loss", goal="minimize")] * objectives
    told = front_of(front, behind, objectives)
    assert sampler_named(with_study(tree), told, aims) == sampler
    assert sampler_named(with_study(tree, sampler="gp"), told, aims) == "gp"
    upside_down = [Objective(result="validation.loss", goal="maximize")] * objectives
    if (objectives, behind) == (4, 0):
        assert sampler_named(with_study(tree), told, upside_down) == sampler  # of a sphere nobody dominates either way
    broken = [create_trial(values=trial.values, constraints={"bound": 1.0}) for trial in told]
    assert sampler_named(with_study(tree), broken, aims) == ("gp" if len(told) <= 300 else "tpe")


@pytest.mark.filterwarnings("ignore:Box decomposition")
@pytest.mark.parametrize(("objectives", "front"), [(2, 40), (3, 40), (4, 25), (5, 10), (6, 6)])
def test_what_a_proposal_takes_in_memory_is_about_what_optuna_makes(objectives: int, front: int) -> None:
    """Optuna compares 2,048 candidates in 128 samples with each box that the front leaves."""
    points = np.array([trial.values for trial in front_of(front, 0, objectives)])
    boxes = len(get_non_dominated_box_bounds(points, np.ones(objectives))[0])
    assert gp_bytes(front, objectives) == pytest.approx(boxes * 2048 * 128 * objectives * 8 * 2, rel=0.4)


def test_the_change_of_the_sampler_is_told_and_every_proposal_can_be_made_again(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int]] = []
    watcher = Silent()
    monkeypatch.setattr(watcher, "sampler_changed", lambda sampler, trials: told.append((sampler, trials)))
    gp = with_study(tree, sampler="gp", trials=4)
    drive(gp, tmp_path, watcher)
    assert told == []
    monkeypatch.setattr(study.search.proposal, "GP_TRIALS", 5)
    record = drive(with_study(tree, trials=8), tmp_path, watcher).record  # goes on with the study of a `gp`
    assert told == [("tpe", 6)]
    again = [propose(record, trial.number) for trial in record.trials]
    assert [proposal.sampler for proposal in again] == ["gp"] * 6 + ["tpe"] * 2
    assert [proposal.params for proposal in again[1:]] == [trial.params for trial in record.trials[1:]]
    assert propose(replace(record, config=gp), 7).params != record.trials[7].params  # the control


def test_patience_ends_a_study_whose_hypervolume_stands_still(tree: dict[str, Any], tmp_path: Path) -> None:
    config = with_study(tree, trials=50, patience=3, sampler="random")
    outcome = drive(config, tmp_path, Silent())
    history = [0.0] * 3 + outcome.record.hypervolumes
    assert 4 <= outcome.record.ended < 50
    assert history[-1] == history[-4]
    assert outcome.record.trials_without_gain == 3


def test_a_warm_start_tells_the_sampler_what_an_earlier_study_saw(
    done: Done, tree: dict[str, Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(done[0], tmp_path / "mlruns")
    config = with_study(tree, name="warm", seed=5, trials=2, warm_start=["small"])
    record = drive(config, folder, Silent()).record
    imported = [trial for trial in record.finished if trial.source]
    assert [trial.source for trial in imported] == [f"small, trial {number}" for number in range(TRIALS)]
    assert [trial.values for trial in imported] == [trial.values for trial in done[1].trials]
    assert record.ended == 2
    cold = drive(with_study(tree, name="cold", seed=5, trials=2), folder, Silent()).record
    assert cold.finished[1].params != record.finished[-1].params
    assert read_record(config, folder).finished == record.finished


def test_a_warm_start_from_what_doesnt_compare_is_refused(done: Done, tree: dict[str, Any], tmp_path: Path) -> None:
    folder = shutil.copytree(done[0], tmp_path / "mlruns")
    other = check_config({**tree, "seed": 7, "study": {**tree["study"], "name": "warm", "warm_start": ["small"]}})
    with pytest.raises(ConfigError, match=r"needs trials with this study's inputs and fixed knobs: small has none"):
        drive(other, folder, Silent())
    with pytest.raises(ConfigError, match="no study nowhere"):
        drive(with_study(tree, name="warm2", warm_start=["nowhere"]), folder, Silent())
    names = json.dumps(sorted(path.name for path in (folder / "studies").iterdir()))
    assert names == '["small"]'


def test_a_stopped_trial_is_told_with_the_end_that_it_would_probably_have_had(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    """Planted curves: to its last loss comes the median of what peers gained from that step to their ends."""

    def planted(name: str, steps: int, losses: dict[int, float]) -> dict[str, Any]:
        log = WorkFolder(tmp_path / "trials" / name).start_progress()
        for step, loss in losses.items():
            log.add(step, {"validation.loss": loss})
        log.close()
        return {"number": len(name), "params": {**config.study.baseline, "train.steps": steps}, "digest": name}

    config = with_study(tree)
    peers = [
        Run(State.FINISHED, values=(0.0,) * 4, **planted("a", 8, {0: 6.0, 4: 5.0, 8: 4.5})),
        Run(State.FINISHED, values=(0.0,) * 4, **planted("bb", 8, {0: 6.0, 4: 5.2, 8: 5.1})),
        Run(State.FINISHED, values=(0.0,) * 4, **planted("ccc", 5, {0: 6.0, 4: 5.0, 5: 1.0})),  # shorter: no peer
    ]
    stopped = Run(State.STOPPED, step=4, reason="dominated", **planted("dddd", 6, {0: 6.0, 4: 5.6}))
    record = StudyRecord(config, tmp_path, [*peers, stopped])
    told = Told(record, config.study.objectives, aimed=False)
    assert told.probable_end(stopped)["validation.loss"] == pytest.approx(5.6 - 0.3)


def test_the_last_trials_go_for_the_choice_where_its_rule_has_bars(
    rich: tuple[StudyConfig, Path, StudyOutcome],
) -> None:
    config, _, outcome = rich
    bars = ["|geometry.norm_gap_d| <= 5", "geometry.top1_share_new <= geometry.top1_share_base"]

    def proposed(number: int, **choice: object) -> dict[str, object]:
        settings = {"trials": 9, "aimed_trials": 2, "choice": ChoiceSettings.model_validate({"bars": bars, **choice})}
        aiming = config.model_copy(update={"study": config.study.model_copy(update=settings)})
        return propose(replace(outcome.record, config=aiming), number).params

    usual = {number: propose(outcome.record, number).params for number in (6, 7)}
    assert proposed(6) == usual[6]
    assert proposed(7) != usual[7]
    assert proposed(7) == proposed(7)
    assert proposed(7, rule="first_objective") == usual[7]
    assert proposed(7, bars=[]) == usual[7]


def test_a_bar_around_0_has_two_sides_and_an_undefined_figure_breaks_its_bar(
    rich: tuple[StudyConfig, Path, StudyOutcome],
) -> None:
    record = rich[2].record
    bars = ChoiceSettings.model_validate({"bars": ["|geometry.norm_gap_d| <= 5"]}).bars
    baseline = record.numbers(record.baseline)
    near = 0.1 * (abs(baseline["geometry.norm_gap_d"] or 0.0) - 5)
    assert near > 0, "the baseline must break the bar"
    for figure, by_side in ((-6.0, [-11.0, 1.0]), (2.0, [-3.0, -7.0]), (5.001, [0.001, -10.001])):
        found = list(sides({"geometry.norm_gap_d": figure}, {}, baseline, bars).values())
        assert found == pytest.approx([near * math.asinh(side / near) for side in by_side])
    assert found[0] == pytest.approx(0.001, rel=1e-4), "near the limit it is the excess itself"
    assert list(sides({"geometry.norm_gap_d": None}, {}, baseline, bars).values()) == [1.0, 1.0]


def test_a_bound_on_the_start_is_measured_from_each_trials_own_step_0(
    rich: tuple[StudyConfig, Path, StudyOutcome],
) -> None:
    """Of trials with a result, of those that were stopped, and of what an aimed sampler is told."""
    config, _, outcome = rich
    bounds = ["validation.loss <= start - 0.01", "retention.bits_per_byte <= start + 0.001"]
    study = config.study.model_validate({**config.study.model_dump(), "bounds": bounds, "choice": {"bars": bounds}})
    record = replace(outcome.record, config=config.model_copy(update={"study": study}))
    told = Told(record, study.objectives, aimed=True)
    curves = {trial.number: record.evaluations(trial) for trial in record.trained}
    assert record.stopped and len({at[0]["validation.loss"] for at in curves.values()}) > 1
    for trial in record.finished:
        at = curves[trial.number]
        gained = [(at[max(at)][bound.result] or 0.0) - (at[0][bound.result] or 0.0) for bound in study.bounds]
        found = violations(record.result(trial.digest), None, record.config)
        assert found == pytest.approx([gained[0] + 0.01, gained[1] - 0.001], abs=1e-12)
        assert gained[1] == pytest.approx(record.numbers(trial)["retention.bits_per_byte_change"], abs=1e-12)
    for trial in record.stopped:
        end, at = told.probable_end(trial), curves[trial.number]
        judged = told.trial(replace(trial, violations=()))
        assert judged is not None
        expected = [end["validation.loss"] - (at[0]["validation.loss"] or 0.0) + 0.01]
        assert judged.constraints[bounds[0]] == pytest.approx(expected[0])
        assert judged.constraints[f"bar {bounds[0]}, side 0"] == pytest.approx(expected[0], rel=1)


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(-1e3, 1e3)), max_size=20))
def test_the_gain_of_peers_as_long_is_their_median_to_the_last_bit(peers: list[tuple[int, float]]) -> None:
    gains = Gains(peers)
    for least in range(1, 11):
        assert gains.median(least) == statistics.median([gain for steps, gain in peers if steps >= least] or [0.0])


def test_a_study_that_is_read_again_and_again_reads_ended_trials_once(
    rich: tuple[StudyConfig, Path, StudyOutcome], tmp_path: Path
) -> None:
    config, folder, outcome = rich
    copied = shutil.copytree(folder, tmp_path / "mlruns")
    reader = StudyReader(load_study(copied, "small"), config, copied)
    first = reader.record()
    usual, known = propose(first, 9), [first.evaluations(trial) for trial in first.trained]
    assert usual == propose(outcome.record, 9)
    shutil.rmtree(copied / "trials")
    again = reader.record()
    assert again.trials == first.trials
    assert [again.evaluations(trial) for trial in again.trained] == known
    assert propose(again, 9) == usual
