"""One trial, on one page: `RunConfig` -> `RunResult`."""

import errno
import logging
import platform
import time
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import torch

from wake2vec.config import RunConfig
from wake2vec.errors import DamagedError, TrialAbandoned, TrialFailedError, TrialStopped
from wake2vec.evaluator import Evaluator
from wake2vec.inputs import Material, fingerprint_inputs, prepare
from wake2vec.metrics.measure import joined, measure_end, of_head, of_rows
from wake2vec.metrics.registry import METRICS, check_keep_by
from wake2vec.metrics.retention import retention_bits
from wake2vec.metrics.spacing import sample_numbers
from wake2vec.metrics.teaching import GAPS, hidden_gap
from wake2vec.metrics.validation import null_behind_new
from wake2vec.nearest import nearest_tokens
from wake2vec.recipe import finisher, start_training, with_own_head
from wake2vec.result import (
    KEPT_STEP,
    RESULT_FORMAT,
    RETENTION,
    Computed,
    RunResult,
    figures_at_start,
    find_digest,
    read_result,
    versions_of_metrics,
    write_result,
)
from wake2vec.training.checkpoint import CheckpointWriter, discard_checkpoints, newest_checkpoint
from wake2vec.training.device import check_device
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.training.generate import sample_texts
from wake2vec.training.keep import BestRows
from wake2vec.training.machine import memory_faults_told, use_threads
from wake2vec.training.train import Stopwatch, Training, train
from wake2vec.workfolder import Numbers, Progress, WorkFolder, set_aside

logger = logging.getLogger(__name__)

Observer = Callable[[Progress], None]


@memory_faults_told()
def run(
    config: RunConfig,
    trials_folder: Path,
    observe: Observer = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    cache: Path | None = None,
) -> RunResult:
    """Train and measure one configuration; its work folder is `trials_folder/<digest>`.

    A trial that was finished before, by this version or an earlier one, isn't trained again: its result is read. One
    that was cut off goes on from its newest checkpoint. A damaged result is told and moved aside, and the trial is
    trained again. `observe` is called with each record, `stop` after each: where it gives True, the trial ends with a
    checkpoint. Encoded texts are kept in `cache`.

    Raises:
        TrialStopped: `stop` said so.
        TrialAbandoned: `observe` said so; the record of progress stays.
        TrialFailedError: training diverged, or doesn't fit into the memory.
        Wake2VecError: an input can't be used, or the disk is full.
    """
    use_threads(config.machine.threads)
    check_device(config.machine.device)
    fingerprints = fingerprint_inputs(config)
    check_keep_by(config.train.keep_by, config.head(fingerprints))
    digest = find_digest(config, fingerprints, trials_folder)
    folder = WorkFolder(trials_folder / digest)
    if (ended := _ended_before(folder)) is not None:
        return ended
    for earlier in config.digests(fingerprints)[1:]:
        if WorkFolder(trials_folder / earlier).checkpoints_path.exists():
            logger.warning("a checkpoint of an earlier version can't be used: %s; training starts over", earlier)
    watch = Stopwatch()
    with watch("load"):
        material = prepare(config, cache)
    with watch("start"):
        training = start_training(config, material)
        finish = finisher(config, material, training)
    try:
        evaluate = Evaluator(training, material, lambda: with_own_head(training.model, material, config), watch)
        numbers = _train(training, evaluate, finish, config, folder, observe, stop, watch)
    except (TrialFailedError, TrialAbandoned):
        discard_checkpoints(folder.checkpoints_path)
        raise
    result = _finish(training, evaluate, material, config, fingerprints, folder, numbers, watch)
    write_result(folder, result.model_dump())
    discard_checkpoints(folder.checkpoints_path)
    return result


def _ended_before(folder: WorkFolder) -> RunResult | None:
    """The result that stands there; one that is damaged is moved aside."""
    if not folder.result_path.exists():
        return None
    try:
        result = read_result(folder)
    except DamagedError as fault:
        aside = set_aside(folder.result_path)
        logger.warning("%s. It lies aside as %s, and the run is trained again", fault, aside.name)
        return None
    discard_checkpoints(folder.checkpoints_path)
    return result


def _train(
    training: Training,
    evaluate: Evaluator,
    finish: Callable[[], None],
    config: RunConfig,
    folder: WorkFolder,
    observe: Observer,
    stop: Callable[[], bool],
    watch: Stopwatch,
) -> Numbers:
    """Train from the newest checkpoint to the end; give the figures of the rows that are kept, which the model has."""
    log = folder.start_progress()
    checkpoints, best = CheckpointWriter(folder.checkpoints_path), BestRows(config.train)
    try:
        state = newest_checkpoint(folder.checkpoints_path, most_steps=log.steps_trained())
        if state is not None:
            training.restore(state)
            best.restore(state)
        written_at = time.monotonic()
        for step, numbers in train(training, evaluate, finish, watch):
            best.offer(step, numbers, training.model)
            observe(log.add(step, numbers))
            stopping = stop()
            is_due = time.monotonic() - written_at >= config.machine.checkpoint_every_s
            if stopping or (is_due and not checkpoints.is_busy):
                with watch("checkpoint"):
                    log.sync()
                    checkpoints.write(best.added_to(training.state()))
                written_at = time.monotonic()
            if stopping:
                checkpoints.wait()
                raise TrialStopped
    finally:
        log.close()
        checkpoints.settle()  # whoever deletes checkpoints now must be alone with them
    checkpoints.wait()
    records = folder.progress()
    if not records:
        raise FileNotFoundError(errno.ENOENT, "deleted while its trial ran; it is trained again", str(folder.path))
    kept_step = training.step if best.step is None else best.step
    if kept_step < training.step:
        training.model.take(best.rows)
        evaluate.geometry()
    return summary(records, kept_step) | {"retention.start_bits_per_byte": evaluate.start_bits_per_byte}


