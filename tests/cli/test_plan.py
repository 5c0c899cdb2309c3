"""What is said beforehand of memory and time, against what is then measured."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaModel
from typer.testing import CliRunner

from study.cli.main import app
from study.cli.plan import in_words, study_time
from study.cli.progress import mean_steps
from study.config import StudyConfig, check_config
from study.engine import side_by_side
from study.engine.side_by_side import Pace, measure_workers
from wake2vec import Estimate, RunConfig, TrialPlan, plan_trial, prepare
from wake2vec.config import MachineConfig
from wake2vec.recipe import start_training
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.training.machine import PassMemory, Phase, count_pass, measure_pass, micro_batch_blocks, peak_bytes
from wake2vec.training.timing import foretell

Vary = Callable[..., RunConfig]
CPU = torch.device("cpu")


def test_the_peak_counts_what_lives_at_once() -> None:
    def work() -> None:
        first = torch.zeros(1000)
        del first
        second, third = torch.zeros(1000), torch.zeros(500)
        second.add_(1).view(10, 100)  # neither makes a storage
        del second, third

    assert peak_bytes(work, CPU) == 4 * 1500


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_memory_of_a_pass_is_foreseen(vary: Vary, precision: str) -> None:
    config = vary(train={"precision": precision, "batch_blocks": 32})
    training = start_training(config, prepare(config))
    foreseen = measure_pass(training.model, config.corpus.block_tokens)
    for blocks in (20, 32):
        ids = training.corpus.train[list(range(blocks))]["input_ids"]
        taken = peak_bytes(lambda ids=ids: training.model.add_gradients(ids, 1.0), CPU)  # type: ignore[misc]
        assert foreseen.of(blocks) == pytest.approx(taken, rel=0.1)


def test_of_many_blocks_a_layer_takes_more_than_the_loss_and_it_is_foreseen() -> None:
    body = LlamaModel(
        LlamaConfig(
            vocab_size=1,
            hidden_size=32,
            intermediate_size=1024,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=32,
        )
    )
    model = EmbeddingModel(body, torch.randn(7000, 32), torch.randn(1000, 32), "all")
    foreseen = measure_pass(model, 32)
    ids = torch.zeros(80, 32, dtype=torch.long)
    taken = peak_bytes(lambda: model.add_gradients(ids, 1.0), CPU)
    assert foreseen.of(80) == pytest.approx(taken, rel=0.1)
    assert PassMemory(foreseen.phases[:1]).of(80) < 0.9 * taken  # control: the loss's phase alone


@pytest.mark.parametrize(("precision", "rows"), [("float32", "all"), ("bfloat16", "new")])
def test_what_is_counted_without_computing_is_what_a_pass_takes(vary: Vary, precision: str, rows: str) -> None:
    config = vary(train={"precision": precision, "batch_blocks": 32, "rows": rows})
    training = start_training(config, prepare(config))
    counted = count_pass(training.model, config.corpus.block_tokens)
    assert counted.of(32) == pytest.approx(measure_pass(training.model, config.corpus.block_tokens).of(32), rel=0.15)
    assert PassMemory(counted.phases[1:]).of(32) != counted.of(32)  # control: the body's alone


def test_the_whole_is_foretold_from_parts_that_fit_into_the_time() -> None:
    """Work of 2 s and a hundredth of a second a piece: what is the same for all pieces isn't multiplied."""
    timed: list[int] = []

    def time_of(pieces: int) -> float:
        timed.append(pieces)
        return 2 + 0.01 * pieces

    foretold = foretell(time_of, [10, 100, 1000, 10_000], budget_s=20.0)
    assert (foretold.low, foretold.seconds, foretold.high) == pytest.approx((102, 102, 102))
    assert max(timed) == 100 and sum(2 + 0.01 * pieces for pieces in timed) < 30
    alone = foretell(time_of, [10, 100, 1000, 10_000], budget_s=1.0)
    assert (alone.low, alone.high) == pytest.approx((2.1, 2100))
    assert foretell(lambda pieces: 0.001 * pieces, [1, 10], budget_s=1.0) == Estimate(0.01, 0.01, 0.01)  # timed whole


@given(
    phases=st.lists(st.builds(Phase, st.integers(0, 100), st.integers(1, 100)), min_size=1, max_size=2),
    free=st.integers(0, 10_000),
)
def test_as_many_blocks_as_fit(phases: list[Phase], free: int) -> None:
    memory = PassMemory(tuple(phases))
    most = memory.most_blocks(float(free))
    assert most == 1 or memory.of(most) <= free
    assert memory.of(most + 1) > free


def test_a_batch_is_split_evenly_within_the_memory_given(config: RunConfig) -> None:
    model = start_training(config, prepare(config)).model
    sizes = {most: micro_batch_blocks(model, 32, 16, MachineConfig(micro_batch_blocks=most)) for most in (1, 5, 15, 99)}
    assert sizes == {1: 1, 5: 4, 15: 8, 99: 16}
    assert micro_batch_blocks(model, 32, 16, MachineConfig(memory_gb=1e-9)) == 1


