"""Results outlive an upgrade: old ones are read, what they lack is measured from their rows, and nothing is trained."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Silent, unpack
from mlflow import MlflowClient
from stored import rewrite, rewrite_arrays
from typer.testing import CliRunner

import wake2vec.config
from study.cli.main import app
from study.config import load_config
from study.engine.drive import drive
from study.engine.measures import bring_up_to_date, stale_runs
from study.runs.reader import read_record
from study.runs.run import State
from study.tracking.database import tracking_uri
from study.tracking.index import REMEASURED
from study.tracking.sync import Projection
from wake2vec import (
    METRICS,
    ConfigError,
    Progress,
    RunConfig,
    When,
    WorkFolder,
    read_result,
    remeasure,
    run,
    stale_metrics,
    write_result,
)
from wake2vec.result import stored_content

ROOT = Path(__file__).parents[2]
KEPT = sorted((ROOT / "tests" / "golden").glob("study-format-*.tar.xz"))
LATE = ("geometry.isotropy_new", "geometry.isotropy_new_high", "geometry.drift_new_l2_seen_1", "sample.spacing_rate")
"""Figures that a result is made to lack, as if they were new: of rows, of rows before, of the end, of the samples."""
SINCE_6 = {
    address
    for address, metric in METRICS.items()
    if address.startswith("teaching.") or ("base_after_" in address and metric.when is not When.TRAINING)
}
"""Figures that came after the kept study of format 6, and that its rows tell."""
ADDED = SINCE_6 | {address for address in METRICS if address.startswith("retention.")}
"""After the earlier ones."""
Vary = Callable[..., RunConfig]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The study that the version with format 4 kept, to work in."""
    unpack(KEPT[0], tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


class Steps(Silent):
    """The steps that were trained, by run."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, list[int]] = {}

    def progressed(self, name: str, record: Progress) -> None:
        if "training.loss" in record.numbers:
            self.of.setdefault(name, []).append(record.step)


def trained(folder: Path) -> dict[str, bytes]:
    """All that training wrote, of every run."""
    files = [
        path for path in (folder / "trials").rglob("*") if re.search(r"rows\.safetensors|progress\.jsonl", path.name)
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def forget(work: WorkFolder, addresses: tuple[str, ...]) -> None:
    content = stored_content(work)
    for address in addresses:
        del content["numbers"][address]
    write_result(work, content)


@pytest.mark.parametrize("rows", ["all", "new"])
def test_a_figure_that_is_measured_again_is_the_one_of_the_end_of_training_bit_for_bit(
    rows: str, vary: Vary, tmp_path: Path
) -> None:
    config = vary(train={"rows": rows})
    result = run(config, tmp_path)
    work = WorkFolder(tmp_path / result.digest)
    before, pictures = stored_content(work), work.read_arrays("geometry")
    assert stale_metrics(work) == []
    forget(work, LATE)
    assert all(read_result(work).numbers[address] is None for address in LATE)
    assert set(stale_metrics(work)) == {*LATE}
    remeasure(work, stale_metrics(work), config)
    after = stored_content(work)
    assert after["numbers"] == before["numbers"] and stale_metrics(work) == []
    assert after.pop("remeasured_s") > 0 and before.pop("remeasured_s") is None
    assert {key: value for key, value in after.items() if key != "numbers"} == {
        key: value for key, value in before.items() if key != "numbers"
    }
    assert {key: array.tobytes() for key, array in work.read_arrays("geometry").items()} == {
        key: array.tobytes() for key, array in pictures.items()
    }
    moved = work.read_arrays("rows")  # the control: another row, another figure
    moved["rows"][-1, 0] += 0.01
    rewrite_arrays(work, "rows", moved)
    forget(work, LATE)
    remeasure(work, stale_metrics(work), config)
    assert read_result(work).numbers["geometry.isotropy_new"] != before["numbers"]["geometry.isotropy_new"]
    assert read_result(work).numbers["geometry.norm_gap_d"] == before["numbers"]["geometry.norm_gap_d"]


def test_of_two_matrices_each_is_measured_again_by_itself(vary: Vary, twins: dict[str, Path], tmp_path: Path) -> None:
    config = vary(model={"path": str(twins["untied"])}, train={"rows": "new"})
    result = run(config, tmp_path)
    work, late = WorkFolder(tmp_path / result.digest), LATE[:3]
    of_head = tuple(address.replace("geometry.", "geometry.head.") for address in late)
    before, pictures = json.loads(work.result_path.read_text())["numbers"], work.read_arrays("geometry")
    assert stale_metrics(work) == []
    assert all(before[address] != before[own] for address, own in zip(of_head, late, strict=True))
    forget(work, (*late, *of_head))
    assert set(stale_metrics(work)) == {*late, *of_head}
    remeasure(work, stale_metrics(work), config)
    assert json.loads(work.result_path.read_text())["numbers"] == before
    assert {key: array.tobytes() for key, array in work.read_arrays("geometry").items()} == {
        key: array.tobytes() for key, array in pictures.items()
    }


def test_a_formula_that_changed_is_measured_again_and_never_taken_for_the_old_one(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(config, tmp_path)
    work, raised = WorkFolder(tmp_path / result.digest), ("geometry.norm_ratio", "validation.loss")
    with monkeypatch.context() as patch:
        for address in raised:
            patch.setitem(METRICS, address, replace(METRICS[address], version=2))
        assert [read_result(work).numbers[address] for address in raised] == [None, None]
        assert stale_metrics(work) == ["geometry.norm_ratio"]  # what only training tells stays empty
        remeasure(work, stale_metrics(work), config)
        again = read_result(work)
        assert again.measured == {"geometry.norm_ratio": 2} and stale_metrics(work) == []
        assert again.numbers["geometry.norm_ratio"] == result.numbers["geometry.norm_ratio"]
        assert again.numbers["validation.loss"] is None
    with pytest.raises(ConfigError, match=r"has version 2 of geometry.norm_ratio; use the newer version"):
        read_result(work)


@pytest.mark.parametrize(
    ("format_", "said"),
    [(99, "has format 99; use the newer version"), (3, "from format 4 on: .* has 3, of an earlier")],
)
def test_a_result_of_an_unknown_version_is_refused_in_words(
    format_: int, said: str, config: RunConfig, tmp_path: Path
) -> None:
    work = WorkFolder(tmp_path / run(config, tmp_path).digest)
    rewrite(work, {"format": format_})
    with pytest.raises(ConfigError, match=said):
        read_result(work)
    assert stale_metrics(work) == []


def test_without_its_rows_or_inputs_a_run_keeps_what_it_has_and_the_reason_is_said(home: Path) -> None:
    config, results, said = load_config("golden.yaml"), home / "mlruns", list[str]()
    for digest in stale_or_all(results):
        forget(WorkFolder(results / "trials" / digest), LATE[:1])
    before = len(stale_runs(results))
    corpus = Path("inputs/corpus.txt").read_text()
    Path("inputs/corpus.txt").write_text("another text " * 5000)
    assert bring_up_to_date(config, results, said.append) == 0
    assert len(stale_runs(results)) == before
    assert said[-1].startswith(f"{before} of them stay without: figures are measured again with the model, corpus")
    assert said.pop().endswith("put them back; then run `make measure`")
    Path("inputs/corpus.txt").write_text(corpus)
    said.clear()
    assert bring_up_to_date(config, results, said.append) == 0
    assert said == []  # what can't be had isn't looked for at each opening
    assert bring_up_to_date(config, results, said.append, again=True) == before
    assert stale_runs(results) == {}


def test_mlflow_is_told_of_what_was_measured_when_another_study_was_opened(home: Path) -> None:
    config, results, said = load_config("golden.yaml"), home / "mlruns", list[str]()
    baseline = read_record(config, results).baseline
    forget(WorkFolder(results / "trials" / baseline.digest), LATE[:1])

    def told() -> str:
        tracker = Projection(config, results, read_record(config, results).inputs).tracker
        return tracker.ended_runs({baseline.label: baseline})[baseline.label].get(REMEASURED, "")

    another = load_config("golden.yaml", ["study.name=another"])
    before = told()
    assert bring_up_to_date(another, results, said.append) == len(stale_or_all(results))  # all lack `ADDED`
    assert told() == before  # the control
    assert bring_up_to_date(config, results, said.append) == 0
    assert told() == f"{read_result(WorkFolder(results / 'trials' / baseline.digest)).remeasured_s:.3f}"


def stale_or_all(results: Path) -> list[str]:
    return [path.parent.name for path in (results / "trials").glob("*/result.json")]


@pytest.mark.parametrize("archive", KEPT, ids=lambda path: path.name.split(".")[0])
def test_a_kept_study_of_any_version_goes_on_and_its_runs_are_not_trained_again(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack(KEPT[0], tmp_path)
    (profile,) = tmp_path.glob("*.yaml")
    if archive != KEPT[0]:
        shutil.rmtree(tmp_path / "mlruns")
        profile.unlink()
        unpack(archive, tmp_path)
        (profile,) = tmp_path.glob("*.yaml")
    monkeypatch.chdir(tmp_path)
    results, before = tmp_path / "mlruns", trained(tmp_path / "mlruns")
    config = load_config(profile.name)
    record = read_record(config, results)
    (interrupted,) = record.running
    lacking = SINCE_6 if archive == KEPT[-1] else ADDED
    assert {address for stale in stale_runs(results).values() for address in stale} == lacking
    assert {companion.state for companion in record.companions} == {State.FINISHED}
    told = Steps()
    drive(load_config(profile.name, [f"study.trials={interrupted.number + 1}"]), results, told)
    steps = told.of.pop(interrupted.label)
    assert steps == list(range(min(steps), record.steps(interrupted) + 1)) and min(steps) > 1  # from its checkpoint
    assert not told.of.keys() & {run.label for run in (*record.trials, *record.companions)}
    assert stale_runs(results) == {}
    after = trained(results)
    assert {name: after[name] for name in before if interrupted.digest not in name} == {
        name: data for name, data in before.items() if interrupted.digest not in name
    }


def test_a_study_goes_on_when_training_itself_has_changed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, results = load_config("golden.yaml"), home / "mlruns"
    was = read_record(config, results)
    monkeypatch.setattr(wake2vec.config, "TRAINING_VERSION", 5)
    without = read_record(config, results)  # the control: nobody knows the old digests
    assert {companion.state for companion in without.companions} == {State.WAITING}
    monkeypatch.setattr(wake2vec.config, "EARLIER_VERSIONS", (4,))
    record = read_record(config, results)
    assert [(run.state, run.digest, run.values) for run in record.companions] == [
        (run.state, run.digest, run.values) for run in was.companions
    ]
    before, told = trained(results), Steps()
    drive(config, results, told)
    (interrupted,) = was.running
    assert told.of.pop(interrupted.label)[0] == 1  # its checkpoint is another training's
    assert not told.of.keys() & {run.label for run in (*was.trials, *was.companions)}
    after = trained(results)
    assert {name: after[name] for name in before} == before


def test_a_knob_that_came_later_changes_no_digest_where_it_does_what_was_done_before(
    config: RunConfig, vary: Vary, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = {"model.path": "m", "corpus.path": "c", "vocabulary.lexicon": "l"}
    louder = vary(init={"noise_scale": 0.2})
    before = config.digest(inputs)
    monkeypatch.setitem(wake2vec.config.ADDED_KNOBS, "init.noise_scale", config.init.noise_scale)
    assert config.digest(inputs) != before  # made without it, as by a version that had no such knob
    assert "init.noise_scale" not in config.identity(inputs) and "init.noise_scale" in louder.identity(inputs)


def test_a_checkpoint_of_another_format_is_put_aside_and_training_starts_over(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = home / "mlruns"
    for path in results.glob("trials/*/checkpoints/*/state.json"):
        state = json.loads(path.read_text()) | {"format": 99}
        path.write_text(json.dumps(state))
        manifest = path.with_name("manifest.json")
        hashes = json.loads(manifest.read_text()) | {"state.json": hashlib.sha256(path.read_bytes()).hexdigest()}
        manifest.write_text(json.dumps(hashes))
    told = Steps()
    assert drive(load_config("golden.yaml", ["study.trials=9"]), results, told).added == 1
    assert told.of["trial 8"][0] == 1
    assert "it is of another version than format 1, so training starts over" in caplog.text


def test_a_metric_is_added_by_the_worked_example_and_old_trials_have_it_without_a_step_of_training(home: Path) -> None:
    """In a copy of the package, as somebody who adds one would have it."""
    written = r"```python\n# file: wake2vec/metrics/medians.py\n(.*?)```"
    (example,) = re.findall(written, (ROOT / "docs" / "extend.md").read_text(), re.DOTALL)
    copy, results, address = home / "copy", home / "mlruns", "geometry.norm_median_ratio"
    for package in ("wake2vec", "study"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("default", "__pycache__"))
    (copy / "wake2vec" / "default").symlink_to(ROOT / "wake2vec" / "default")
    before = trained(results)

    def study(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "study", *words, "golden.yaml"]
        environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert address not in study("show", "baseline", "--json").stdout  # the control: the copy as it is
    (copy / "wake2vec" / "metrics" / "medians.py").write_text(example)
    count = len(stale_or_all(results))
    assert f"{count} runs measured again." in study("measure").stdout
    assert trained(results) == before
    baseline = read_record(load_config("golden.yaml"), results).baseline
    value = json.loads(WorkFolder(results / "trials" / baseline.digest).result_path.read_text())["numbers"][address]
    shown = study("show", "baseline", "--json")
    assert json.loads(shown.stdout)["figures"][address] == value and shown.stderr == ""
    client = MlflowClient(tracking_uri(results))
    (experiment,) = (one for one in client.search_experiments() if one.name == "golden")
    told = [run for run in client.search_runs([experiment.experiment_id]) if address in run.data.metrics]
    assert len(told) == count
    assert value in {run.data.metrics[address] for run in told}


def test_a_command_that_reads_measures_first_and_says_so_on_stderr(home: Path) -> None:
    results = home / "mlruns"
    for digest in stale_or_all(results):
        forget(WorkFolder(results / "trials" / digest), LATE[:1])
    printed = CliRunner().invoke(app, ["show", "baseline", "golden.yaml", "--json"])
    assert "measuring geometry.isotropy_new, retention" in printed.stderr
    assert json.loads(printed.stdout)["figures"]["geometry.isotropy_new"] is not None
    assert stale_runs(results) == {}


def test_every_figure_of_training_is_on_the_curves_or_of_them(config: RunConfig, tmp_path: Path) -> None:
    """What isn't can be measured again from what is kept, and must say so."""
    result = run(config, tmp_path)
    curves = {address for at in WorkFolder(tmp_path / result.digest).progress() for address in at.numbers}
    of_training = {address for address, metric in METRICS.items() if metric.when is When.TRAINING}
    on_curves = {address for address in curves if not address.startswith(("geometry.", "retention."))}
    of_curves = {f"validation.{name}" for name in ("start_loss", "best_loss", "best_step")} | {"training.kept_step"}
    assert of_training == on_curves | of_curves
