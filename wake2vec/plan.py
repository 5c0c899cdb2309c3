"""What a trial will take on this machine, measured by a short probe before anything is run."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wake2vec.config import RunConfig
from wake2vec.generate import sample_texts
from wake2vec.loss import workspace_bytes
from wake2vec.material import Material, prepare
from wake2vec.memory import measure_pass, peak_bytes
from wake2vec.metrics.measure import measure
from wake2vec.metrics.validation import validate
from wake2vec.train import Training
from wake2vec.trial import device_name, start_training

PROBE_STEPS = 3
PROBE_TOKENS = 8


@dataclass(frozen=True)
class TrialPlan:
    """Sizes in bytes, times in seconds."""

    device: str
    precision: str
    micro_batch_blocks: int
    """Sequences in one forward pass."""
    trained_parameters: int
    frozen_parameters: int
    memory: dict[str, int]
    """By part; what lies there all the time, and what a pass adds."""
    peak_bytes: int
    """Most that lies there at once: in the pass or in the optimizer's step, whichever takes more."""
    step_s: float
    evaluation_s: float
    ending_s: float
    """Samples and last measurements of a trial."""
    checkpoint_bytes: int
    result_bytes: int

    def trial_s(self, steps: float, evaluate_every_steps: int) -> float:
        """Time of a trial of so many steps."""
        evaluations = 1 + steps / evaluate_every_steps
        return steps * self.step_s + evaluations * self.evaluation_s + self.ending_s


def plan_trial(config: RunConfig, cache: Path | None = None) -> TrialPlan:
    """Load everything, take a few steps on rows that are thrown away, and measure.

    Raises:
        Wake2VecError: an input can't be used, or not even one block fits into the memory.
    """
    material = prepare(config, cache)
    training = start_training(config, material)
    model = training.model
    pass_memory = measure_pass(model, config.corpus.block_tokens)
    training.update()  # makes the optimizer's state, and warms up
    step_s = timed(training.update, PROBE_STEPS, model.device)
    state = training.state()
    lasting = _lasting_memory(training, material)
    pass_bytes = pass_memory.of(training.micro_batch_blocks)
    targets = training.micro_batch_blocks * (config.corpus.block_tokens - 1)
    workspace = workspace_bytes(targets, len(model.matrix), model.operand.dtype, model.device)
    passing = {"activations of a pass": pass_bytes - workspace, "workspace of the loss": workspace}
    optimizer_bytes = peak_bytes(training.optimizer_step, model.device)
    return TrialPlan(
        device=device_name(model.device),
        precision=str(model.operand.dtype).removeprefix("torch."),
        micro_batch_blocks=training.micro_batch_blocks,
        trained_parameters=model.trained_rows.numel(),
        frozen_parameters=sum(weight.numel() for weight in material.base.body.parameters())
        + model.matrix.numel()
        - model.trained_rows.numel(),
        memory={**lasting, **passing, "workspace of the optimizer": optimizer_bytes},
        peak_bytes=sum(lasting.values()) + max(pass_bytes, optimizer_bytes),
        step_s=step_s,
        evaluation_s=timed(lambda: _evaluate(training, material), 1, model.device),
        ending_s=_sample_s(training, material, config),
        checkpoint_bytes=sum(tensor.nbytes for tensor in state.tensors.values()),
        result_bytes=model.trained_rows.nbytes,
    )


def timed(work: Callable[[], Any], times: int, device: torch.device) -> float:
    """Mean seconds of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    for _ in range(times):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - started) / times


def _lasting_memory(training: Training, material: Material) -> dict[str, int]:
    model = training.model
    copies = 0 if model.operand is model.matrix else model.operand.nbytes
    state = training.state()
    return {
        "frozen body": sum(weight.nbytes for weight in material.base.body.parameters()),
        "base rows before training": material.base.rows.nbytes,
        "embedding matrix, float32": model.matrix.nbytes,
        **({f"its copy in {str(model.operand.dtype).removeprefix('torch.')}": copies} if copies else {}),
        "gradient of the trained rows": model.trained_rows.nbytes,
        "optimizer state": sum(tensor.nbytes for name, tensor in state.tensors.items() if name != "rows"),
    }


def _evaluate(training: Training, material: Material) -> None:
    model, size = training.model, material.vocabulary.base_size
    training.evaluate(lambda blocks: validate(model, material.corpus, size, blocks))
    measure(material.subject(model.matrix))


def _sample_s(training: Training, material: Material, config: RunConfig) -> float:
    """Time of the samples, from a few tokens of each."""
    few = config.sample.model_copy(update={"new_tokens": PROBE_TOKENS})
    matrix: Tensor = training.model.operand
    with material.base.with_matrix(matrix) as causal_model:
        seconds = timed(lambda: sample_texts(causal_model, material.vocabulary, few, config.seed), 1, matrix.device)
    return seconds * config.sample.new_tokens / PROBE_TOKENS