def test_the_plan_names_every_parameter_and_foresees_the_time(config: RunConfig, study_config: StudyConfig) -> None:
    plan = plan_trial(config)
    material = prepare(config)
    rows = material.vocabulary.size * material.base_rows.shape[1]
    assert plan.trained_parameters == rows
    assert plan.trained_parameters + plan.frozen_parameters == rows + sum(
        w.numel() for w in material.base.body.parameters()
    )
    assert plan.result_bytes == 4 * rows
    assert plan.peak_bytes <= sum(plan.memory.values())
    timed = dataclasses.replace(
        plan, step=Estimate(1.0, 0.5, 3.0), evaluation=Estimate(10.0, 10.0, 10.0), ending=Estimate(100.0, 90.0, 100.0)
    )
    assert timed.trial(steps=6.0, evaluate_every_steps=3) == Estimate(136.0, 123.0, 148.0)
    assert mean_steps(study_config) == pytest.approx(4 / math.log(2))
    baseline, average = timed.trial(8.0, 3), timed.trial(4 / math.log(2), 3)
    assert study_time(timed, study_config).seconds == pytest.approx(baseline.seconds + 3 * average.seconds)
    assert in_words(Estimate(57.04, 51.0, 60.0)) == "57 s ±11 %"


def test_the_plan_says_how_long_rows_begin(vary: Vary) -> None:
    config = vary(init={"noise_scale": 0.5})
    training = start_training(config, material := prepare(config))
    rows = training.model.matrix.detach().double().numpy()
    base, new = rows[: material.vocabulary.base_size], rows[material.vocabulary.base_size :]
    norms = plan_trial(config).start_norms
    expected = [np.sqrt((group**2).sum(1)).mean() for group in (new, base, new - base.mean(0))]
    assert [norms.new, norms.base, norms.from_centre] == pytest.approx(expected, rel=1e-5)
    doubled = plan_trial(vary(init={"noise_scale": 1.0})).start_norms
    assert doubled.from_centre == pytest.approx(2 * expected[2], rel=1e-3)


def test_study_plan_prints_it_in_80_columns_and_leaves_nothing(
    tree: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(tree))
    printed = CliRunner().invoke(app, ["plan", "small.yaml"])
    assert printed.exit_code == 0, printed.output
    for part in ("parameters trained", "activations of a pass", "at once, at most", "study, 4 trials", "checkpoints"):
        assert part in printed.output
    assert max(map(len, printed.output.splitlines())) <= 80
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_two_matrices_are_planned_with_and_a_head_that_is_thrown_away_is_told(
    vary: Vary,
    twins: dict[str, Path],
    tree: dict[str, dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    untied = str(twins["untied"])
    native, tied = (plan_trial(vary(model={"path": untied, "head": head})) for head in ("native", "tied"))
    assert native.trained_parameters == 2 * tied.trained_parameters
    assert (native.checkpoint_bytes, native.result_bytes) == (2 * tied.checkpoint_bytes, 2 * tied.result_bytes)
    both, one = native.memory["embedding matrix and head, float32"], tied.memory["embedding matrix, float32"]
    assert both == 2 * one
    assert native.memory["optimizer state"] == 2 * tied.memory["optimizer state"]
    assert native.memory["gradient of the trained rows"] == 2 * tied.memory["gradient of the trained rows"]
    assert native.start_losses is None and tied.start_losses is not None
    before, after = tied.start_losses
    assert before < after - 0.1
    monkeypatch.setenv("COLUMNS", "80")
    profile = {**tree, "model": {"path": untied, "head": "tied"}}
    (tmp_path / "untied.yaml").write_text(yaml.safe_dump(profile))
    printed = CliRunner().invoke(app, ["plan", str(tmp_path / "untied.yaml")]).stdout
    assert "thrown away for the input embedding (model.head=tied)" in " ".join(printed.split())


@pytest.mark.parametrize(
    ("paces", "best"), [({1: 1.0, 2: 1.6}, 2), ({1: 1.0, 2: 1.03}, 1), ({1: 2.0, 2: 1.0, 4: 2.2}, 4)]
)
def test_the_fewest_workers_that_do_nearly_the_most_are_recommended(paces: dict[int, float], best: int) -> None:
    assert Pace(paces).best == best


def test_workers_are_measured_side_by_side(config: RunConfig, vary: Vary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "ROUND_S", 0.2)
    monkeypatch.setattr(side_by_side, "AVAILABLE_THREADS", 2)
    pace = measure_workers(config, 1e8)
    assert pace is not None and list(pace.passes_a_second) == [1, 2] and min(pace.passes_a_second.values()) > 0
    assert measure_workers(config, 1e15) is None
    assert measure_workers(vary(model={"path": "nowhere"}), 1e8) is None  # its workers die


def test_a_study_takes_as_long_as_its_waves(tree: dict[str, Any]) -> None:
    """Trials that each take 10 s: 7 and 2 repeats of the baseline, then 4 repeats of finalists."""

    def seconds(workers: int) -> float:
        study = {**tree["study"], "trials": 7, "seeds": 3, "finalists": 2, "workers": workers}
        ten = Estimate(10.0, 9.0, 11.0)
        plan = SimpleNamespace(trial=lambda steps, every: ten)
        return study_time(cast(TrialPlan, plan), check_config({**tree, "study": study})).seconds

    assert [seconds(workers) for workers in (1, 2, 8)] == [130, 50 + 20, 20 + 10]
