"""What a study says of itself in a terminal: status, list, show, compare, and the tables that a run ends with."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Silent
from optuna.trial import TrialState
from stored import rewrite
from typer.testing import CliRunner

from study.cli.main import app
from study.config import StudyConfig, check_config
from study.engine.drive import drive
from study.runs.choose import preferring
from study.runs.compare import relative_differences
from study.runs.lease import driver_of, only_driver
from study.runs.reader import read_record
from study.runs.record import StudyRecord
from study.runs.storage import load_study
from wake2vec import TrialStopped, WorkFolder, read_result

ROOT = Path(__file__).parents[2]
Say = Callable[..., str]


@pytest.fixture(scope="module")
def rich_config(tree: dict[str, Any]) -> StudyConfig:
    """Five knobs, four objectives, two bounds, two seeds, anchors in the space and outside, and one that is stopped."""
    study = {
        **tree["study"],
        "name": "rich",
        "trials": 6,
        "startup_trials": 6,
        "seeds": 2,
        "finalists": 2,
        "anchors": {
            "loud": {"init.noise_scale": 1.5},
            "sphere": {"init.name": "sphere", "init.radius_factor": 0.5},
        },
        "bounds": ["validation.loss <= baseline + 0.05", "geometry.norm_ratio >= 0.2"],
        "stopping": {"grace_steps": 3, "keep_share": None, "stuck_nats": 0.02, "diverged_nats": None},
        "space": {
            **tree["study"]["space"],
            "vocabulary.form": {"choices": ["phase1", "word"]},
            "train.max_grad_norm": {"low": 0.1, "high": 2.0},
        },
        "baseline": {**tree["study"]["baseline"], "vocabulary.form": "phase1", "train.max_grad_norm": 1.0},
    }
    return check_config({**tree, "study": study})


@pytest.fixture(scope="module")
def rich(rich_config: StudyConfig, tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `rich.yaml`, `small.yaml`, and in `mlruns` the study `rich`, to which a failed trial was added."""
    home = tmp_path_factory.mktemp("rich")
    drive(rich_config, home / "mlruns", Silent())
    study = load_study(home / "mlruns", "rich")
    study.ask().set_user_attr("fault", "loss is nan at step 2")
    study.tell(6, state=TrialState.FAIL)
    written = {"study": rich_config.study.model_dump(), **rich_config.run.model_dump()}
    written["study"]["bounds"] = list(map(str, rich_config.study.bounds))
    (home / "rich.yaml").write_text(yaml.safe_dump(written))
    (home / "small.yaml").write_text(yaml.safe_dump(tree))
    return home


