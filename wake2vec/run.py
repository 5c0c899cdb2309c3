"""One trial, on one page: `RunConfig` -> `RunResult`."""

import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wake2vec.config import RESULT_FORMAT, RunConfig
from wake2vec.errors import ConfigError
from wake2vec.evaluate import validate
from wake2vec.generate import sample_text
from wake2vec.initialisers import INITIALISERS, InitMaterial
from wake2vec.material import Material, fingerprint_inputs, prepare
from wake2vec.measure import Measurement, measure, nearest_tokens
from wake2vec.model import EmbeddingModel, merged_model
from wake2vec.result import RunResult, read_result
from wake2vec.train import OPTIMIZERS, train
from wake2vec.workfolder import Numbers, Progress, WorkFolder, write_json

Observer = Callable[[Progress], None]


def run(config: RunConfig, trials_folder: Path, observe: Observer = lambda progress: None) -> RunResult:
    """Train and measure one configuration; its work folder is `trials_folder/<digest>`.

    A trial that was finished before isn't trained again: its result is read.

    Raises:
        Wake2VecError: an input can't be used, or training diverged.
    """
    fingerprints = fingerprint_inputs(config)
    digest = config.digest(fingerprints)
    folder = WorkFolder(trials_folder / digest)
    if folder.result_path.exists():
        return read_result(folder)
    started = time.monotonic()
    check_names(config)
    material = prepare(config.model, config.corpus, config.vocabulary)
    rows = initialise(config, material)
    model = EmbeddingModel(material.model.base_model, material.base_rows, rows, config.train.rows)
    measured = _train_and_measure(model, material, config, folder, observe)
    folder.write_arrays("rows", {"rows": model.trained_rows.detach().cpu().numpy()})
    folder.write_arrays("geometry", measured.arrays)
    result = RunResult(
        format=RESULT_FORMAT,
        digest=digest,
        config=config,
        fingerprints=fingerprints,
        numbers=measured.numbers | material.audit.numbers(),
        audit=material.audit,
        neighbours=nearest_tokens(model.matrix.detach(), material.vocabulary, material.corpus.new_counts_train),
        sample=sample_text(
            merged_model(material.folder, model.matrix.detach()).to(material.device),
            material.vocabulary,
            config.sample,
            config.seed,
        ),
        versions=versions(),
        seconds=time.monotonic() - started,
    )
    write_json(folder.result_path, result.model_dump())
    return result


def check_names(config: RunConfig) -> None:
    """Raises ConfigError: no initialiser or optimizer of that name."""
    for address, name, known in (
        ("init.name", config.init.name, INITIALISERS),
        ("train.optimizer", config.train.optimizer, OPTIMIZERS),
    ):
        if name not in known:
            raise ConfigError(f"{address} must be one of {', '.join(known)}: it is {name}")


def initialise(config: RunConfig, material: Material) -> Float[Tensor, "new dim"]:
    """The new rows at step 0, drawn on the CPU: the same on every device."""
    generator = torch.Generator().manual_seed(config.seed)
    base_rows = material.base_rows.cpu()
    init = config.init
    rows = INITIALISERS[init.name](
        InitMaterial(base_rows, material.pieces, init.noise_scale, init.radius_factor, generator)
    )
    return rows.to(material.device)


def _train_and_measure(
    model: EmbeddingModel, material: Material, config: RunConfig, folder: WorkFolder, observe: Observer
) -> Measurement:
    """Train, record every figure, and give the last evaluation's with `best_loss`, `best_step`, `start_loss`."""
    arrays: dict[str, np.ndarray] = {}

    def evaluate() -> Numbers:
        geometry = measure(material.base_rows, model.matrix.detach(), material.corpus, material.reference_ids)
        arrays.update(geometry.arrays)
        return validate(model, material.corpus, material.vocabulary.base_size) | geometry.numbers

    evaluations: list[tuple[float, int]] = []
    last: Numbers = {}
    log = folder.start_progress()
    try:
        for step, numbers in train(model, material.corpus, config.train, config.seed, evaluate):
            observe(log.add(step, numbers))
            if (loss := numbers.get("validation.loss")) is not None:
                evaluations.append((loss, step))
            last |= numbers
    finally:
        log.close()
    best_loss, best_step = min(evaluations)
    summary: Numbers = {
        "validation.start_loss": evaluations[0][0],
        "validation.best_loss": best_loss,
        "validation.best_step": best_step,
    }
    return Measurement(last | summary, arrays)


def versions() -> dict[str, str]:
    names = ("torch", "transformers", "tokenizers", "numpy", "scipy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
