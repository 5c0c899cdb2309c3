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
    base_rows, new = material.base_rows.numpy(), initialise(config, material)
    reports = [
        (
            timed(lambda: report_ours(material, new)),
            timed(lambda: report_phase1(base_rows, new.numpy())["isotropy_new"]),
        )
        for _ in range(ROUNDS)
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


def report_phase1(base: np.ndarray, new: np.ndarray) -> dict[str, float]:
    """What Phase 1's script measured: norms with tests, isotropy, capped PCA, sampled pairwise cosines."""
    numbers = {}
    groups = {"all": np.concatenate([base, new]), "base": base, "new": new}
    for name, rows in groups.items():
        units = _units(rows - rows.mean(0))
        if len(units) > 5000:
            units = units[np.random.default_rng(42).choice(len(units), 5000, replace=False)]
        cosines = units @ units.T
        np.fill_diagonal(cosines, 0)
        sums = np.exp(cosines).sum(1)
        numbers[f"isotropy_{name}"] = float(sums.min() / sums.max())
    for name in ("base", "new"):
        shares = PCA(n_components=100).fit(groups[name]).explained_variance_ratio_
        numbers[f"top1_share_{name}"] = float(shares[0])
        numbers |= {f"components_{at}_{name}": float((shares.cumsum() < at / 100).sum()) + 1 for at in (90, 95)}
    return numbers | _norms_phase1(base, new) | _cosines_phase1(base, new)


def _norms_phase1(base: np.ndarray, new: np.ndarray) -> dict[str, float]:
    norms = {name: np.linalg.norm(rows, axis=1) for name, rows in (("base", base), ("new", new))}
    moments = {name: (float(values.mean()), float(values.std())) for name, values in norms.items()}
    (mean_base, std_base), (mean_new, std_new) = moments["base"], moments["new"]
    return {
        "norm_base_mean": mean_base,
        "norm_new_mean": mean_new,
        "norm_gap_d": (mean_base - mean_new) / math.sqrt((std_base**2 + std_new**2) / 2),
        "welch_t": float(stats.ttest_ind(norms["base"], norms["new"], equal_var=False).statistic),
        "mann_whitney_u": float(stats.mannwhitneyu(norms["base"], norms["new"]).statistic),
    }


def _cosines_phase1(base: np.ndarray, new: np.ndarray) -> dict[str, float]:
    generator = np.random.default_rng(42)
    samples = {}
    for name, left, right in (("base_base", base, base), ("new_new", new, new), ("base_new", base, new)):
        pairs = [_units(rows[generator.integers(0, len(rows), 20_000)]) for rows in (left, right)]
        samples[name] = (pairs[0] * pairs[1]).sum(1)
    numbers = {f"cosine_{name}_mean": float(sample.mean()) for name, sample in samples.items()}
    numbers |= {f"cosine_{name}_std": float(sample.std()) for name, sample in samples.items()}
    return numbers | {"cosine_ks": float(stats.ks_2samp(samples["base_base"], samples["new_new"]).statistic)}


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