@pytest.fixture
def say(rich: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """What a command prints, typed in the folder of `rich.yaml`."""
    monkeypatch.chdir(rich)

    def typed(*words: str, code: int = 0) -> str:
        shown = CliRunner().invoke(app, words)
        assert shown.exit_code == code, shown.output
        return shown.output

    return typed


@pytest.fixture
def with_bytes(rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy whose runs have byte collapse, which is undefined for a model of random weights: .25 in each."""
    home = shutil.copytree(rich, tmp_path / "rich")
    for path in home.glob("mlruns/trials/*/result.json"):
        work = WorkFolder(path.parent)
        rewrite(work, {"numbers": {**read_result(work).numbers, "geometry.byte_collapse_share": 0.25}})
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def record(rich: Path, rich_config: StudyConfig) -> StudyRecord:
    return read_record(rich_config, rich / "mlruns")


COMMANDS = [
    ["status"],
    ["status", "rich.yaml"],
    ["list", "rich.yaml"],
    ["list", "rich.yaml", "--front", "--sort", "isotropy"],
    ["show", "baseline", "rich.yaml"],
    ["show", "chosen", "rich.yaml"],
    ["show", "6", "rich.yaml"],
    ["show", "sphere", "rich.yaml"],
    ["compare", "baseline", "chosen", "rich.yaml"],
    ["compare", "loud", "sphere", "rich.yaml"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_what_is_read_fits_80_columns_has_no_colours_in_a_pipe_and_changes_no_file(
    words: list[str], say: Say, rich: Path
) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in rich.rglob("*")}
    shown = say(*words)
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in rich.rglob("*")} == before


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_json_has_no_nan_and_only_keys_that_the_document_names(words: list[str], say: Say) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads(say(*words, "--json"), parse_constant=refuse)
    document = (ROOT / "docs" / "terminal.md").read_text(encoding="utf-8")
    assert {key for key in keys_of(content) if f"`{key}`" not in document} == set()


def keys_of(content: Any) -> set[str]:
    """All keys of our own: those that are addresses, names of commands or their like aren't."""
    if isinstance(content, list):
        return {key for one in content for key in keys_of(one)}
    if not isinstance(content, dict):
        return set()
    own = {key for key in content if re.fullmatch(r"\w+", key)}
    return own.union(*map(keys_of, content.values()))


def test_the_list_in_json_is_the_record(say: Say, record: StudyRecord) -> None:
    content = json.loads(say("list", "rich.yaml", "--json"))
    trials = {trial["number"]: trial for trial in content["trials"]}
    assert list(trials) == list(range(7))
    for trial in record.finished:
        own = trials[trial.number]
        assert (own["params"], tuple(own["objectives"].values())) == (trial.params, trial.values)
        assert own["is_on_front"] == (trial.number in record.front)
        assert own["seconds"] == record.cost(trial.digest).seconds
    for stopped in record.stopped:
        own = trials[stopped.number]
        assert (own["kind"], own["objectives"], own["step"]) == ("stopped", None, stopped.step)
    assert [trial["reason"] for trial in content["trials"] if trial["kind"] == "failed"] == ["loss is nan at step 2"]
    assert [number for number, trial in trials.items() if trial["is_chosen"]] == [record.choice.trial.number]
    assert [(one["name"], tuple(one["objectives"].values())) for one in content["references"]] == [
        ("sphere", record.references[0].values)
    ]
    again = {record.baseline.number, *(trial.number for trial in record.finalists)}
    assert {number for number, trial in trials.items() if trial["seeds"]} == again


def test_the_list_says_why_trials_ended_early_and_what_was_run_beside_them(say: Say, record: StudyRecord) -> None:
    shown = " ".join(say("list", "rich.yaml").split())
    for stopped in record.stopped:
        assert f"Trial {stopped.number} stopped: {stopped.reason}." in shown
    assert "Trial 6 failed: loss is nan at step 2." in shown
    assert "References, outside the space" in shown
    assert "Repeats: means over seeds" in shown


def test_the_list_is_sorted_by_any_objective_or_knob(say: Say) -> None:
    def by(key: str) -> list[int]:
        return [trial["number"] for trial in json.loads(say("list", "rich.yaml", "--sort", key, "--json"))["trials"]]

    trials = {t["number"]: t for t in json.loads(say("list", "rich.yaml", "--json"))["trials"]}
    isotropy = [trials[n]["objectives"]["geometry.isotropy_new"] for n in by("isotropy") if trials[n]["objectives"]]
    assert isotropy == sorted(isotropy, reverse=True)
    rates = [trials[number]["params"]["train.lr"] for number in by("lr") if trials[number]["params"]]
    assert rates == sorted(rates)
    assert by("lr")[-1] == 6  # it failed before it had knobs
    message = say("list", "rich.yaml", "--sort", "train", code=2)
    assert "--sort takes a part of one of validation.loss, " in message
    assert message.rstrip().endswith("'train' is part of 3")


def test_status_counts_what_there_is(say: Say, record: StudyRecord) -> None:
    content = json.loads(say("status", "rich.yaml", "--json"))
    counts = {key: content[key] for key in ("asked", "ended", "finished", "stopped", "failed", "open", "driver")}
    finished, stopped = len(record.finished), len(record.stopped)
    assert counts == {
        "asked": 6,
        "ended": 7,
        "finished": finished,
        "stopped": stopped,
        "failed": 1,
        "open": [],
        "driver": None,
    }
    assert (finished + stopped, stopped > 0, content["is_done"]) == (6, True, True)
    repeated = {trial.number for trial in (record.baseline, *record.finalists)}
    assert content["companions"] == content["companions_done"] == 1 + len(repeated)  # a reference, another seed of each
    assert content["chosen"] == record.choice.trial.number
    own = {trial.digest for trial in record.trained}
    assert content["spent"]["steps"] > sum(record.cost(digest).steps for digest in own)
    losses = [trial.values[0] for trial in record.finished if trial.is_feasible]
    assert content["objectives"][0]["best"]["value"] == min(losses)


def test_what_to_type_next_can_be_typed(say: Say) -> None:
    following = json.loads(say("status", "rich.yaml", "train.batch_blocks=4", "--prefer", "loss=2", "--json"))["next"]
    assert "make export PROFILE=rich.yaml PREFER=loss=2 SET=train.batch_blocks=4" in following
    assert "make study PROFILE=rich.yaml TRIALS=14 SET=train.batch_blocks=4" in following
    more = say("run", "rich.yaml", "study.workers=2", "--mirror", "copies", "--prefer", "loss=2")
    in_one_line = " ".join(more.replace("\\\n", " ").split())
    assert "make study PROFILE=rich.yaml WORKERS=2 TRIALS=14 MIRROR=copies PREFER=loss=2 " in in_one_line
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {command.split()[1] for command in following} <= targets


def test_show_has_the_noise_the_bounds_the_nulls_and_the_samples(say: Say, record: StudyRecord) -> None:
    shown = say("show", "chosen", "rich.yaml")
    differences = record.differences(record.choice.trial)
    noisy = sum(difference.holds(0.0) and difference.low < difference.high for difference in differences)
    assert shown.count("within the noise") == noisy > 0
    assert "± is half the 95 % interval over 2 seeds" in shown
    assert re.search(r"validation\.loss <= baseline \+ 0\.05 +kept, by ", shown)
    assert re.search(r"norm ratio, new / base +\S+ +\S+ +1\n", shown.replace(" \n", "\n"))
    null = record.result(record.choice.trial.digest).numbers["geometry.isotropy_new_null"]
    assert (
        f"Isotropy misleads by itself: rows that training hardly moved read what noise reads, {null:.3f},"
        in " ".join(shown.split())
    )
    assert record.choice.trial.digest in shown
    assert "Enter the King" in shown


@pytest.mark.parametrize("words", [["status"], ["list"], ["show", "chosen"], ["compare", "0", "chosen"], ["run"]])
def test_byte_collapse_stands_behind_the_collapse_share_and_is_no_objective(words: list[str], with_bytes: Path) -> None:
    shown = CliRunner().invoke(app, [*words, "rich.yaml"]).output
    assert max(map(len, shown.splitlines())) <= 80
    heads = " ".join(shown.split())
    if words[0] in ("list", "run"):  # columns
        assert re.search(r"isotropy +collapse +collapse\n", shown.replace(" \n", "\n")), "byte stands in the line above"
    else:
        assert re.search(r"collapse .*?\n(?: +±.*\n)?byte collapse .*?0\.25", shown)  # an interval may stand below
    assert ("byte collapse no goal 0.25 0.25" in heads) == (words == ["status"])
    if words[0] != "run":
        content = json.loads(CliRunner().invoke(app, [*words, "rich.yaml", "--json"]).output)
        assert "byte_collapse" not in json.dumps(content.get("objectives"))
        found = {"list": lambda: content["trials"][0], "status": lambda: content}.get(words[0], lambda: content)()
        assert "0.25" in json.dumps(found["beside"])


def test_what_is_undefined_is_a_dash(say: Say) -> None:
    assert re.search(r"\nbyte collapse +no goal +– +– +– +– +–\n", say("status", "rich.yaml").replace(" \n", "\n"))


def test_a_stopped_trial_is_compared_at_the_last_step_of_both(say: Say, record: StudyRecord) -> None:
    stopped = record.stopped[0]
    content = json.loads(say("compare", str(stopped.number), "baseline", "rich.yaml", "--json"))
    progress = {one.step: one.numbers for one in record.progress(record.baseline.digest) if len(one.numbers) > 9}
    assert content["step"] == stopped.step in progress
    assert content["objectives"]["validation.loss"]["values"][1] == progress[stopped.step]["validation.loss"]
    assert f"Trial 0 against trial {stopped.number}, both at step {stopped.step}" in say(
        "compare", str(stopped.number), "0", "rich.yaml"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["show", "99"],
            "the study rich has no trial 99: give one of 0-6, `baseline` or `chosen`, or a reference: sphere",
        ),
        (["compare", "0", "loudest"], "the study rich has no trial loudest: give one of 0-6, "),
        (["compare", "0", "6"], "trial 6 has no figures to compare: it is failed; give another trial"),
        (
            ["list", "study.objectives=[{result: validation.loss, goal: minimize}]"],
            "the study rich was made with another",
        ),
        (["list", "--prefer", "loss"], "a preference has the form loss=2,collapse=1: "),
    ],
)
def test_what_a_user_can_put_right_is_one_line(words: list[str], message: str, say: Say) -> None:
    places = {"show": 2, "compare": 3, "list": 1}
    words = [*words[: places[words[0]]], "rich.yaml", *words[places[words[0]] :]]
    shown = say(*words, code=2)
    assert shown.startswith(f"error: {message}")
    assert shown.count("\n") == 1


