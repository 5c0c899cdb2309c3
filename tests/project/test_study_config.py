from pathlib import Path
from typing import Any, get_args

import optuna
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.faults.attempt import run_drawn
from study.config import PROFILES, StudyConfig, check_config, load_config
from study.search.proposal import sampler_for, suggest
from study.settings import Bound, Choices, Range
from wake2vec import ConfigError, Wake2VecError, flatten, unflatten
from wake2vec.config import MADE_MODEL, InitialiserName, OptimizerName, RunConfig
from wake2vec.training.initialisers import INITIALISERS
from wake2vec.training.train import OPTIMIZERS

MAKEFILE = Path(__file__).parents[2] / "Makefile"
GAUSSIAN = {"init.name": "gaussian"}


def tree(**changes: Any) -> dict[str, Any]:
    """The profile `tiny`, with dotted addresses changed."""
    content = yaml.safe_load((PROFILES / "tiny.yaml").read_text())
    for address, value in changes.items():
        *path, last = address.split("__")
        node = content
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return dict(content)


def test_the_tiny_profile_is_phase_1_scaled() -> None:
    config = load_config("tiny")
    baseline = config.run_config(config.study.baseline)
    assert (baseline.init.name, baseline.init.noise_scale, baseline.train.lr) == ("gaussian", 0.1, 1.1e-3)
    assert (baseline.train.optimizer, baseline.train.rows, baseline.vocabulary.form) == (
        "adafactor",
        "all",
        "phase1",
    )


def test_the_defaults_are_phase_1s() -> None:
    t4 = load_config("t4", ["corpus.path=a", "vocabulary.lexicon=b"])
    train = t4.run_config(t4.study.baseline).train
    assert (train.steps, train.lr, train.warmup_share, train.weight_decay) == (3000, 3e-4, 0.1, 0)
    assert (train.batch_blocks, train.max_grad_norm) == (16, 1.0)
    assert t4.run.corpus.block_tokens == 256


def test_the_profile_of_a_real_model_has_phase_1s_recipe_and_what_make_makes() -> None:
    config = load_config("smollm2")
    baseline = config.run_config(config.study.baseline)
    assert (baseline.init.name, baseline.init.noise_scale, baseline.train.lr) == ("gaussian", 0.1, 3e-4)
    assert (baseline.vocabulary.form, baseline.train.rows) == ("phase1", "all")
    steps = config.study.space["train.steps"]
    assert isinstance(steps, Range)
    assert steps.high == baseline.train.steps  # no trial beats the baseline by more steps
    assert baseline.model.path == MADE_MODEL
    assert f"\nmodel: {MADE_MODEL} " in MAKEFILE.read_text()


