"""`train.keep=best`: rows, figures, arrays and samples of a trial are those of its best evaluation."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from bench.kills import killed_before, outcome
from study.config import check_config
from study.runs.run import Run, State, config_of
from wake2vec import ConfigError, Progress, RunConfig, TrialStopped, WorkFolder, export_folder, plan_trial, prepare, run
from wake2vec.inputs import Material
from wake2vec.metrics.measure import measure, of_head
from wake2vec.metrics.registry import ALL_METRICS, cost_of
from wake2vec.metrics.validation import validate
from wake2vec.recipe import model_at_start, start_training
from wake2vec.remeasure import matrix_of
from wake2vec.training.generate import sample_texts
from wake2vec.training.keep import BestRows

Vary = Callable[..., RunConfig]
RISING = {"steps": 6, "optimizer": "adamw", "lr": 0.3, "warmup_share": 0.99, "evaluate_every_steps": 1}
"""A learning rate that rises to the end, until it is so high that the loss rises too."""
OWN_HEAD = {**RISING, "lr": 0.05}
LOSS = "validation.loss"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def in_bytes(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


def rows_after(config: RunConfig, material: Material, steps: int) -> dict[str, bytes]:
    """By updates alone."""
    training = start_training(config, material)
    for _ in range(steps):
        training.update()
    return in_bytes({name: of.trained_rows.detach().numpy() for name, of in training.model.trained.items()})


def curve(folder: Path, address: str) -> dict[int, float]:
    """Of a trial, by step."""
    records = [(record.step, record.numbers.get(address)) for record in WorkFolder(folder).progress()]
    return {step: figure for step, figure in records if figure is not None}


@pytest.mark.parametrize(
    ("train", "base", "head"),
    [
        (RISING, None, "native"),
        ({**RISING, "rows": "new", "lr": 0.1}, None, "native"),
        (OWN_HEAD, "untied", "native"),
        (RISING, "untied", "tied"),
    ],
    ids=["all", "new", "own head", "head replaced"],
)
def test_all_of_a_trial_is_of_its_best_evaluation_and_the_curves_are_whole(
    train: dict[str, Any], base: str | None, head: str, vary: Vary, twins: dict[str, Path], tmp_path: Path
) -> None:
    base_model = {"head": head, **({"path": str(twins[base])} if base else {})}
    config = vary(train={**train, "keep": "best"}, model=base_model)
    last = run(vary(train=train, model=base_model), tmp_path)
    best, material = run(config, tmp_path), prepare(config)
    works = [WorkFolder(tmp_path / result.digest) for result in (last, best)]
    curves = [[(record.step, record.numbers) for record in work.progress()] for work in works]
    assert curves[0] == curves[1]
    losses = curve(works[1].path, LOSS)
    step = min(losses, key=losses.__getitem__)
    assert 0 < step < 6, "the control: the best is neither the first nor the last"
    assert (last.kept_step, best.kept_step) == (6, step)

    kept, ended = (work.read_arrays("rows") for work in works[::-1])
    assert in_bytes(kept) == rows_after(config, material, step)
    assert in_bytes(ended) == rows_after(config, material, 6) != in_bytes(kept)
    at_step = {address: value for at, numbers in curves[1] if at == step for address, value in numbers.items()}
    assert {address: best.numbers[address] for address in at_step} == at_step
    assert {address: last.numbers[address] for address in at_step} != at_step

    again = model_at_start(config, material)
    start = {name: of.matrix[material.vocabulary.base_size :].clone() for name, of in again.trained.items()}
    again.take({name: torch.from_numpy(rows) for name, rows in kept.items()})
    assert validate(again, material.corpus, material.vocabulary.base_size, 4)[LOSS] == losses[step]
    pictured = in_bytes(works[1].read_arrays("geometry"))
    of_kept: dict[str, np.ndarray] = {}
    for name, rows in kept.items():
        matrix = matrix_of(config, material, torch.from_numpy(rows), name)
        measured = measure(material.subject(matrix, start[name], name))
        of_kept |= (of_head(measured) if name == "head_rows" else measured).arrays
    assert {name: pictured[name] for name in of_kept} == in_bytes(of_kept)
    with material.base.with_matrix(again.operand, again.head.operand) as model:
        assert best.samples == sample_texts(model, material.vocabulary, config.sample, config.seed)


@pytest.mark.parametrize("head", ["native", "tied"])
def test_an_export_has_the_kept_rows(head: str, vary: Vary, twins: dict[str, Path], tmp_path: Path) -> None:
    train = OWN_HEAD if head == "native" else RISING
    config = vary(train={**train, "keep": "best"}, model={"path": str(twins["untied"]), "head": head})
    result = run(config, tmp_path)
    work = WorkFolder(tmp_path / result.digest)
    assert result.kept_step < 6
    export_folder(result, work, tmp_path / "out", "card")
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    rows, words = work.read_arrays("rows"), result.audit.words_added
    assert exported.get_input_embeddings().weight[-words:].detach().numpy().tobytes() == rows["rows"][-words:].tobytes()
    of_head = rows["head_rows" if head == "native" else "rows"]
    assert exported.get_output_embeddings().weight[-words:].detach().numpy().tobytes() == of_head[-words:].tobytes()


@pytest.mark.parametrize(
    "by", ["geometry.norm_gap_d", "geometry.isotropy_new", "geometry.norm_ratio", "geometry.head.norm_gap_d"]
)
def test_any_figure_of_the_evaluations_may_decide(by: str, vary: Vary, twins: dict[str, Path], tmp_path: Path) -> None:
    model = {"path": str(twins["untied"])}
    result = run(vary(train={**RISING, "keep": "best", "keep_by": by}, model=model), tmp_path)
    figures = curve(tmp_path / result.digest, by)
    assert len(set(figures.values())) > 1
    assert result.kept_step == min(figures, key=lambda step: (cost_of(by, figures[step]), step))


def test_what_is_better_is_as_the_registry_declares() -> None:
    isotropy, gap = "geometry.isotropy_new", "geometry.norm_gap_d"
    assert (ALL_METRICS[LOSS].better, ALL_METRICS[isotropy].better, ALL_METRICS[gap].better) == ("lower", "higher", 0)
    assert cost_of(LOSS, 1.0) < cost_of(LOSS, 2.0) < cost_of(LOSS, None)
    assert cost_of(isotropy, 0.9) < cost_of(isotropy, 0.1)
    assert cost_of(gap, -0.1) < cost_of(gap, 0.2)


@pytest.mark.parametrize("head", ["native", "tied"])
def test_stopped_or_killed_between_the_best_and_the_end_it_keeps_the_same_rows(
    head: str, vary: Vary, twins: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = OWN_HEAD if head == "native" else RISING
    config = vary(train={**train, "keep": "best"}, model={"path": str(twins["untied"]), "head": head})
    whole = run(config, tmp_path / "whole")
    expected = outcome(whole, tmp_path / "whole")

    def cut(name: str, at: int) -> None:
        seen: list[Progress] = []
        with pytest.raises(TrialStopped):
            run(config, tmp_path / name, seen.append, stop=lambda: seen[-1].step == at)

    for at in (1, whole.kept_step + 1):
        cut(f"cut-{at}", at)
        assert outcome(run(config, tmp_path / f"cut-{at}"), tmp_path / f"cut-{at}") == expected
    cut("killed", whole.kept_step + 1)
    assert killed_before(3, partial(run, config, tmp_path / "killed"))
    assert outcome(run(config, tmp_path / "killed"), tmp_path / "killed") == expected
    cut("forgetful", whole.kept_step + 1)  # the control: what was the best before isn't restored
    monkeypatch.setattr(BestRows, "restore", lambda self, state: None)
    assert outcome(run(config, tmp_path / "forgetful"), tmp_path / "forgetful") != expected


def test_the_knob_changes_no_digest_where_the_last_rows_are_kept(vary: Vary, tree: dict[str, Any]) -> None:
    last, best = vary(), vary(train={"keep": "best"})
    other = vary(train={"keep": "best", "keep_by": "geometry.norm_gap_d"})
    idle = vary(train={"keep_by": "geometry.norm_gap_d"})
    assert not {"train.keep", "train.keep_by"} & last.identity({}).keys()
    assert idle.digest({}) == last.digest({}), "what decides nothing makes no other trial"
    assert len({config.digest({}) for config in (last, best, other)}) == 3
    space = {"train.keep": {"choices": ["last", "best"]}}
    config = check_config({**tree, "study": {**tree["study"], "space": space, "baseline": {"train.keep": "last"}}})
    assert config.run_config({"train.keep": "best"}).train.keep == "best"


def test_a_repeat_is_evaluated_as_often_as_its_trial_where_the_best_is_kept(tree: dict[str, Any]) -> None:
    every = []
    for keep in ("last", "best"):
        config = check_config({**tree, "train": {**tree["train"], "keep": keep}})
        repeat = Run(State.WAITING, 1, config.study.baseline, seed=43)
        every.append(config_of(repeat, config).train.evaluate_every_steps)
    assert every == [tree["study"]["baseline"]["train.steps"], tree["train"]["evaluate_every_steps"]]


@pytest.mark.parametrize(
    ("by", "said"),
    [
        *(
            (by, f"better lower, higher or at a number: {by} isn't one; take")
            for by in ("validation.los", "validation.best_loss", "training.loss", "geometry.isotropy_new_high")
        ),
        ("retention.bits_per_byte", "retention is measured on another"),
        ("geometry.head.norm_gap_d", "is of a head that is a matrix of its own, and here it isn't; take"),
    ],
)
def test_what_cant_decide_is_refused_before_anything_is_made(by: str, said: str, vary: Vary, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^train\.keep_by names .*{said}"):
        run(vary(train={"keep": "best", "keep_by": by}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_plan_counts_the_rows_that_are_kept_beside(vary: Vary) -> None:
    last, best = plan_trial(vary()), plan_trial(vary(train={"keep": "best"}))
    assert best.memory["rows of the best evaluation"] == best.result_bytes == last.result_bytes
    assert "rows of the best evaluation" not in last.memory
    assert best.checkpoint_bytes == last.checkpoint_bytes + best.result_bytes
