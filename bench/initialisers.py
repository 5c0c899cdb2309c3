"""`python -m bench.initialisers`: each initialiser on the profile `tiny`, before and after one short training."""

import time

import torch
from torch import Tensor

from bench.figures import Figure, publish
from bench.tinyllama import BASE_ROWS, DIM, NEW_ROWS
from study.config import load_knobs
from wake2vec import Numbers, RunConfig, prepare
from wake2vec.inputs import Material
from wake2vec.metrics.measure import measure
from wake2vec.metrics.validation import validate
from wake2vec.recipe import initialise, start_training
from wake2vec.training.initialisers import INITIALISERS, InitMaterial, similarity

TRAINING = ["train.steps=100", "train.lr=0.0089"]
"""One setting that trains well: the rate of a trial that a study of the profile `tiny` chose (`docs/log.md`)."""
VARIANTS: dict[str, list[str]] = {
    "gaussian, noise .1 (Phase 1)": ["init.name=gaussian", "init.noise_scale=0.1"],
    "gaussian, noise 1": ["init.name=gaussian", "init.noise_scale=1.0"],
    "base_normal, noise 1": ["init.name=base_normal", "init.noise_scale=1.0"],
    **{str(name): [f"init.name={name}"] for name in INITIALISERS if name not in {"gaussian", "base_normal"}},
}
SHOWN = {
    "norm ratio": "geometry.norm_ratio",
    "norm gap |d|": "geometry.norm_gap_d",
    "collapse share": "geometry.collapse_share",
    "byte collapse": "geometry.byte_collapse_share",
    "mean cosine of new rows": "geometry.cosine_new_new_mean",
    "isotropy of new rows": "geometry.isotropy_new",
    "top-1 share of new rows": "geometry.top1_share_new",
    "validation loss": "validation.loss",
    "its new seen targets": "validation.loss_new_seen_targets",
    "its new unseen targets": "validation.loss_new_unseen_targets",
    "bits per byte": "validation.bits_per_byte",
}


def main() -> None:
    figures = []
    for variant, overrides in VARIANTS.items():
        config = load_knobs("tiny", [*TRAINING, *overrides])
        material = prepare(config)
        seconds = timed_start(config, material)
        before, after = before_and_after(config, material)
        figures.append(Figure(f"{variant}: time", seconds, "s"))
        for when, numbers in (("step 0", before), ("trained", after)):
            figures += [Figure(f"{variant}, {when}: {what}", shown(numbers, what), "") for what in SHOWN]
    figures.append(Figure(f"similarity, {NEW_ROWS:,} words x {BASE_ROWS:,} tokens: time", full_size_s(), "s"))
    publish("initialisers", "python -m bench.initialisers", figures)


def before_and_after(config: RunConfig, material: Material) -> tuple[Numbers, Numbers]:
    training = start_training(config, material)
    model, size = training.model, material.vocabulary.base_size

    def numbers() -> Numbers:
        losses = training.evaluate(lambda blocks: validate(model, material.corpus, size, blocks))
        return measure(material.subject(model.matrix)).numbers | losses

    before = numbers()
    while not training.is_done:
        training.update()
    return before, numbers()


def shown(numbers: Numbers, what: str) -> float | str:
    value = numbers[SHOWN[what]]
    if value is None:
        return "undefined"
    return abs(value) if what == "norm gap |d|" else value


def timed_start(config: RunConfig, material: Material) -> float:
    start = time.perf_counter()
    initialise(config, material)
    return time.perf_counter() - start


def full_size_s() -> float:
    """Seconds of `similarity` at Phase 1's size, on the strings of the default and pairs of them."""
    material = prepare(load_knobs("tiny"))
    words = [f"<{word}>" for word in grown(list(material.vocabulary.words), NEW_ROWS)]
    texts = grown([text for text in material.base_texts if text.strip()], BASE_ROWS)
    rows: Tensor = torch.randn(BASE_ROWS, DIM, generator=torch.Generator().manual_seed(0))
    full = InitMaterial(rows, texts, words, [[0]] * NEW_ROWS, 0.1, 1.0, torch.Generator().manual_seed(0))
    start = time.perf_counter()
    similarity(full)
    return time.perf_counter() - start


def grown(strings: list[str], count: int) -> list[str]:
    """So many strings: the given ones, then each with another one's last letters."""
    endings = [string.strip()[-3:] for string in strings]
    more = [strings[i % len(strings)] + endings[(7 * i + 3) % len(strings)] for i in range(count - len(strings))]
    return strings + more


if __name__ == "__main__":
    main()