def test_overrides_reach_every_knob_under_one_address() -> None:
    config = load_config("tiny", ["train.rows=new", "study.trials=20"])
    assert (config.run.train.rows, config.study.trials) == ("new", 20)
    assert set(config.study.space) <= set(flatten(config.run.model_dump()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__lrr": 1.0}, r"train knows no lrr; did you mean lr\?"),
        ({"trian": {}}, r"the profile knows no trian; did you mean train\?"),
        ({"train__lr": -1.0}, r"train\.lr: Input should be greater than 0 \(it is -1\.0\)"),
        ({"train__lr": float("nan")}, r"train\.lr: Input should be a finite number"),
        ({"train__steps": 0}, r"train\.steps: Input should be greater than or equal to 1"),
        ({"train__steps": "many"}, r"train\.steps: Input should be a valid integer .*\(it is 'many'\)"),
        ({"init__noise_scale": -0.1}, r"init\.noise_scale: Input should be greater than or equal to 0"),
        (
            {"study__space": {"train.lrr": {"low": 1, "high": 2}}},
            r"study\.space knows no train\.lrr; did you mean train\.lr\?",
        ),
        ({"study__space": {"train.lr": {"low": 2.0, "high": 1.0}}}, "low must be below high: 2, 1"),
        (
            {"study__space": {"train.lr": {"low": 0.0, "high": 1.0, "log": True}}},
            "a log range must begin above 0",
        ),
        ({"study__objectives": []}, r"study\.objectives: List should have at least 1 item"),
        (
            {"study__objectives": [{"result": "validation.los", "goal": "minimize"}]},
            r"did you mean validation\.loss\?",
        ),
        (
            {"study__baseline": {"train.lr": 1e-3, "train.steps": 120}},
            r"study\.baseline needs a value for init\.noise_scale",
        ),
        (
            {"study__space": {"init.name": {"choices": ["gaussian", "spere"]}}, "study__baseline": GAUSSIAN},
            r"study\.space: init\.name: Input should be 'gaussian', .* \(it is 'spere'\)",
        ),
        (
            {"study__space": {"vocabulary.form": {"choices": ["phase1", 3]}}},
            r"study\.space: vocabulary\.form: Input should be 'phase1', 'word', 'space' or 'pieces' \(it is 3\)",
        ),
        ({"study__bounds": ["loss below 4"]}, r"study\.bounds\.0: a bound has the form `<result> <= <number>`"),
        (
            {"study__choice": {"bars": ["geometry.top1_share_new <= geometry.top1"]}},
            r"study\.choice\.bars knows no geometry\.top1",
        ),
        ({"study__bounds": ["validation.los <= 4"]}, r"study\.bounds knows no validation\.los; did you mean"),
        (
            {"study__bounds": ["geometry.isotropy_new_high <= start"]},
            r"study\.bounds: `start` is the figure's own value",
        ),
        ({"study__bounds": ["validation.best_loss <= start"]}, r"study\.bounds: .* where validation\.best_loss isn't"),
        ({"study__choice": {"bars": ["computed.gpu_memory_gb <= start"]}}, r"study\.choice\.bars: `start` is the fig"),
        ({"study__anchors": {"big": {"init.noise": 1.0}}}, r"study\.anchors\.big knows no init\.noise; did you mean"),
        ({"study__anchors": {"big": {"train.lr": -1.0}}}, r"study\.anchors\.big: train\.lr: Input should be greater"),
        ({"study__anchors": {"odd": {"init.name": "spere"}}}, r"study\.anchors\.odd: init\.name: Input should be 'gau"),
        ({"study__anchors": {"odd": {"corpus.path": "x"}}}, r"study\.anchors\.odd must keep the study's corpus\.path"),
        ({"study__anchors": {"a'b": {"train.lr": 0.001}}}, r"study\.anchors\.a'b.*: String should match pattern"),
        (
            {"study__choice": {"rule": "best"}},
            r"study\.choice\.rule: Input should be 'bars', 'nearest_to_ideal', 'lexi",
        ),
        ({"study__choice": {"weights": {"geometry": 1.0}}}, r"study\.choice\.weights: .* 'geometry' is part of 3"),
        ({"study__choice": {"weights": {"loss": -1.0}}}, r"study\.choice\.weights\.loss must not be negative"),
        ({"study__stopping": {"grace_steps": 0}}, r"study\.stopping\.grace_steps: Input should be greater"),
        ({"study__sampler": "gpt"}, r"study\.sampler: Input should be 'auto', 'gp', 'tpe' or 'random'"),
        ({"study__name": "../up"}, r"study\.name: String should match pattern"),
    ],
)
def test_a_bad_profile_is_one_line_with_rule_value_and_remedy(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_config(tree(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "figure", "baseline", "violation"),
    [
        ("validation.loss <= 4.5", 4.7, None, 0.2),
        ("validation.loss <= baseline + 0.1", 4.7, 4.5, 0.1),
        ("validation.loss<=baseline", 4.4, 4.5, -0.1),
        ("sample.words >= 1e2", 80.0, None, 20.0),
        ("sample.words >= baseline - 10", 95.0, 100.0, -5.0),
        ("validation.loss <= baseline", 9.9, None, 0.0),  # the baseline failed
        ("|geometry.norm_gap_d| <= 0.2", -0.5, None, 0.3),
        ("|geometry.norm_gap_d| <= 0.5 x baseline", -0.5, -2.0, -0.5),
        ("geometry.collapse_share <= 0.1 x baseline", 0.2, 0.8, 0.12),
        ("geometry.collapse_share <= .1*baseline + 0.05", 0.2, 0.8, 0.07),
        ("geometry.top1_share_new <= geometry.top1_share_base", 0.5, 0.4, 0.1),  # the measure is another figure
        ("sample.spacing_excess <= -0.5", 0.0, None, 0.5),
        ("retention.bits_per_byte <= start + 0.05", 1.4, 1.3, 0.05),
        ("retention.bits_per_byte <= 1.1 x start", 1.4, 1.0, 0.3),
        ("|geometry.norm_gap_d| <= start", -3.0, -2.0, 1.0),
    ],
)
def test_a_bound_is_read_as_a_person_writes_it(
    written: str, figure: float, baseline: float | None, violation: float
) -> None:
    bound = Bound.model_validate(written)
    assert bound.violation(figure, baseline) == pytest.approx(violation)
    assert Bound.model_validate(str(bound)) == bound


@pytest.mark.parametrize(
    ("written", "measure"),
    [
        ("training.x <= 2", None),
        ("training.x <= baseline", 3.0),
        ("training.x <= start", 4.0),
        ("training.x <= training.y", 5.0),
    ],
)
def test_a_bound_is_measured_from_what_it_names(written: str, measure: float | None) -> None:
    bound = Bound.model_validate(written)
    own, start, baseline = {"training.x": 1.0, "training.y": 5.0}, {"training.x": 4.0}, {"training.x": 3.0}
    assert bound.measure_of(own, start, baseline) == measure
    assert bound.measure_of({}, {}, {}) is None


def test_all_faults_are_in_one_message() -> None:
    with pytest.raises(ConfigError, match=r"train\.steps: .*; train\.lr: "):
        check_config(tree(train__lr=-1.0, train__steps=0))


ADDRESSES = sorted(flatten(load_config("tiny").model_dump()["run"]))


@given(
    address=st.sampled_from(ADDRESSES),
    value=st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_any_field_is_accepted_or_refused_in_one_line(address: str, value: object) -> None:
    try:
        config = check_config(tree(**{address.replace(".", "__"): value}))
    except ConfigError as fault:
        assert "\n" not in str(fault)
    else:
        assert isinstance(config, StudyConfig)


SPACES = st.sampled_from([*ADDRESSES, "train.lrr"])
NUMBERS = st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([1, 0.001, 40, 120, 20261125])


@given(
    address=SPACES,
    space=st.fixed_dictionaries({"low": NUMBERS, "high": NUMBERS}, optional={"log": st.booleans()})
    | st.fixed_dictionaries({"choices": st.lists(NUMBERS | st.text(max_size=3) | st.booleans(), max_size=3)}),
    start=NUMBERS | st.text(max_size=3),
    seed=NUMBERS,
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_space_that_is_accepted_can_be_drawn_from(address: str, space: Any, start: Any, seed: Any) -> None:
    study = {"space": {address: space}, "baseline": {address: start}, "seed": seed, "sampler": "random"}
    try:
        config = check_config(tree(**{f"study__{key}": value for key, value in study.items()}))
    except ConfigError as fault:
        assert "\n" not in str(fault)
        return
    for number in (1, 2**20):
        drawn = suggest(optuna.create_study(sampler=sampler_for(number, "random", config)).ask(), config)
        assert config.run_config(drawn) and config.lies_in_space(drawn)


@given(
    values=st.dictionaries(
        st.sampled_from([address for address in ADDRESSES if not address.endswith(("path", "lexicon"))]),
        NUMBERS
        | st.sampled_from(["word", "space", "new", "all", "sphere", "mean", "adamw", "added", "always", "native"]),
        min_size=1,
        max_size=2,
    ),
    rates=st.tuples(st.floats(0, 10, exclude_min=True), st.floats(1e-9, 1e9)),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_accepted_also_runs(
    config: RunConfig, tmp_path: Path, values: dict[str, Any], rates: tuple[float, float], seed: int
) -> None:
    """From the validator to the sampler, the generator and a step of training."""
    low, high = sorted(rates)
    study = {"space": {"train.lr": {"low": low, "high": high}}, "baseline": {"train.lr": low}, "seed": seed}
    given = unflatten({**flatten(config.model_dump()), **values, "machine.threads": 1})
    try:
        checked = check_config({"study": {**tree()["study"], "anchors": {}, **study}, **given})
    except ConfigError as fault:
        assert "\n" not in str(fault)
        return
    try:
        result = run_drawn(checked, tmp_path / "trials")
    except Wake2VecError as fault:  # a text too short for such blocks, losses that aren't finite
        assert "\n" not in str(fault)
    else:
        assert result.numbers["validation.loss"] is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: [", "expected"),
        ("study: {name: a}\nstudy: {name: b}\n", "duplicate"),
        ("- 1\n", "a profile is a mapping"),
        ("train:\n  lr: ${nowhere}\n", r"computes nothing: write the value out in place of \$\{nowhere\}"),
        ("sample:\n  prompt: ${oc.env:HOME}\n", "computes nothing"),
        ("a: &a [1]\nb: *a\n", "refers to nothing"),
        ("a: !!python/object/apply:os.system [ls]\n", "has no tags"),
        ("a: !!binary aGVsbG8=\n", "has no tags"),
        (f"a: {'[' * 30}{']' * 30}\n", "at most 20 levels deep"),
        (f"a: {'9' * 5000}\n", "more than 4,300 digits"),
        ("# " + "x" * 1_000_000, "at most 1,000,000 bytes"),
        ("a: \x00\n", "special characters"),
        ("? {a: 1}\n: 2\n", "unhashable key"),
    ],
)
def test_a_file_that_is_no_profile_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(str(path))
    assert "\n" not in str(caught.value)


def test_text_on_the_command_line_is_taken_as_it_is() -> None:
    for written in ("run #2/book.txt", "[draft] x.txt", "2024", "a: b", "${oc.env:HOME}", "*x", "!", "null", "a=b", ""):
        config = load_config("tiny", [f"corpus.path={written}", f"sample.prompt={written}"])
        assert (config.run.corpus.path, config.run.sample.prompt) == (written, written)
    assert load_config("tiny", ["study.name=2024"]).study.name == "2024"
    fixed = ["study.space.train.lr=null", "train.lr=1e-3"]
    assert load_config("tiny", fixed).run.train.lr == 0.001  # the control: a number is read as one


@pytest.mark.parametrize(("address", "value"), [("train.steps", 100), ("train.lr", 0.002)])
def test_a_knob_that_varies_cant_be_set_beside_the_space_and_each_remedy_works(address: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{address} varies in this study, so {address}={value} would do") as told:
        load_config("tiny", [f"{address}={value}"])
    baseline, fixed, set_ = (f"study.baseline.{address}={value}", f"study.space.{address}=null", f"{address}={value}")
    assert all(remedy in str(told.value) for remedy in (baseline, f"{fixed} {set_}"))
    assert load_config("tiny", [baseline]).study.baseline[address] == value
    config = load_config("tiny", [fixed, set_])
    assert address not in config.study.space and address not in config.study.baseline
    assert flatten(config.run.model_dump())[address] == value
    moved = load_config("tiny", [f"study.space.{address}.low={value / 2:g}", f"study.space.{address}.high=500"])
    space = moved.study.space[address]
    assert isinstance(space, Range) and (space.low, space.high, space.log) == (value / 2, 500, True)


def test_each_part_of_a_space_has_an_address_of_its_own() -> None:
    config = load_config(
        "tiny",
        [
            "study.space.train.rows={choices: [all, new]}",
            "study.baseline.train.rows=all",
            "study.anchors.noise 1.0.init.noise_scale=1.5",
            "study.space.init.noise_scale.choices=[0.1, 1.5]",
        ],
    )
    assert config.study.anchors["noise 1.0"] == {"init.noise_scale": 1.5}
    assert config.study.space["init.noise_scale"] == Choices(choices=[0.1, 1.5])
    assert list(config.study.space) == ["init.noise_scale", "train.lr", "train.steps", "train.rows"]


def test_a_profiles_anchors_can_be_left_out() -> None:
    assert load_config("tiny").study.anchors
    assert load_config("tiny", ["study.anchors=null"]).study.anchors == {}


def test_an_initialiser_can_be_a_knob_of_the_study() -> None:
    names = sorted(INITIALISERS)
    config = check_config(tree(study__space={"init.name": {"choices": names}}, study__baseline=GAUSSIAN))
    study = optuna.create_study(sampler=sampler_for(1, "gp", config))
    suggested = [suggest(study.ask(), config) for _ in range(100)]
    assert {values["init.name"] for values in suggested} == set(names)
    assert {config.run_config(values).init.name for values in suggested} == set(names)


def test_the_configuration_names_the_initialisers_and_optimizers_that_there_are() -> None:
    assert set(get_args(InitialiserName)) == set(INITIALISERS)
    assert set(get_args(OptimizerName)) == set(OPTIMIZERS)


def test_what_a_profile_needs_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"t4 needs corpus\.path=\.\.\. \(CORPUS=\.\.\. with make\) and vocabulary\.lexicon"
    ):
        load_config("t4")
    with pytest.raises(ConfigError, match="no profile tinny: give one of smollm2, t4, tiny"):
        load_config("tinny")
