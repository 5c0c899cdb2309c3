"""`python -m bench.teaching [SETTING ...]`: what new rows tell of their words on the profile `tiny`, before and after
training; with settings such as `train.precision=float32`, under those.

Three seeds each, with 95 % intervals of their means: of initialisation and batch order.
"""

import sys

from bench.figures import Figure, publish
from study.config import load_knobs
from study.noise import interval
from wake2vec import Numbers, RunConfig, prepare
from wake2vec.metrics.validation import validate
from wake2vec.start import start_training
from wake2vec.trial import figures_of_base, gaps_of

SEEDS = (42, 43, 44)
STARTS: dict[str, list[str]] = {
    "gaussian, noise .1 (Phase 1)": ["init.name=gaussian", "init.noise_scale=0.1"],
    "gaussian, noise 1": ["init.name=gaussian", "init.noise_scale=1.0"],
    "piece_mean": ["init.name=piece_mean"],
}
TRAININGS: dict[str, list[str]] = {
    "60 steps at .0011 (Phase 1)": ["train.steps=60", "train.lr=0.0011"],
    "60 steps at .01": ["train.steps=60", "train.lr=0.01"],
}
SHOWN = {
    "hidden gap": "teaching.hidden_gap",
    "hidden gap, never seen": "teaching.hidden_gap_unseen",
    "loss behind new": "validation.loss_base_after_new",
}


def main() -> None:
    asked = sys.argv[1:]
    null = figures_of_base(prepare(load_knobs("tiny", asked)))["validation.loss_base_after_new_null"]
    figures = [Figure("null: loss behind new", _shown([null]), "")]
    for start, words in STARTS.items():
        for training, more in TRAININGS.items():
            both = [before_and_after(load_knobs("tiny", [*words, *more, *asked, f"seed={seed}"])) for seed in SEEDS]
            first = training == next(iter(TRAININGS))
            for when, side in ((f"{start}, step 0", 0), (f"{start}, {training}", 1)):
                if side or first:  # the start is one for all trainings
                    figures += [
                        Figure(f"{when}: {what}", _shown([one[side][address] for one in both]), "")
                        for what, address in SHOWN.items()
                    ]
    publish("-".join(["teaching", *asked]), " ".join(["python -m bench.teaching", *asked]), figures)


def before_and_after(config: RunConfig) -> tuple[Numbers, Numbers]:
    material = prepare(config)
    training = start_training(config, material)
    model, size = training.model, material.vocabulary.base_size

    def numbers() -> Numbers:
        losses = training.evaluate(lambda blocks: validate(model, material.corpus, size, blocks))
        return losses | training.evaluate(lambda passages: gaps_of(model, material, passages))

    before = numbers()
    while not training.is_done:
        training.update()
    return before, numbers()


def _shown(values: list[float | None]) -> str:
    """Mean and half the width of its interval, where there are several."""
    known = interval([value for value in values if value is not None])
    return f"{known.mean:.3f}" if known.count == 1 else f"{known.mean:.3f} ± {known.high - known.mean:.3f}"


if __name__ == "__main__":
    main()