def _finish(
    training: Training,
    evaluate: Evaluator,
    material: Material,
    config: RunConfig,
    fingerprints: dict[str, str],
    folder: WorkFolder,
    numbers: Numbers,
    watch: Stopwatch,
) -> RunResult:
    """Sample from the kept rows, measure what is measured once, and write the arrays; give the result to write."""
    model = training.model
    with watch("sample"), material.base.with_matrix(model.operand, model.head.operand) as causal_model:
        samples = sample_texts(causal_model, material.vocabulary, config.sample, config.seed)
    numbers |= sample_numbers(samples, config.sample.prompt, material.words, material.spacing)
    with watch("teaching"):
        numbers |= training.evaluate(lambda passages: gaps_of(model, material, passages))
    with watch("geometry"):
        at_end = measure_end(material.subject(model.matrix), numbers)
        if model.has_own_head:
            subject = material.subject(model.head.matrix, name="head_rows")
            at_end = joined(at_end, of_head(measure_end(subject, of_rows(numbers))))
    with watch("write"):
        kept = {name: matrix.trained_rows.detach().cpu().numpy() for name, matrix in model.trained.items()}
        written = {"rows": kept, "geometry": evaluate.arrays | at_end.arrays}
        hashes = {f"{name}.safetensors": folder.write_arrays(name, own) for name, own in written.items()}
    numbers |= at_end.numbers | material.constants | figures_of_base(material)
    return RunResult(
        format=RESULT_FORMAT,
        digest=folder.path.name,
        config=config,
        fingerprints={**fingerprints, RETENTION: material.retention_hash},
        numbers=numbers,
        start=figures_at_start(folder, numbers),
        measured=versions_of_metrics(config.head(fingerprints)),
        audit=material.audit,
        references=material.references.meaning,
        neighbours=nearest_tokens(at_end.arrays, material.vocabulary.row_names, material.corpus.new_counts_train),
        samples=samples,
        versions=versions(),
        computed=_computed(training),
        seconds=watch.seconds,
        hashes=hashes,
    )


@lru_cache(maxsize=1)
def figures_of_base(material: Material) -> Numbers:
    """What the base reads as it is, with its own head: nulls; once for all trials of a material."""
    base, rows, head_rows = material.base, material.base_rows, material.head_rows
    none = rows[:0].to(material.device)
    head = None if head_rows is None else (head_rows, none)
    model = EmbeddingModel(base.body, rows, none, "new", base.scales, head)
    return {
        "retention.base_bits_per_byte": retention_bits(model, material.retention, blocks_at_once=1),
        **null_behind_new(model, material.corpus, blocks_at_once=1),
    }


def gaps_of(model: EmbeddingModel, material: Material, passages_at_once: int) -> Numbers:
    """`teaching.*` of a model with new rows."""
    size = material.vocabulary.base_size
    found = {name: passages for name, passages in material.passages.items() if passages is not None}
    return {GAPS[name]: hidden_gap(model, size, passages, passages_at_once) for name, passages in found.items()}


def summary(records: list[Progress], kept_step: int) -> Numbers:
    """The last value that each figure on the curves had by the step that is kept, None where it had none.

    And the `start_loss`, `best_loss` and `best_step` of all evaluations, before that step or after.
    """
    losses = {record.step: loss for record in records if (loss := record.numbers.get("validation.loss")) is not None}
    best_step = min(losses, key=lambda step: (losses[step], step))
    until = [record for record in records if record.step <= kept_step]
    last = {address: value for record in until for address, value in record.numbers.items()}
    return {
        **dict.fromkeys(address for address in METRICS if address.startswith("training.")),
        **last,
        KEPT_STEP: kept_step,
        "validation.start_loss": losses[0],
        "validation.best_loss": losses[best_step],
        "validation.best_step": best_step,
    }


def _computed(training: Training) -> Computed:
    device = training.model.device
    on_gpu = device.type == "cuda"
    return Computed(
        device=device_name(device),
        precision=str(training.model.operand.dtype).removeprefix("torch."),
        micro_batch_blocks=training.micro_batch_blocks,
        peak_memory_gb=torch.cuda.max_memory_allocated(device) / 1e9 if on_gpu else None,
    )


def device_name(device: torch.device) -> str:
    """`Tesla T4`, or `CPU, 2 threads`: another number of threads may change a number's last digits."""
    threads = torch.get_num_threads()
    return (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {threads} thread{'s'[: threads != 1]}"
    )


def versions() -> dict[str, str]:
    names = ("torch", "transformers", "tokenizers", "numpy", "scipy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
