"""`python -m bench.teaching [PART ...]`: what new rows tell of their words, and what teaching them is worth.

Parts: `starts` before any training, `ablation` of distillation; `slow`, `fast`, `long`: trained at two rates, or for
five times as long, each start given the same time; `finish`, `finish_long`: rare rows made anew after training, against
more training, `finish_again` with other seeds, `finish_rare` all rows that training met four times at most, `both` of a
distilled start; `heads`: with the head tied, tied with biases, and untied. On the profile `tiny`, three seeds each, of
initialisation, lessons and batch order, with 95 % intervals of their means. `smollm2`: the start alone on the model of
that profile, one seed.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from bench.biases import BiasedModel
from bench.figures import Figure, publish_parts
from study.config import load_knobs
from study.noise import interval
from wake2vec import Numbers, RunConfig, prepare
from wake2vec.evaluator import Evaluator
from wake2vec.inputs import Material
from wake2vec.metrics.validation import validate
from wake2vec.recipe import finisher, initialise, start_training
from wake2vec.training.train import Stopwatch, Training
from wake2vec.trial import figures_of_base, gaps_of

SEEDS = (42, 43, 44)
OTHER_SEEDS = (45, 46, 47)
STARTS: dict[str, list[str]] = {
    "gaussian, noise .1 (Phase 1)": ["init.name=gaussian", "init.noise_scale=0.1"],
    "gaussian, noise 1": ["init.name=gaussian", "init.noise_scale=1.0"],
    "similarity": ["init.name=similarity"],
    "piece_mean": ["init.name=piece_mean"],
    "piece_mean, scaled": ["init.name=distilled", "init.distil_steps=0"],
    "distilled": ["init.name=distilled"],
}
TOLD = {
    "hidden gap": "teaching.hidden_gap",
    "hidden gap, never seen": "teaching.hidden_gap_unseen",
    "loss behind new": "validation.loss_base_after_new",
}
TRAINED = {
    "loss": "validation.loss",
    "loss on base tokens": "validation.loss_base_targets",
    "norm gap d": "geometry.norm_gap_d",
    "isotropy": "geometry.isotropy_new",
    "collapse": "geometry.collapse_share",
    "collapse, never seen": "geometry.collapse_share_unseen",
    "loss on targets seen once": "validation.loss_seen_1_targets",
    "loss on targets never seen": "validation.loss_new_unseen_targets",
    **TOLD,
}
OF_HEADS = {
    f"{name}, head": address.replace("geometry.", "geometry.head.")
    for name, address in TRAINED.items()
    if address.startswith("geometry.")
}
STEPS, LONG, FINISH_STEPS = 120, 600, 30
PHASE1 = "gaussian, noise .1 (Phase 1)", 0.0011
VARIANTS: dict[str, list[str]] = {
    "as it is": [],
    "10 steps": ["init.distil_steps=10"],
    "100 steps": ["init.distil_steps=100"],
    "rate .2": ["init.distil_rate=0.2"],
    "rate .8": ["init.distil_rate=0.8"],
    "free norm": ["init.distil_norm=free"],
    "own places alone": ["init.distil_contexts=own"],
    "own places and spellings": ["init.distil_contexts=spellings"],
    "cosine": ["init.distil_loss=cosine"],
    "next token": ["init.distil_loss=next_token"],
    "rows by themselves": ["init.distil_learner=rows", "init.distil_rate=0.2"],
    "rows by themselves, 120 steps": ["init.distil_learner=rows", "init.distil_rate=0.2", "init.distil_steps=120"],
}
Measured = dict[str, list[Numbers]]
"""By arm, one for each seed."""


def starts(profile: str, seeds: Sequence[int], arms: dict[str, list[str]], folder: Path) -> Iterator[Figure]:
    """Before any training."""
    null = figures_of_base(prepare(load_knobs(profile)))["validation.loss_base_after_new_null"]
    yield Figure("null: loss behind new", shown([null]), "")
    found: Measured = {}
    for arm, words in arms.items():
        configs = [load_knobs(profile, [*words, f"seed={seed}"]) for seed in seeds]
        began = time.process_time()
        trainings = [start_training(config, prepare(config)) for config in configs]
        yield Figure(f"{arm}: CPU time", (time.process_time() - began) / len(seeds), "s")
        found[arm] = [_told(training, prepare(config)) for training, config in zip(trainings, configs, strict=True)]
        yield from _figures(arm, found[arm], TOLD)
    never = "teaching.hidden_gap_unseen"
    if {"piece_mean", "distilled"} <= found.keys():
        share = _mean(found["distilled"], never) / _mean(found["piece_mean"], never)
        yield Figure("hidden gap, never seen: distilled / piece_mean", share, "", "<= .55", share <= 0.55)


def trained(rate: float, length: int, arms: Sequence[str], folder: Path) -> Iterator[Figure]:
    """At equal time: starts that take none are trained for as many steps more as distillation lasts."""
    extra, cost = steps_of_distillation(rate)
    yield Figure("distillation", cost, "training steps")
    found: Measured = {}
    for arm in arms:
        words, steps = STARTS[arm], length if arm == "distilled" else length + extra
        name = f"{arm}, {steps} steps"
        found[arm] = [
            after_training(load_knobs("tiny", [*words, f"train.lr={rate}", f"train.steps={steps}", f"seed={seed}"]))
            for seed in SEEDS
        ]
        yield from _figures(name, found[arm], TRAINED)
    best = min(found.keys() - {"distilled"}, key=lambda arm: _mean(found[arm], "validation.loss"))
    apart = [
        (one["validation.loss"] or 0.0) - (other["validation.loss"] or 0.0)
        for one, other in zip(found["distilled"], found[best], strict=True)
    ]
    known = interval(apart)
    yield Figure(f"loss: distilled less {best}, the best other", shown(apart), "", "< 0 beyond noise", known.high < 0)
    gap, collapse = (abs(_mean(found["distilled"], f"geometry.{name}")) for name in ("norm_gap_d", "collapse_share"))
    yield Figure("distilled: |d|", gap, "", "<= .3", gap <= 0.3)
    yield Figure("distilled: collapse", collapse, "", "<= .1", collapse <= 0.1)


HEADS: dict[str, tuple[str, float | None]] = {
    "tied": ("native", None),
    "tied, biases at the rows' rate": ("native", 1.0),
    "tied, biases at 10 times it": ("native", 10.0),
    "untied": ("untied", None),
}
"""By the knob, and biases of the new rows by how much faster than rows they learn."""


def heads(rate: float, folder: Path) -> Iterator[Figure]:
    """One matrix or two: what a row that is never right does where the head is its own, or where it has a bias."""
    for start in ("gaussian, noise 1", "piece_mean", "distilled"):
        for name, (head, factor) in HEADS.items():
            words = [*STARTS[start], f"model.head={head}", f"train.lr={rate}", f"train.steps={STEPS}"]
            found = [after_training(load_knobs("tiny", [*words, f"seed={seed}"]), factor) for seed in SEEDS]
            also = OF_HEADS if head == "untied" else {}
            yield from _figures(f"{start}, {name}", found, TRAINED | also)


def finished(
    length: int, starts: Sequence[tuple[str, float]], folder: Path, seeds: Sequence[int] = SEEDS, rare: int = 1
) -> Iterator[Figure]:
    """At equal time: a trial that makes its rare rows anew, and one that is trained for as many steps more instead.

    `rare`: rows are made anew that training met so often at most.
    """
    made_anew = [f"train.finish_steps={FINISH_STEPS}", f"train.finish_rare={rare}"]
    config = load_knobs("tiny", [*STARTS["gaussian, noise 1"], "train.lr=0.01", "train.steps=20", *made_anew])
    material = prepare(config)
    extra, cost = in_steps(config, lambda training: finisher(config, material, training)())
    yield Figure("threads", torch.get_num_threads(), "")
    yield Figure(f"finish of {FINISH_STEPS} steps", cost, "training steps")
    for start, rate in starts:
        found: Measured = {}
        for arm, words in {
            f"control, {length + extra} steps": [f"train.steps={length + extra}"],
            f"finish, {length} steps": [f"train.steps={length}", *made_anew],
        }.items():
            configs = [load_knobs("tiny", [*STARTS[start], f"train.lr={rate}", *words, f"seed={at}"]) for at in seeds]
            found[arm.split(",")[0]] = [after_training(config) for config in configs]
            yield from _figures(f"{start} at {rate}, {arm}", found[arm.split(",")[0]], TRAINED)
        yield from _bars_of_finish(f"{start} at {rate}", found)


def _bars_of_finish(name: str, found: Measured) -> Iterator[Figure]:
    def apart(address: str) -> list[float]:
        return [
            (one[address] or 0.0) - (other[address] or 0.0)
            for one, other in zip(found["finish"], found["control"], strict=True)
        ]

    loss = apart("validation.loss")
    yield Figure(f"{name}, loss: finish less control", shown(loss), "", "<= 0", interval(loss).mean <= 0)
    for what in ("loss on targets seen once", "loss on targets never seen"):
        rare = apart(TRAINED[what])
        yield Figure(f"{name}, {what}: finish less control", shown(rare), "", "<= -1", interval(rare).mean <= -1)
    gap, collapse = (abs(_mean(found["finish"], f"geometry.{at}")) for at in ("norm_gap_d", "collapse_share"))
    yield Figure(f"{name}, finish: |d|", gap, "", "<= .2", gap <= 0.2)
    yield Figure(f"{name}, finish: collapse", collapse, "", "<= .1", collapse <= 0.1)


def steps_of_distillation(rate: float) -> tuple[int, float]:
    """As many training steps as distillation takes CPU time, rounded up, and not."""
    config = load_knobs("tiny", [*STARTS["distilled"], f"train.lr={rate}", "train.steps=20"])
    material = prepare(config)
    return in_steps(config, lambda training: initialise(config, material))


def in_steps(config: RunConfig, work: Callable[[Training], object]) -> tuple[int, float]:
    """CPU time of the work, in training steps: rounded up, and not."""
    training = start_training(config, prepare(config))
    training.update()
    work(training)  # warms up
    seconds = []
    for part in (lambda: work(training), lambda: [training.update() for _ in range(10)]):
        began = time.process_time()
        part()
        seconds.append(time.process_time() - began)
    cost = 10 * seconds[0] / seconds[1]
    return math.ceil(cost), cost


def after_training(config: RunConfig, biases: float | None = None) -> Numbers:
    """Figures of a trial at its last step, without samples, and what its rows tell.

    `biases`: new rows have one each in the head, which learns so much faster than they.
    """
    material = prepare(config)
    training = start_training(config, material)
    if biases is not None:
        training = Training(BiasedModel(training.model, biases), material.corpus, config, training.micro_batch_blocks)
    evaluate = Evaluator(training, material, lambda: None, Stopwatch())
    finish = finisher(config, material, training)
    while not training.is_done:
        training.update()
    finish()
    return evaluate() | training.evaluate(lambda passages: gaps_of(training.model, material, passages))


def _told(training: Training, material: Material) -> Numbers:
    model, size = training.model, material.vocabulary.base_size
    losses = training.evaluate(lambda blocks: validate(model, material.corpus, size, blocks))
    return losses | training.evaluate(lambda passages: gaps_of(model, material, passages))


def _figures(arm: str, found: list[Numbers], told: dict[str, str]) -> Iterable[Figure]:
    return [Figure(f"{arm}: {what}", shown([one[at] for one in found]), "") for what, at in told.items()]


def _mean(found: list[Numbers], address: str) -> float:
    return interval([value for one in found if (value := one[address]) is not None]).mean


def shown(values: Sequence[float | None]) -> str:
    """Mean and half the width of its interval, where there are several."""
    known = interval([value for value in values if value is not None])
    return f"{known.mean:.3f}" if known.count == 1 else f"{known.mean:.3f} ± {known.high - known.mean:.3f}"


PARTS: dict[str, Callable[[Path], Iterable[Figure]]] = {
    "starts": partial(starts, "tiny", SEEDS, STARTS),
    "ablation": partial(
        starts, "tiny", SEEDS, {name: [*STARTS["distilled"], *words] for name, words in VARIANTS.items()}
    ),
    "slow": partial(trained, 0.0011, STEPS, tuple(STARTS)),
    "fast": partial(trained, 0.01, STEPS, ("gaussian, noise 1", "piece_mean", "distilled")),
    "long": partial(trained, 0.0011, LONG, ("gaussian, noise .1 (Phase 1)", "piece_mean", "distilled")),
    "finish": partial(finished, STEPS, (PHASE1, ("gaussian, noise 1", 0.01), ("piece_mean", 0.01))),
    "finish_long": partial(finished, LONG, (PHASE1, ("piece_mean", 0.01))),
    "finish_again": partial(finished, LONG, (("piece_mean", 0.01),), seeds=OTHER_SEEDS),
    "finish_rare": partial(finished, LONG, (PHASE1,), rare=4),
    "both": partial(finished, LONG, (("distilled", 0.0011),)),
    "heads": partial(heads, 0.01),
    "smollm2": partial(starts, "smollm2", SEEDS[:1], {name: STARTS[name] for name in ("piece_mean", "distilled")}),
}

if __name__ == "__main__":
    publish_parts("teaching", PARTS)
