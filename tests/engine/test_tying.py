"""A study on a base with a head of its own: an earlier version's goes on, and what tying costs is told everywhere."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Silent
from rich.console import Console

from study.cli.progress import Bars
from study.config import StudyConfig, check_config, load_config
from study.engine.drive import drive
from study.export.export import export_trial
from study.report.page import write_report
from study.runs.reader import read_record
from study.runs.record import StudyRecord
from study.runs.storage import load_study
from wake2vec import ConfigError
from wake2vec.config import OWN_HEAD

NATIVE = {"native head": {"model.head": "native"}}


def study_of(tree: dict[str, Any], base: Path, head: str = "tied", **settings: object) -> StudyConfig:
    study = {**tree["study"], "trials": 1, **settings}
    return check_config({**tree, "study": study, "model": {"path": str(base), "head": head}})


def fingerprint(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(load_study(folder, "small").user_attrs["fingerprint"])
    return found


@pytest.fixture(scope="module")
def continued(
    tree: dict[str, Any], twins: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[StudyConfig, Path, StudyRecord, list[int]]:
    """A study of the version that knew one head, gone on with beside a native one; and the steps of that."""
    folder = tmp_path_factory.mktemp("heads") / "mlruns"
    drive(study_of(tree, twins["untied"]), folder, Silent())
    study = load_study(folder, "small")
    assert fingerprint(folder)["model.path"].endswith(OWN_HEAD)
    old = {**fingerprint(folder), "model.path": fingerprint(folder)["model.path"].removesuffix(OWN_HEAD)}
    study.set_user_attr("fingerprint", json.dumps(old))
    steps: list[int] = []
    config = study_of(tree, twins["untied"], anchors=NATIVE)
    record = drive(config, folder, Silent(lambda told: steps.append(told.step))).record
    return config, folder, record, steps


def test_an_earlier_study_goes_on_as_tied_and_a_native_head_stands_beside_it(
    continued: tuple[StudyConfig, Path, StudyRecord, list[int]], tree: dict[str, Any], twins: dict[str, Path]
) -> None:
    config, folder, record, steps = continued
    (native,) = record.references
    assert native.name == "native head" and native.digest != record.baseline.digest
    assert steps.count(8) == 2  # the reference alone: its last update, and the evaluation after it
    tied, own = (record.result(run.digest) for run in (record.baseline, native))
    assert (tied.head, own.head) == ("replaced", "own")
    assert own.numbers["validation.start_loss"] == tied.numbers["validation.start_loss_own_head"]
    assert [run.digest for run in read_record(config, folder).references] == [native.digest]
    assert fingerprint(folder)["model.path"].endswith(OWN_HEAD)
    with pytest.raises(ConfigError, match=r"another configuration \(model\.head: None -> native\)"):  # the control
        drive(study_of(tree, twins["untied"], head="native"), folder, Silent())


def test_report_and_card_say_what_tying_costs(
    continued: tuple[StudyConfig, Path, StudyRecord, list[int]], tmp_path: Path
) -> None:
    config, folder, record, _ = continued
    numbers = record.result(record.baseline.digest).numbers
    before, after = (f"{numbers[f'validation.{name}']:.4g}" for name in ("start_loss_own_head", "start_loss"))
    said = f"thrown away for the input embedding (model.head=tied): validation loss at step 0 {before} before, {after}"
    export_trial(config, folder, 0, tmp_path / "out")
    assert said in (tmp_path / "out" / "README.md").read_text()
    page = write_report(config, folder)
    assert said in page.with_suffix(".md").read_text()
    assert said in " ".join(page.read_text().split())
    terminal = io.StringIO()
    bars = Bars(config, Console(file=terminal, width=80))
    bars.run_started(record.baseline, config.run, 0)
    for moment in record.progress(record.baseline.digest):
        bars.progressed(record.baseline.label, moment)
    assert " ".join(terminal.getvalue().split()).count(said) == 1


def test_an_objective_may_name_the_head_and_is_refused_where_there_is_none(
    tree: dict[str, Any], twins: dict[str, Path], tmp_path: Path
) -> None:
    objectives = [*tree["study"]["objectives"], {"result": "geometry.head.isotropy_new", "goal": "maximize"}]
    for base, head, why in (
        ("tied", "native", "input matrix"),
        ("untied", "tied", r"input matrix, by model\.head=tied"),
    ):
        with pytest.raises(ConfigError, match=rf"names geometry\.head\.isotropy_new: the head is the {why}; leave it"):
            drive(study_of(tree, twins[base], head=head, objectives=objectives), tmp_path / base, Silent())
    config = study_of(tree, twins["untied"], head="native", objectives=objectives)
    record = drive(config, tmp_path / "own", Silent()).record
    numbers = record.result(record.baseline.digest).numbers
    assert record.baseline.values[-1] == numbers["geometry.head.isotropy_new"] != numbers["geometry.isotropy_new"]


def test_in_the_profile_t4_the_baseline_is_tied_and_a_native_head_is_beside_it() -> None:
    config = load_config("t4", ["corpus.path=c", "vocabulary.lexicon=l"])
    assert config.run_config(config.study.baseline).model.head == "tied"
    assert config.study.anchors["native head"] == {"model.head": "native"}
    assert not config.lies_in_space({"model.head": "native"})
