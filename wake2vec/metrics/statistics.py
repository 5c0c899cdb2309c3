"""Statistics of samples: the distance of two, what it reads of one distribution, and 95 % intervals."""

import math

import numpy as np
import scipy.stats
from jaxtyping import Float
from torch import Tensor

NORMAL_95 = 1.959964
"""95 % of a normal distribution lie within so many standard deviations."""


def values(sample: Float[Tensor, " values"]) -> np.ndarray:
    """For SciPy: float64, on the CPU."""
    found: np.ndarray = sample.double().cpu().numpy()
    return found


def ks_distance(x: Float[Tensor, " x"], y: Float[Tensor, " y"]) -> float | None:
    """Kolmogorov-Smirnov distance D: the largest gap between the two empirical distribution functions.

    0 to 1, lower is more alike; null: about .87 * sqrt(1/x + 1/y). On samples D keeps its size as the samples
    grow, its p-value doesn't. None where a sample is empty.
    """
    if not len(x) or not len(y):
        return None
    return float(scipy.stats.ks_2samp(values(x), values(y), method="asymp").statistic)


def ks_distance_null(x: int, y: int) -> float:
    """Mean `ks_distance` of two samples of these sizes of one distribution: sqrt(pi / 2) ln 2 sqrt(1/x + 1/y).

    The mean of Kolmogorov's law: right to 2 % for samples of 1,000 (a little high), exact for large ones.
    """
    return math.sqrt(math.pi / 2) * math.log(2) * math.sqrt(1 / x + 1 / y)


def ks_interval(distance: float, x: int, y: int) -> tuple[float, float]:
    """95 % interval of the distance of two distributions, from the `ks_distance` of samples of these sizes.

    Each empirical distribution function lies within sqrt(ln(80) / (2 n)) of its own with probability .975
    (Dvoretzky-Kiefer-Wolfowitz, Massart 1990), so that D is off by the sum of both at the most. It holds for every
    distribution and size and is on the safe side; a bootstrap of D isn't sound where the distributions are equal.
    """
    reach = sum(math.sqrt(math.log(80) / (2 * count)) for count in (x, y))
    return max(distance - reach, 0.0), min(distance + reach, 1.0)


def std_interval(sample: Float[Tensor, " pairs"]) -> tuple[float, float] | None:
    """95 % interval of the spread over all pairs, from a sample of them; None where there is none.

    s -+ 1.96 sqrt((m4 - s^4) / (4 s^2 n)), m4 the fourth central moment (delta method). Pairs are drawn independently
    out of all pairs, so that theory of independent draws holds, though pairs share rows. Not below 0.
    """
    if not len(sample):
        return None
    centred = sample.double() - sample.double().mean()
    variance = float(centred.square().mean())
    if variance == 0:
        return 0.0, 0.0
    error = math.sqrt(max(float(centred.pow(4).mean()) - variance**2, 0.0) / (4 * variance * len(sample)))
    return max(math.sqrt(variance) - NORMAL_95 * error, 0.0), math.sqrt(variance) + NORMAL_95 * error


def wilson_interval(share: float, count: float) -> tuple[float, float]:
    """95 % interval of a share of `count` independent trials, more than 0 of them (Wilson 1927). Within 0 and 1."""
    z2 = NORMAL_95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def sampled_share_interval(share: float, sample: int, population: int) -> tuple[float, float]:
    """95 % interval of the share of a population from that of a sample without replacement; its own where all are in.

    Wilson's, for the sample with replacement that tells as much: n (N - 1) / (N - n) trials. Within 0 and 1.
    """
    if sample == population:
        return share, share
    return wilson_interval(share, sample * (population - 1) / (population - sample))
