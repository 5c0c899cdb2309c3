"""95 % intervals of a share: what a figure that was counted on a sample may be in truth."""

import math

NORMAL_95 = 1.959964
"""95 % of a normal distribution lie within so many standard deviations."""


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