def test_what_is_offered_instead_works(say: Say) -> None:
    offered = say("show", "99", "rich.yaml", code=2).partition("give one of ")[2]
    assert offered == "0-6, `baseline` or `chosen`, or a reference: sphere\n"
    for named in (*"0123456", "baseline", "chosen", "sphere"):
        say("show", named, "rich.yaml")
    say("compare", "0", "loud", "rich.yaml")
    say("compare", "0", "1", "rich.yaml")  # trial 6 has no figures
    say("list", "rich.yaml")  # the study as it was made
    say("list", "rich.yaml", "--prefer", "loss=2,collapse=1")


def test_trials_without_a_common_step_are_not_compared_and_others_are(
    rich: Path, record: StudyRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their records of progress have lost lines."""
    home, stopped = shutil.copytree(rich, tmp_path / "rich"), record.stopped[0]
    monkeypatch.chdir(home)
    for run, lost in ((record.baseline, range(1, 99)), (stopped, range(1))):
        path = home / "mlruns" / "trials" / run.digest / "progress.jsonl"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if json.loads(line)["step"] not in lost))
    words = ["compare", "0", str(stopped.number), "rich.yaml"]
    told = CliRunner().invoke(app, words)
    said = f"trial 0 and trial {stopped.number} were evaluated at no step in common: give other trials"
    assert (told.exit_code, told.stderr) == (2, f"error: {said}\n")
    assert CliRunner().invoke(app, ["compare", "1", str(stopped.number), "rich.yaml"]).exit_code == 0
    assert CliRunner().invoke(app, ["compare", "0", "1", "rich.yaml"]).exit_code == 0


def test_a_preference_is_the_choice_of_each_command(say: Say, rich_config: StudyConfig, rich: Path) -> None:
    preferred = read_record(preferring(rich_config, "loss=9,norm=0,collapse=0"), rich / "mlruns").choice
    content = json.loads(say("status", "rich.yaml", "--prefer", "loss=9,norm=0,collapse=0", "--json"))
    assert (content["chosen"], content["reason"]) == (preferred.trial.number, preferred.reason)
    assert "weighted by validation.loss 9" in preferred.reason


def test_a_run_ends_with_intervals_references_cost_and_what_was_stopped(say: Say, record: StudyRecord) -> None:
    shown = say("run", "rich.yaml")
    assert max(map(len, shown.splitlines())) <= 80
    assert "within the noise" in shown
    assert re.search(r"^ *sphere +reference", shown, re.MULTILINE)
    assert re.search(r"±\d", shown)
    assert f"{len(record.stopped)} stopped early: `study list` says why." in shown
    assert re.search(r"^Spent: \d+ steps, ", shown, re.MULTILINE)


def test_one_seed_says_that_there_is_no_interval(say: Say) -> None:
    shown = say("compare", "0", "1", "rich.yaml", "study.seeds=1")
    assert "One seed: no interval, a small difference may be noise." in shown
    assert "±" not in shown


def test_reading_works_while_a_driver_runs_and_tells_when_it_was_killed(
    rich: Path, tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    slow = {**tree, "study": {**tree["study"], "space": {"train.lr": {"low": 1e-4, "high": 1e-2}}}}
    slow["study"]["baseline"] = {"train.lr": 3e-4}
    Path("slow.yaml").write_text(yaml.safe_dump({**slow, "train": {**tree["train"], "steps": 5000}}))
    command = [sys.executable, "-m", "study", "run", "slow.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as driver:
        try:
            content = wait_for_a_step(driver)
            assert content["driver"] == f"process {driver.pid}"
            assert not content["is_done"]
            assert (content["open"][0]["number"], content["open"][0]["steps"]) == (0, 5000)
            assert "make study PROFILE=slow.yaml" not in content["next"]
            shown = CliRunner().invoke(app, ["status", "slow.yaml"]).output
            assert re.search(r"open +trial 0: step [\d,]+ of 5,000, last seen", shown)
            assert "no trial has a result yet" in shown
            assert CliRunner().invoke(app, ["list", "slow.yaml"]).exit_code == 0
            assert CliRunner().invoke(app, ["show", "0", "slow.yaml"]).exit_code == 0
        finally:
            driver.kill()
        os.waitid(os.P_PID, driver.pid, os.WEXITED | os.WNOWAIT)
        content = status_of_slow()  # a process that is dead and still has its number
        assert content["driver"] is None
        assert "make study PROFILE=slow.yaml" in content["next"]


def wait_for_a_step(driver: "subprocess.Popen[bytes]") -> dict[str, Any]:
    while driver.poll() is None:
        time.sleep(0.5)
        if Path("mlruns/optuna.db").exists():
            shown = CliRunner().invoke(app, ["status", "slow.yaml", "--json"])
            content: dict[str, Any] = json.loads(shown.output) if shown.exit_code == 0 else {"open": []}
            if content["open"] and content["open"][0]["step"] > 0:
                return content
    raise AssertionError("the driver ended")


def status_of_slow() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(CliRunner().invoke(app, ["status", "slow.yaml", "--json"]).output)
    return content


def test_a_driver_is_known_by_its_note_while_its_process_lives(tmp_path: Path) -> None:
    with only_driver(tmp_path, "small"):
        assert driver_of(tmp_path, "small") == f"process {os.getpid()}"
    assert driver_of(tmp_path, "small") is None
    note = tmp_path / ".small.driver"
    note.write_text(f"process {os.getpid()}")
    os.utime(note, (1, 1))  # written before this process was born: its number was somebody else's
    assert driver_of(tmp_path, "small") is None


def test_a_study_without_a_trial_says_so(
    study_config: StudyConfig, tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(TrialStopped):
        drive(study_config, tmp_path / "mlruns", Silent(), stop=lambda: True)
    shown = CliRunner().invoke(app, ["status", "small.yaml"]).output
    assert "not running, not done" in shown
    assert "0 of 4 ended" in shown
    assert "make study PROFILE=small.yaml" in shown
    assert CliRunner().invoke(app, ["list", "small.yaml"]).output == "The study small has no trials yet.\n"


def test_figures_near_zero_do_not_lead_the_differences() -> None:
    before = {
        "geometry.cosine_new_new_mean": 1e-4,
        "validation.loss": 4.0,
        "geometry.norm_ks": 0.2,
        "sample.words": None,
    }
    after = {
        "geometry.cosine_new_new_mean": -1e-4,
        "validation.loss": 3.0,
        "geometry.norm_ks": 0.1,
        "sample.words": 3.0,
    }
    assert relative_differences(before, after) == [
        ("geometry.norm_ks", pytest.approx(-0.5)),
        ("validation.loss", pytest.approx(-0.25)),
        ("geometry.cosine_new_new_mean", pytest.approx(-0.02)),
    ]
