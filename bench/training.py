"""`make bench`: training and geometry report against the Phase 1 way, both sides in turn, ratios of medians.

The Phase 1 way is stock transformers: the whole model with full logits and activation checkpointing, sequences one at a
time; its geometry script is NumPy, SciPy and scikit-learn.
"""

import json
import math
import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from scipy import stats
from sklearn.decomposition import PCA
from transformers import Adafactor, get_linear_schedule_with_warmup

from bench.figures import Figure, publish
from study.config import load_config
from wake2vec import RunConfig, prepare
from wake2vec.config import DEFAULT_FOLDER
from wake2vec.material import Material
from wake2vec.measure import measure
from wake2vec.model import EmbeddingModel, merged_model
from wake2vec.run import initialise
from wake2vec.schedule import batch_at
from wake2vec.train import train

STEPS = 20
ROUNDS = 3


def main() -> None:
    config = load_config("tiny", [f"train.steps={STEPS}", "train.evaluate_every_steps=1000"]).run
    material = prepare(config.model, config.corpus, config.vocabulary)
    training = [
        (timed(lambda: train_ours(material, config)), timed(lambda: train_phase1(material, config)))
        for _ in range(ROUNDS)
    ]
    (_, ours), (_, theirs) = training[0]
    difference = max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))
    new = initialise(config, material)
    reports = [
        (timed(lambda: report_ours(material, new)), timed(lambda: report_phase1(material, new))) for _ in range(ROUNDS)
    ]
    base = json.loads((DEFAULT_FOLDER / "base_model" / "training.json").read_text(encoding="utf-8"))
    publish(
        "bench",
        "make bench",
        [
            Figure("base model: parameters", base["parameters"], ""),
            Figure(
                "base model: held-out loss",
                base["held_out_loss"],
                "nats a token",
                "< 3.86",
                base["held_out_loss"] < 3.86,
            ),
            Figure("base model: held-out bits per byte", base["held_out_bits_per_byte"], "bits"),
            Figure("training, tiny profile: speed over the Phase 1 way", speed_up(training), "x"),
            Figure("a step of 16 x 64 tokens", median_seconds(training, 0) / STEPS, "s"),
            Figure("the same, Phase 1 way", median_seconds(training, 1) / STEPS, "s"),
            Figure(
                f"largest relative difference of the losses of {STEPS} steps",
                difference,
                "",
                "<= 1e-5",
                difference <= 1e-5,
            ),
            Figure("geometry report, 4,096 + 5,696 rows: speed over the Phase 1 way", speed_up(reports), "x"),
        ],
    )


def train_ours(material: Material, config: RunConfig) -> list[float]:
    rows = initialise(config, material)
    model = EmbeddingModel(material.model.base_model, material.base_rows, rows, config.train.rows)
    records = train(model, material.corpus, config.train, config.seed, evaluate=dict)
    return [numbers["training.loss"] or 0.0 for _, numbers in records if "training.loss" in numbers]


def train_phase1(material: Material, config: RunConfig) -> list[float]:
    """The same batches and mathematics in stock transformers, as Phase 1 ran it."""
    model = merged_model(material.folder, torch.cat([material.base_rows, initialise(config, material)]))
    model.requires_grad_(False)
    rows = model.get_input_embeddings().weight.requires_grad_(True)
    model.train()
    model.enable_input_require_grads()
    model.activation_checkpointing_enable()
    optimizer = Adafactor([rows], lr=config.train.lr, scale_parameter=False, relative_step=False)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(0.1 * STEPS), STEPS)
    losses = []
    for step in range(STEPS):
        indices = batch_at(step, blocks=len(material.corpus.train), batch_blocks=16, seed=config.seed)
        optimizer.zero_grad()
        loss = 0.0
        for index in indices:
            ids = material.corpus.train[index]["input_ids"][None]
            share = model(input_ids=ids, labels=ids, use_cache=False).loss / len(indices)
            share.backward()
            loss += share.item()
        torch.nn.utils.clip_grad_norm_([rows], 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss)
    return losses


def report_ours(material: Material, new: torch.Tensor) -> float:
    base = material.base_rows
    numbers = measure(base, torch.cat([base, new]), material.corpus, material.reference_ids).numbers
    return numbers["geometry.isotropy_new"] or 0.0


def report_phase1(material: Material, new_rows: torch.Tensor) -> float:
    """What Phase 1's script measured: norms with tests, isotropy, capped PCA, sampled pairwise cosines."""
    base, new = material.base_rows.numpy(), new_rows.numpy()
    generator = np.random.default_rng(42)
    isotropy = 0.0
    for rows in (np.concatenate([base, new]), base, new):
        units = _units(rows - rows.mean(0))
        units = units[generator.choice(len(units), min(5000, len(units)), replace=False)]
        cosines = units @ units.T
        np.fill_diagonal(cosines, 0)
        sums = np.exp(cosines).sum(1)
        isotropy = float(sums.min() / sums.max())
    for rows in (base, new):
        PCA(n_components=100).fit(rows)
    norms = [np.linalg.norm(rows, axis=1) for rows in (base, new)]
    stats.ttest_ind(*norms, equal_var=False)
    stats.mannwhitneyu(*norms)
    samples = []
    for left, right in ((base, base), (new, new), (base, new)):
        pairs = [_units(rows[generator.integers(0, len(rows), 20_000)]) for rows in (left, right)]
        samples.append((pairs[0] * pairs[1]).sum(1))
    stats.ks_2samp(samples[0], samples[1])
    return isotropy


def _units(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


T = TypeVar("T")
Pairs = list[tuple[tuple[float, T], tuple[float, T]]]


def timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def median_seconds(pairs: Pairs[T], side: int) -> float:
    return statistics.median(pair[side][0] for pair in pairs)


def speed_up(pairs: Pairs[T]) -> float:
    """Median over the rounds of the other side's time by ours."""
    return statistics.median(theirs[0] / ours[0] for ours, theirs in pairs)


if __name__ == "__main__":
    main()
