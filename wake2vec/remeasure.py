"""Measuring again: what a finished trial lacks of today's metrics, from what is kept of it. Nothing is trained."""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wake2vec.config import RunConfig, content_hash
from wake2vec.errors import ConfigError, Wake2VecError
from wake2vec.inputs import Material, fingerprint_inputs, prepare
from wake2vec.metrics.measure import FILES, measure_of, of_head, of_rows
from wake2vec.metrics.readings import Measured
from wake2vec.metrics.registry import ALL_METRICS, SOURCES
from wake2vec.metrics.retention import retention_bits, retention_numbers
from wake2vec.metrics.spacing import sample_numbers
from wake2vec.recipe import initialise, model_at_start
from wake2vec.result import (
    NEXT,
    RESULT_FORMAT,
    RETENTION,
    RunResult,
    read_result,
    result_arrays,
    stored_content,
    write_result,
)
from wake2vec.training.machine import use_threads
from wake2vec.trial import figures_of_base, gaps_of
from wake2vec.workfolder import Numbers, WorkFolder, arrays_in_bytes


def remeasure(work: WorkFolder, stale: list[str], now: RunConfig, cache: Path | None = None) -> None:
    """Measure these figures of a finished trial and put them into its result; all else in it stays as it is.

    `stale` are addresses that `wake2vec.result.stale_metrics` gives; where the inputs don't lie any more where the
    trial found them, they are looked for at the paths of `now`. A figure is bit for bit what it would have been at the
    end of training, on the same device with the same number of threads.

    Raises:
        Wake2VecError: rows or inputs are gone, or aren't those of the trial.
    """
    result = read_result(work)
    config = _with_inputs(result, now, work)
    use_threads(result.config.machine.threads)
    material = prepare(config, cache)
    trained, arrays = (result_arrays(work, result, name) for name in ("rows", "geometry"))
    numbers: Numbers = {}
    found_arrays: dict[str, np.ndarray] = {}
    for name, rows in trained.items():
        measured = _measured_of(name, config, material, torch.from_numpy(rows), stale, result.numbers)
        numbers |= measured.numbers
        found_arrays |= measured.arrays
    found: Numbers = {
        **numbers,
        **sample_numbers(result.samples, config.sample.prompt, material.words, material.spacing),
        **material.constants,
    }
    content = stored_content(work)
    sections = {address.partition(".")[0] for address in stale}
    if sections & {"retention", "validation"}:
        found |= figures_of_base(material)
    if sections & {"retention", "teaching"}:
        found |= read_again(config, material, trained, result.computed.micro_batch_blocks)
    if "retention" in sections:
        content["config"]["retention"] = config.retention.model_dump()
        content["fingerprints"][RETENTION] = material.retention_hash
    content["numbers"] |= {address: found[address] for address in stale}
    raised = {address: ALL_METRICS[address].version for address in stale if ALL_METRICS[address].version > 1}
    content |= {
        "format": RESULT_FORMAT,
        "measured": content.get("measured", {}) | raised,
        "remeasured_s": time.time(),
    }
    if found_arrays:
        content["hashes"] = _write_geometry(work, arrays | found_arrays)
    write_result(work, content)


def _write_geometry(work: WorkFolder, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Gives the hashes of the result. Before, a result is written that names both: a kill in between harms none."""
    content, file = stored_content(work), "geometry.safetensors"
    known: dict[str, str] = content.get("hashes", {})
    with (work.path / file).open("rb") as geometry:
        before = hashlib.file_digest(geometry, "sha256").hexdigest()
    after = hashlib.sha256(arrays_in_bytes(arrays)).hexdigest()
    write_result(work, {**content, "hashes": {**known, file: before, file + NEXT: after}})
    work.write_arrays("geometry", arrays)
    return {**known, file: after}


def read_again(
    config: RunConfig, material: Material, trained: Mapping[str, np.ndarray], blocks_at_once: int
) -> Numbers:
    """What the model with these rows reads: retention, also at step 0, which the recipe makes again, and teaching."""
    model = model_at_start(config, material)
    start = retention_bits(model, material.retention, blocks_at_once)
    model.take({name: torch.from_numpy(rows) for name, rows in trained.items()})
    return {
        **retention_numbers(retention_bits(model, material.retention, blocks_at_once), start),
        "retention.start_bits_per_byte": start,
        **gaps_of(model, material, blocks_at_once),
    }


def _measured_of(
    name: str, config: RunConfig, material: Material, rows: Tensor, stale: list[str], known: Numbers
) -> Measured:
    """What the files give that declare these figures, of the input embedding or of the head."""
    is_head = name != "rows"
    wanted = of_rows(dict.fromkeys(stale)) if is_head else stale
    files = {source.module for source in SOURCES for metric in source.metrics if metric.address in wanted}
    if not files.intersection(FILES):
        return Measured({})
    before = initialise(config, material, name).cpu()
    subject = material.subject(matrix_of(config, material, rows, name), before, name)
    measured = measure_of(subject, files.intersection(FILES), of_rows(known) if is_head else known)
    return of_head(measured) if is_head else measured


def matrix_of(
    config: RunConfig, material: Material, rows: Tensor, name: str = "rows"
) -> Float[Tensor, "vocabulary dim"]:
    """A trial's whole matrix of that name, on the material's device, from its trained rows."""
    rows = rows.to(material.device)
    return rows if config.train.rows == "all" else torch.cat([material.base_rows_of(name).to(rows.device), rows])


def is_same_inputs(now: Mapping[str, str], then: Mapping[str, str]) -> bool:
    """Whether the hashes are of the same contents, whichever versions wrote them."""
    return {at: content_hash(value) for at, value in now.items()} == {
        at: content_hash(value) for at, value in then.items()
    }


def _with_inputs(result: RunResult, now: RunConfig, work: WorkFolder) -> RunConfig:
    """The trial's configuration with paths at which its inputs lie today."""
    own = result.config
    for paths in (own, now):
        config = own.model_copy(
            update={
                "model": own.model.model_copy(update={"path": paths.model.path}),
                "retention": now.retention,
                "corpus": own.corpus.model_copy(update={"path": paths.corpus.path}),
                "vocabulary": own.vocabulary.model_copy(update={"lexicon": paths.vocabulary.lexicon}),
            }
        )
        try:
            trained_on = {address: own for address, own in result.fingerprints.items() if address != RETENTION}
            if is_same_inputs(fingerprint_inputs(config), trained_on):
                return config
        except Wake2VecError:
            continue
    raise ConfigError(
        f"figures are measured again with the model, corpus and lexicon of the training: those of {work.path.name} are "
        f"gone or changed ({own.model.path}, {own.corpus.path}, {own.vocabulary.lexicon}); put them back"
    )
