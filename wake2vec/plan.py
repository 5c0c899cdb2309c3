"""What a trial will take on this machine, by a short probe; and which figures will be undefined, and why."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from wake2vec.config import HeadKind, RunConfig
from wake2vec.inputs import Material, fingerprint_inputs, prepare
from wake2vec.metrics.measure import measure, measure_end, of_rows
from wake2vec.metrics.measure import of_head as as_of_head
from wake2vec.metrics.readings import Measured
from wake2vec.metrics.registry import ALL_METRICS, GEOMETRY, HEAD_METRICS, OF_HEAD
from wake2vec.metrics.validation import losses_without_targets
from wake2vec.probe import (
    time_finish,
    time_geometry,
    time_samples,
    time_start,
    time_step,
    time_teaching,
    time_validation,
    with_distil_steps,
)
from wake2vec.recipe import start_training, with_own_head
from wake2vec.training.device import check_device
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.training.loss import workspace_bytes
from wake2vec.training.machine import (
    AVAILABLE_THREADS,
    is_large,
    measure_pass,
    measure_threads,
    memory_faults_told,
    peak_bytes,
    quickest,
    use_threads,
)
from wake2vec.training.quantized import stored_bytes, weight_count
from wake2vec.training.timing import Estimate, total
from wake2vec.training.train import Training
from wake2vec.trial import device_name
from wake2vec.workfolder import Numbers

Observe = Callable[[str], None]
"""Is told what is measured now, a few words."""


@dataclass(frozen=True)
class StartNorms:
    """What the initialiser's knobs come to on this base: means over the rows of the input embedding at step 0."""

    new: float
    """Norm of a new row."""
    base: float
    """Norm of a base row."""
    from_centre: float
    """Distance of a new row from the mean of the base rows."""


@dataclass(frozen=True)
class TrialPlan:
    """Sizes in bytes, times in seconds; of a large model the times are drawn on from parts."""

    device: str
    precision: str
    micro_batch_blocks: int
    """Sequences in one forward pass."""
    head: HeadKind
    start_losses: tuple[float, float] | None
    """Where a head of the base's own is thrown away: the mean loss of some held-out blocks at step 0 with it, and with
    the input embedding in its place."""
    start_norms: "StartNorms"
    trained_parameters: int
    frozen_parameters: int
    memory: dict[str, int]
    """By part; what lies there all the time, and what a pass adds."""
    peak_bytes: int
    """Most that lies there at once: in the pass or in the optimizer's step, whichever takes more."""
    start: Estimate
    """The making of the new rows."""
    step: Estimate
    evaluation: Estimate
    ending: Estimate
    """Finish, samples and last measurements of a trial."""
    checkpoint_bytes: int
    result_bytes: int

    def trial(self, steps: float, evaluate_every_steps: int) -> Estimate:
        """Time of a trial of so many steps."""
        evaluations = 1 + steps / evaluate_every_steps
        return self.start + self.step * steps + self.evaluation * evaluations + self.ending


