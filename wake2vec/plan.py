"""What a trial will take on this machine, by a short probe; and which figures will be undefined, and why."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wake2vec.config import HeadKind, RunConfig
from wake2vec.inputs import Material, fingerprint_inputs, prepare
from wake2vec.metrics.measure import measure, measure_end, of_rows
from wake2vec.metrics.measure import of_head as as_of_head
from wake2vec.metrics.readings import Measured
from wake2vec.metrics.registry import ALL_METRICS, GEOMETRY, HEAD_METRICS, OF_HEAD
from wake2vec.metrics.validation import losses_without_targets, validate
from wake2vec.training.generate import sample_texts
from wake2vec.training.loss import workspace_bytes
from wake2vec.training.machine import measure_pass, peak_bytes
from wake2vec.training.train import Training
from wake2vec.trial import device_name, start_training, with_own_head
from wake2vec.workfolder import Numbers

PROBE_STEPS = 3
PROBE_TOKENS = 8


@dataclass(frozen=True)
class TrialPlan:
    """Sizes in bytes, times in seconds."""

    device: str
    precision: str
    micro_batch_blocks: int
    """Sequences in one forward pass."""
    head: HeadKind
    start_losses: tuple[float, float] | None
    """Where a head of the base's own is thrown away: the mean loss of some held-out blocks at step 0 with it, and with
    the input embedding in its place."""
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
    trained = sum(matrix.trained_rows.numel() for matrix in model.trained.values())
    start_losses = _start_losses(training, material, config)
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
        trained_parameters=trained,
        frozen_parameters=sum(weight.numel() for weight in material.base.body.parameters())
        + sum(matrix.matrix.numel() for matrix in model.trained.values())
        - trained,
        head=config.head(fingerprint_inputs(config)),
        start_losses=start_losses,
        memory={**lasting, **passing, "workspace of the optimizer": optimizer_bytes},
        peak_bytes=sum(lasting.values()) + max(pass_bytes, optimizer_bytes),
        step_s=step_s,
        evaluation_s=timed(lambda: _evaluate(training, material), 1, model.device),
        ending_s=_sample_s(training, material, config),
        checkpoint_bytes=sum(tensor.nbytes for tensor in state.tensors.values()),
        result_bytes=sum(matrix.trained_rows.nbytes for matrix in model.trained.values()),
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
    state, matrices = training.state(), model.trained.values()
    copies = sum(matrix.operand.nbytes for matrix in matrices if matrix.operand is not matrix.matrix)
    head, what = material.base.head_rows, "embedding matrix and head" if model.has_own_head else "embedding matrix"
    copied = f"{'their copies' if model.has_own_head else 'its copy'} in {str(model.operand.dtype)[len('torch.') :]}"
    return {
        "frozen body": sum(weight.nbytes for weight in material.base.body.parameters()),
        "base rows before training": material.base.rows.nbytes,
        # It lies on the CPU until it is asked for.
        **({"base head before training": head.nbytes} if head is not None and head.device == model.device else {}),
        f"{what}, float32": sum(matrix.matrix.nbytes for matrix in matrices),
        **({copied: copies} if copies else {}),
        "gradient of the trained rows": sum(matrix.gradient.nbytes for matrix in matrices),
        "optimizer state": sum(tensor.nbytes for name, tensor in state.tensors.items() if name not in model.trained),
    }


def _start_losses(training: Training, material: Material, config: RunConfig) -> tuple[float, float] | None:
    """With the base's own head and without it, over as many held-out blocks as one pass takes."""
    own = with_own_head(training.model, material, config)
    if own is None:
        return None
    blocks = material.corpus.validation[: training.micro_batch_blocks]["input_ids"].to(training.model.device)
    return own.losses(blocks).mean().item(), training.model.losses(blocks).mean().item()


def _evaluate(training: Training, material: Material) -> None:
    model, size = training.model, material.vocabulary.base_size
    training.evaluate(lambda blocks: validate(model, material.corpus, size, blocks))
    for name, matrix in model.trained.items():
        measure(material.subject(matrix.matrix, name=name))


def _sample_s(training: Training, material: Material, config: RunConfig) -> float:
    """Time of the samples, from a few tokens of each."""
    few = config.sample.model_copy(update={"new_tokens": PROBE_TOKENS})
    matrix: Tensor = training.model.operand
    with material.base.with_matrix(matrix, training.model.head.operand) as causal_model:
        seconds = timed(lambda: sample_texts(causal_model, material.vocabulary, few, config.seed), 1, matrix.device)
    return seconds * config.sample.new_tokens / PROBE_TOKENS


HEAD_REASONS: dict[HeadKind, str] = {
    "shared": "the head is the input matrix",
    "own": "the base's own head is kept",
    "replaced": "the head is the input matrix, by model.head=tied",
}
"""Why a trial lacks the figures of those that have another head."""


def undefined_reasons(numbers: Mapping[str, float | None], unknown: Mapping[str, str]) -> dict[str, str]:
    """The reason for each undefined number; `unknown` says why fields of the subject aren't known."""
    return {address: _reason(address, numbers, unknown) for address, value in numbers.items() if value is None}


def undefined_figures(material: Material, addresses: Collection[str], head: HeadKind = "shared") -> dict[str, str]:
    """Which of these figures no trial has, and why: those that base model, text, lexicon and head leave undefined.

    Geometry is judged at step 0, on the base rows as they are, with noise of their size for the new rows: so no
    initialiser decides. Of what only training gives, such as samples, nothing is known before.
    """
    numbers: Numbers = dict(material.constants)
    numbers |= dict.fromkeys(losses_without_targets(material.corpus, material.vocabulary.base_size))
    of_head = {address for address in addresses if address.startswith(OF_HEAD)}
    geometry = {address for address in addresses if address.startswith(GEOMETRY)} - of_head
    if geometry:
        numbers |= _geometry_of_noise(material, "rows", geometry)
    lacking = {at for at in addresses if at in HEAD_METRICS and HEAD_METRICS[at].head != head}
    numbers |= dict.fromkeys(lacking)
    if of_head - lacking:
        found = _geometry_of_noise(material, "head_rows", of_rows(dict.fromkeys(of_head)))
        numbers |= as_of_head(Measured(found)).numbers
    unknown = {} if material.references.ids else {"reference_ids": material.references.meaning}
    reasons = undefined_reasons(numbers, unknown) | dict.fromkeys(lacking, HEAD_REASONS[head])
    return {address: reasons[address] for address in addresses if address in reasons}


def _geometry_of_noise(material: Material, name: str, addresses: Collection[str]) -> Numbers:
    base, new = material.base_rows_of(name), len(material.vocabulary.words)
    noise = torch.randn(new, base.shape[1], generator=torch.Generator().manual_seed(0)).to(base.device)
    rows = base.mean(0) + base.std() * noise
    subject = material.subject(torch.cat([base, rows]), rows, name)
    numbers = measure(subject).numbers
    if not numbers.keys() >= set(addresses):
        numbers |= measure_end(subject, numbers).numbers
    return numbers


def _reason(address: str, numbers: Mapping[str, float | None], unknown: Mapping[str, str]) -> str:
    if address.startswith("validation."):
        return "the held-out text has no such target"
    needs = ALL_METRICS[address].needs
    for needed in needs:
        if needed in unknown:
            return unknown[needed]
    if "new_counts" in needs:
        return "no new token occurs so often"
    if "reference_ids" in needs:
        coherence = numbers.get("geometry.reference_coherence")
        if coherence is not None:
            return f"the reference rows don't lie in one place: mean cosine {coherence:.3f}, under 0.5"
    return "these rows don't define it: docs/metrics.md"
