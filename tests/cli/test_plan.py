"""What is said beforehand of memory and time, against what is then measured."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaModel
from typer.testing import CliRunner

from study.cli.main import app
from study.cli.plan import study_seconds
from study.cli.progress import mean_steps
from study.config import StudyConfig
from wake2vec import RunConfig, plan_trial, prepare
from wake2vec.config import MachineConfig
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.training.machine import PassMemory, Phase, measure_pass, micro_batch_blocks, peak_bytes
from wake2vec.trial import start_training

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
    timed = dataclasses.replace(plan, step_s=1.0, evaluation_s=10.0, ending_s=100.0)
    assert timed.trial_s(steps=6.0, evaluate_every_steps=3) == 6 + 3 * 10 + 100
    assert mean_steps(study_config) == pytest.approx(4 / math.log(2))
    baseline, average = timed.trial_s(8.0, 3), timed.trial_s(4 / math.log(2), 3)
    assert study_seconds(timed, study_config) == pytest.approx(baseline + 3 * average)


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
