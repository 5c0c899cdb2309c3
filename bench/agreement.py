"""`python -m bench.agreement`: do the cheap numbers rank trials as what they stand for does?

Trials of the profile `tiny` with settings drawn at random; Spearman's rank correlation over them, with the 95 %
interval of a bootstrap over the trials. A number that an objective is made of should agree with what its users want
of it. Trials differ most in how much they trained, which moves everything at once; so what a number stands for is read
a second time at equal training, as the partial correlation given how far the base rows have moved.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from bench.figures import Figure, publish
from study.config import load_config
from study.engine.drive import drive
from study.engine.executor import Watcher
from wake2vec import Numbers, WorkFolder, read_result

TRIALS = 28
RESAMPLES = 2000
SETTINGS = (
    "study.name=agreement",
    f"study.trials={TRIALS}",
    "study.sampler=random",
    "study.seed=1",
    "study.seeds=1",
    "study.anchors=null",
    "study.stopping=null",
)

TRAINED = "geometry.drift_base_l2"
"""How much a trial trained: rate times steps, as the rows tell it."""


@dataclass(frozen=True)
class Pair:
    """A cheap number and what it stands for, by their addresses; `|...|` takes the absolute value."""

    cheap: str
    meant: str
    expected: int
    """Sign of the correlation if the cheap number is right."""


LOSS_SEEN = "validation.loss_new_seen_targets"
RANK = "geometry.effective_rank_new"
PAIRS = (
    Pair("geometry.collapse_share", LOSS_SEEN, 1),
    Pair("geometry.mutual_collapse_share", LOSS_SEEN, 1),
    Pair("geometry.byte_collapse_share", LOSS_SEEN, 1),
    Pair("geometry.cosine_new_new_mean", LOSS_SEEN, 1),
    Pair("geometry.isotropy_new", LOSS_SEEN, -1),
    Pair("geometry.top1_share_new", LOSS_SEEN, 1),
    Pair("geometry.isoscore_new", LOSS_SEEN, -1),
    Pair(RANK, LOSS_SEEN, -1),
    Pair("|geometry.norm_gap_d|", LOSS_SEEN, 1),
    Pair("|log geometry.norm_ratio|", LOSS_SEEN, 1),
    Pair("geometry.norm_wasserstein", LOSS_SEEN, 1),
    Pair("validation.loss", LOSS_SEEN, 1),
    Pair("validation.loss", "validation.loss_base_targets", 1),
    Pair("validation.loss_new_unseen_targets", LOSS_SEEN, 1),
    Pair("geometry.collapse_share", "geometry.cosine_new_new_mean", 1),
    Pair("geometry.collapse_share", RANK, -1),
    Pair("geometry.isotropy_new", RANK, 1),
    Pair("geometry.isotropy_new", "geometry.participation_ratio_new", 1),
    Pair("geometry.top1_share_new", RANK, -1),
    Pair("geometry.isoscore_new", RANK, 1),
    Pair("geometry.isotropy_new", "geometry.collapse_share", -1),
    Pair("|geometry.norm_gap_d|", "geometry.norm_wasserstein", 1),
    Pair("|geometry.norm_gap_d|", "|log geometry.norm_ratio|", 1),
    Pair("geometry.drift_base_l2", "validation.loss_base_targets", 1),
)


class Silent(Watcher):
    """A watcher that says nothing."""


def main() -> None:
    trials = trial_numbers()
    figures = [Figure("trials, drawn at random", len(trials), "")]
    for pair in PAIRS:
        cheap, meant = values_of(pair.cheap, trials), values_of(pair.meant, trials)
        name = f"{short(pair.cheap)} with {short(pair.meant)}"
        figures.append(agreement(name, pair.expected, cheap, meant, None))
        if pair.cheap != TRAINED:
            trained = values_of(TRAINED, trials)
            figures.append(agreement(f"  at equal training: {name}", pair.expected, cheap, meant, trained))
    publish("agreement", "python -m bench.agreement", figures)


def trial_numbers() -> list[Numbers]:
    """The figures of each finished trial of a study whose settings are all drawn at random."""
    config = load_config("tiny", SETTINGS)
    with tempfile.TemporaryDirectory() as name:
        outcome = drive(config, Path(name), Silent())
        return [read_result(WorkFolder(Path(name) / "trials" / trial.digest)).numbers for trial in outcome.trials]


def values_of(address: str, trials: Sequence[Mapping[str, float | None]]) -> np.ndarray:
    """One value a trial, NaN where it is undefined; `|x|` and `|log x|` are computed."""
    inner = address.strip("|").removeprefix("log ")
    values = np.array([numbers[inner] if numbers[inner] is not None else np.nan for numbers in trials], dtype=float)
    if "log " in address:
        values = np.log(values)
    return np.abs(values) if address.startswith("|") else values


def agreement(name: str, expected: int, cheap: np.ndarray, meant: np.ndarray, given: np.ndarray | None) -> Figure:
    """`+0.93 (+0.85 to +0.97)`, which holds where the whole interval has the expected sign."""
    columns = [cheap, meant, *([] if given is None else [given])]
    known = ~np.isnan(columns).any(0)
    columns = [column[known] for column in columns]
    if known.sum() < 4 or any(np.ptp(column) == 0 for column in columns):
        return Figure(name, "undefined: one of them never differs", "")
    random = np.random.default_rng(0)
    drawn = random.integers(known.sum(), size=(RESAMPLES, known.sum()))
    low, high = np.quantile([rank_correlation(*(column[at] for column in columns)) for at in drawn], [0.025, 0.975])
    text = f"{rank_correlation(*columns):+.2f} ({low:+.2f} to {high:+.2f})"
    return Figure(name, text, "", "> 0" if expected > 0 else "< 0", bool(min(expected * low, expected * high) > 0))


def rank_correlation(x: np.ndarray, y: np.ndarray, given: np.ndarray | None = None) -> float:
    """Spearman's: Pearson's of the ranks, ties at their mean rank; 0 where one doesn't differ.

    With `given`, the partial correlation: of what is left of both ranks after a line through the ranks of `given`.
    """
    ranks = [rankdata(x), rankdata(y)]
    if given is not None:
        third = rankdata(given)
        ranks = [rank - np.polyval(np.polyfit(third, rank, 1), third) for rank in ranks]
    if any(np.ptp(rank) < 1e-9 for rank in ranks):
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


def short(address: str) -> str:
    return address.replace("geometry.", "").replace("validation.", "")


if __name__ == "__main__":
    main()