@memory_faults_told()
def plan_trial(
    config: RunConfig,
    cache: Path | None = None,
    observe: Observe = lambda what: None,
    most_threads: int = AVAILABLE_THREADS,
) -> TrialPlan:
    """Load everything, time parts of a step and of an evaluation on rows that are thrown away, and measure the memory.

    After loading it takes less than a minute on a machine that isn't too busy, however large the model. It computes
    with as many threads as a study would: the configuration's, else the quickest number up to `most_threads`.

    Raises:
        Wake2VecError: an input can't be used, or not even one block fits into the memory.
    """
    check_device(config.machine.device)
    observe("loading model and texts")
    material = prepare(config, cache)
    observe("the number of threads")
    use_threads(config.machine.threads or _quickest_threads(config, material, most_threads))
    observe("the memory of a pass")
    training = start_training(with_distil_steps(config, min(1, config.init.distil_steps)), material)
    model = training.model
    trained = sum(matrix.trained_rows.numel() for matrix in model.trained.values())
    start_losses, start_norms = _start_losses(training, material, config), _start_norms(model, material)
    pass_memory = measure_pass(model, config.corpus.block_tokens)
    optimizer_bytes = peak_bytes(training.optimizer_step, model.device)  # makes the optimizer's state
    state = training.state()
    best_bytes = sum(of.trained_rows.nbytes for of in model.trained.values()) if config.train.keep == "best" else 0
    lasting = _lasting_memory(training, material)
    if best_bytes and model.device.type == "cpu":
        lasting["rows of the best evaluation"] = best_bytes
    pass_bytes = pass_memory.of(training.micro_batch_blocks)
    targets = training.micro_batch_blocks * (config.corpus.block_tokens - 1)
    workspace = workspace_bytes(targets, len(model.matrix), model.operand.dtype, model.device)
    passing = {"activations of a pass": pass_bytes - workspace, "workspace of the loss": workspace}
    if config.init.name == "distilled":
        observe("the making of the new rows")
    start = time_start(config, material)
    observe("a part of a step")
    step = time_step(training, config.train.batch_blocks)
    observe("a part of an evaluation")
    validation = time_validation(training, len(training.corpus.validation) + len(material.retention))
    geometries = [time_geometry(material.subject(of.matrix, name=name)) for name, of in model.trained.items()]
    observe("the beginning of a sample")
    samples = time_samples(training, material, config)
    observe("passages around new words")
    teaching = time_teaching(training, material)
    if config.train.finish_steps:
        observe("the finish")
    finish = time_finish(training, material, config)
    return TrialPlan(
        device=device_name(model.device),
        precision=str(model.operand.dtype).removeprefix("torch."),
        micro_batch_blocks=training.micro_batch_blocks,
        trained_parameters=trained,
        frozen_parameters=weight_count(material.base.body)
        + sum(matrix.operand.numel() for matrix in model.trained.values())
        - trained,
        head=config.head(fingerprint_inputs(config)),
        start_losses=start_losses,
        start_norms=start_norms,
        memory={**lasting, **passing, "workspace of the optimizer": optimizer_bytes},
        peak_bytes=sum(lasting.values()) + max(pass_bytes, optimizer_bytes),
        start=start,
        step=step,
        evaluation=total([validation, *(now for now, _ in geometries)]),
        ending=total([finish, samples, teaching, *(end for _, end in geometries)]),
        checkpoint_bytes=sum(tensor.nbytes for tensor in state.tensors.values()) + best_bytes,
        result_bytes=sum(matrix.trained_rows.nbytes for matrix in model.trained.values()),
    )


def _quickest_threads(config: RunConfig, material: Material, most: int) -> int:
    use_threads(most)
    measured = measure_threads(material.base.body, material.base_rows, config.corpus.block_tokens, most)
    return quickest(measured) or most


def _lasting_memory(training: Training, material: Material) -> dict[str, int]:
    model = training.model
    state, matrices = training.state(), model.trained.values()
    what = "embedding matrix and head" if model.has_own_head else "embedding matrix"
    type_ = str(model.operand.dtype).removeprefix("torch.")
    beside = sum(matrix.bytes_beside_operand for matrix in matrices)
    before = {id(rows): rows.nbytes for rows in (material.base.rows, material.base.head_rows) if rows is not None}
    on_cpu = model.device.type == "cpu"  # where the rows before training stay
    return {
        "frozen body": stored_bytes(material.base.body),
        **({"base rows before training": sum(before.values())} if on_cpu else {}),
        f"{what}, {type_}": sum(matrix.operand.nbytes for matrix in matrices),
        **({"trained rows, float32": beside} if beside else {}),
        "gradient of the trained rows": sum(matrix.gradient.nbytes for matrix in matrices),
        "optimizer state": sum(tensor.nbytes for name, tensor in state.tensors.items() if name not in model.trained),
    }


def _start_losses(training: Training, material: Material, config: RunConfig) -> tuple[float, float] | None:
    """With the base's own head and without it, over some held-out blocks."""
    own = with_own_head(training.model, material, config)
    if own is None:
        return None
    few = 1 if is_large(training.model, config.corpus.block_tokens) else training.micro_batch_blocks
    blocks = material.corpus.validation[:few]["input_ids"].to(training.model.device)
    return own.losses(blocks).mean().item(), training.model.losses(blocks).mean().item()


def _start_norms(model: EmbeddingModel, material: Material) -> StartNorms:
    base, new = (rows.detach() for rows in model.matrix.tensor_split([material.vocabulary.base_size]))
    lengths = (rows.norm(dim=1).mean().item() for rows in (new, base, new - base.mean(dim=0)))
    return StartNorms(*lengths)


HEAD_REASONS: dict[HeadKind, str] = {
    "shared": "the head is the input matrix",
    "own": "the head is a matrix of its own",
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
    base, new = material.base_rows_of(name).to(material.device), len(material.vocabulary.words)
    noise = torch.randn(new, base.shape[1], generator=torch.Generator().manual_seed(0)).to(base.device)
    rows = base.mean(0) + base.std() * noise
    subject = material.subject(torch.cat([base, rows]), rows, name)
    numbers = measure(subject).numbers
    if not numbers.keys() >= set(addresses):
        numbers |= measure_end(subject, numbers).numbers
    return numbers


def _reason(address: str, numbers: Mapping[str, float | None], unknown: Mapping[str, str]) -> str:
    if address.startswith("teaching."):
        return "the held-out text has no new token that is a whole word, or none was never seen in training"
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
