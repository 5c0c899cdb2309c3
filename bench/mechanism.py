"""`python -m bench.mechanism`: which new rows collapse, onto what, by how often training reached them (profile `tiny`).

A short trial doesn't reach all training blocks, so the classes here are by the blocks that its steps read; the
classes of a result's `collapse_share_*` are by all training blocks.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from bench.figures import Figure, publish
from study.config import load_config, load_knobs
from wake2vec import Numbers, RunConfig, prepare
from wake2vec.data.corpus import exposure_classes
from wake2vec.inputs import Material
from wake2vec.metrics.collapse import byte_collapse_share
from wake2vec.metrics.measure import measure
from wake2vec.metrics.mutual import mutual_collapse
from wake2vec.metrics.rows import covariance, principal_axes, read_group
from wake2vec.metrics.validation import validate
from wake2vec.recipe import start_training
from wake2vec.training.optimizer import batch_at
from wake2vec.training.train import Training

SETTINGS: dict[str, list[str]] = {
    "baseline": [],
    "base rows frozen": ["train.rows=new"],
    "noise .65, rate .0089": ["init.noise_scale=0.65", "train.lr=0.0089", "train.steps=100"],
    "library default's start": ["init.name=library_default", "train.lr=0.0089", "train.steps=100"],
    "600 steps": ["train.steps=600"],
    "150 steps of 256 tokens": ["train.steps=150", "corpus.block_tokens=256"],
}
"""What differs from the baseline of the profile `tiny`."""
CLASSES = {"unseen": "never", "seen_1": "once", "seen_2_4": "2 to 4 times", "seen_5_up": "5 times or more"}
TAUS = (0.5, 0.7, 0.8, 0.9)
"""Byte collapse below the headline's .95: the bulk of the rows may lie there."""


@dataclass(frozen=True)
class Census:
    """A trial's report, and its new rows one by one."""

    numbers: Numbers
    byte_cosines: Tensor
    mutual: Tensor
    reached: Int[Tensor, " new"]
    """How often each new token stood in the blocks that the steps read."""


def main() -> None:
    figures = []
    for name, overrides in SETTINGS.items():
        figures += figures_of(name, census(config_of(overrides)))
        publish("mechanism", "python -m bench.mechanism", figures)  # after each: the whole takes a while


def config_of(overrides: list[str]) -> RunConfig:
    study = load_config("tiny")
    baseline = [f"{address}={value}" for address, value in study.study.baseline.items()]
    return load_knobs("tiny", [*baseline, *overrides])


def census(config: RunConfig) -> Census:
    """Train to the end and count."""
    material = prepare(config)
    training = start_training(config, material)
    while not training.is_done:
        training.update()
    matrix = training.model.matrix
    report = measure(material.subject(matrix))
    losses = validate(training.model, material.corpus, material.vocabulary.base_size, training.micro_batch_blocks)
    new = read_group(matrix[material.vocabulary.base_size :])
    return Census(
        numbers=report.numbers | losses,
        byte_cosines=torch.from_numpy(report.arrays["byte_cosines"]),
        mutual=mutual_collapse(new, principal_axes(new, covariance(new)).vectors, 0.95, 10),
        reached=reached_counts(config, material, training),
    )


def reached_counts(config: RunConfig, material: Material, training: Training) -> Int[Tensor, " new"]:
    blocks = len(training.corpus.train)
    ids = training.corpus.train["input_ids"][:]
    read = torch.cat(
        [
            torch.as_tensor(batch_at(step, blocks=blocks, batch_blocks=config.train.batch_blocks, seed=config.seed))
            for step in range(config.train.steps)
        ]
    )
    counts = torch.bincount(ids[read].flatten(), minlength=material.vocabulary.size)
    return counts[material.vocabulary.base_size :]


def figures_of(name: str, found: Census) -> list[Figure]:
    numbers = found.numbers
    figures = [
        Figure(f"{name}: {what}", "undefined" if value is None else value, "")
        for what, value in (
            ("validation loss", numbers["validation.loss"]),
            ("collapse share", numbers["geometry.collapse_share"]),
            ("mutual collapse", numbers["geometry.mutual_collapse_share"]),
            ("byte collapse, .95", numbers["geometry.byte_collapse_share"]),
            *((f"byte collapse, {tau:g}", byte_collapse_share(found.byte_cosines, tau)) for tau in TAUS),
            ("median of the largest cosines to a byte row", float(found.byte_cosines.median())),
            ("mean cosine of the new rows", numbers["geometry.cosine_new_new_mean"]),
            ("mean cosine of the unused byte rows", numbers["geometry.reference_coherence"]),
        )
    ]
    for what, marked in (
        ("mutual collapse", found.mutual),
        ("byte collapse, .95", found.byte_cosines >= 0.95),
        ("byte collapse, .7", found.byte_cosines >= 0.7),
    ):
        figures += [
            Figure(
                f"{name}: {what}, reached {CLASSES[key]} ({int(members.sum()):,} rows)",
                float(marked[members].double().mean()),
                "",
            )
            for key, members in exposure_classes(found.reached).items()
            if members.any()
        ]
    figures += [
        Figure(f"{name}: collapse share, {CLASSES[key]} in the whole training text", value, "")
        for key in CLASSES
        if (value := numbers[f"geometry.collapse_share_{key}"]) is not None
    ]
    return figures


if __name__ == "__main__":
    main()
