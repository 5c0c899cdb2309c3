"""Pictures of Phase 1's known issues, each drawn on the same axes for every trial that is compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from study.pictures.canvas import Array, finite
from study.report.svg import NumberScale, Panel, line, mark, panel, path, steps, text
from wake2vec import Numbers, null_of

HEADLINE_TAU = 0.95
BINS = 48
DIRECTIONS = 12
SIZE = 380.0, 230.0
ROW_KEYS = ("new area", "new rows"), ("base curve", "base rows")


@dataclass(frozen=True, eq=False)
class Side:
    """One of the trials that are compared."""

    title: str
    numbers: Numbers
    arrays: Mapping[str, Array]

    @property
    def norms(self) -> list[Array]:
        """Of the base rows, and of the new rows."""
        return np.split(self.arrays["norms"], [int(self.arrays["base_count"].item())])

    def number(self, address: str) -> float | None:
        return self.numbers.get(address)


def norm_pictures(sides: Sequence[Side]) -> tuple[Markup, ...]:
    """Histograms of the norms of base and new rows."""
    split = [side.norms for side in sides]
    ends = np.quantile(np.concatenate([rows for pair in split for rows in pair]), [0.001, 0.999])
    return _histograms(sides, split, (float(ends[0]), float(ends[1])), "L2 norm of a row")


def cosine_pictures(sides: Sequence[Side]) -> tuple[Markup, ...]:
    """Histograms of the pairwise cosines of base and new rows."""
    pairs = [[side.arrays["cosines_base_base"], side.arrays["cosines_new_new"]] for side in sides]
    ends = np.quantile(finite(np.concatenate([rows for pair in pairs for rows in pair])), [0.001, 0.999])
    return _histograms(sides, pairs, (float(ends[0]), float(ends[1])), "cosine of a pair of rows", "pairs")


def neighbour_pictures(sides: Sequence[Side]) -> tuple[Markup, ...]:
    """Histograms of each new row's cosine to its nearest base row, and what noise reads."""
    nearest = [side.arrays.get("neighbour_cosines", np.zeros((0, 1)))[:, 0].astype(float) for side in sides]
    values = finite(np.concatenate(nearest))
    if not values.size:
        return tuple(Markup("") for _ in sides)
    nulls = [null_of("geometry.neighbour_cosine_mean", side.numbers) for side in sides]
    return _histograms(
        sides, [[rows] for rows in nearest], (float(values.min()), 1.0), "cosine to the nearest base row", nulls=nulls
    )


def collapse_pictures(sides: Sequence[Side]) -> tuple[Markup, ...]:
    """The share of new rows that lie at a cosine of at least τ on byte rows, or on ten of each other."""
    taus = np.linspace(0.5, 1, 101)
    drawn = []
    for side in sides:
        axes = panel(*SIZE, (0.5, 1.0), (0.0, 1.0), "cosine, at least", "share of new rows")
        parts = [line(axes.x.at(HEADLINE_TAU), axes.y.start, axes.x.at(HEADLINE_TAU), axes.y.stop, "guide")]
        for name, classes in (("byte_cosines", "new curve"), ("mutual_cosines", "each-other curve")):
            cosines = side.arrays.get(name, np.zeros(0))
            ranked = np.sort(finite(cosines))
            if ranked.size:
                shares = (ranked.size - np.searchsorted(ranked, taus)) / cosines.size
                parts.append(
                    path(
                        [(axes.x.at(tau), axes.y.at(s)) for tau, s in zip(taus, shares.tolist(), strict=True)], classes
                    )
                )
        if len(parts) == 1:
            parts.append(text(SIZE[0] / 2, SIZE[1] / 2, "not defined for these rows", "middle", "soft"))
        parts += _keys(("new curve", "onto byte rows"), ("each-other curve", "each other"))
        drawn.append(axes.drawn(f"Collapse curves of {side.title}", *parts))
    return tuple(drawn)


def spectrum_pictures(sides: Sequence[Side]) -> tuple[Markup, ...]:
    """The shares of variance of the first principal directions."""
    shares = [[_shares(side.arrays[f"spectrum_{group}"]) for group in ("base", "new")] for side in sides]
    top = max(float(rows.max(initial=0.05)) for pair in shares for rows in pair)
    edges = np.arange(DIRECTIONS + 1) + 0.5
    drawn = []
    for side, (base, new) in zip(sides, shares, strict=True):
        axes = panel(*SIZE, (0.5, DIRECTIONS + 0.5), (0.0, 1.05 * top), "principal direction", "share of variance")
        parts = [steps(edges.tolist(), new.tolist(), axes.x, axes.y, "new area")]
        parts.append(steps(edges.tolist(), base.tolist(), axes.x, axes.y, "base curve"))
        parts += _null_line(axes, null_of("geometry.top1_share_new", side.numbers))
        drawn.append(axes.drawn(f"Spectra of {side.title}", *parts, *_keys(*ROW_KEYS)))
    return tuple(drawn)


def spacing_pictures(sides: Sequence[Side]) -> tuple[Markup, ...]:
    """The rate of spacing artefacts with its 95 % interval, and the held-out text's own rate."""
    names = ("sample.spacing_rate", "sample.spacing_rate_low", "sample.spacing_rate_high", "sample.spacing_rate_corpus")
    rates = [[side.number(name) for name in names] for side in sides]
    top = 1.1 * max([0.01, *(rate for row in rates for rate in row if rate is not None)])
    drawn = []
    for side, (rate, low, high, corpus) in zip(sides, rates, strict=True):
        across, upwards = NumberScale(0.0, top, 52, SIZE[0] - 14), NumberScale(0.0, 1.0, 88, 16, count=0)
        axes = Panel(SIZE[0], 130, across, upwards, "share of all word boundaries", "")
        y, parts = axes.y.at(0.5), []
        if rate is not None and low is not None and high is not None:
            parts += [
                line(axes.x.at(low), y, axes.x.at(high), y, "new curve"),
                mark("front", axes.x.at(rate), y, "new dot"),
            ]
        if corpus is not None:
            x = axes.x.at(corpus)
            parts += [line(x, axes.y.start, x, axes.y.stop, "guide"), text(x + 6, 26, "held-out text", classes="soft")]
        drawn.append(axes.drawn(f"Spacing artefacts of {side.title}", *parts))
    return tuple(drawn)


def _histograms(
    sides: Sequence[Side],
    groups: Sequence[Sequence[Array]],
    ends: tuple[float, float],
    x_label: str,
    what: str = "rows",
    nulls: Sequence[float | None] = (),
) -> tuple[Markup, ...]:
    """Of each side the groups' shares by bin: the last group filled, one before it as an outline."""
    margin = 0.03 * (ends[1] - ends[0]) or 0.01
    edges = np.linspace(ends[0] - margin, ends[1] + margin, BINS + 1)
    shares = [[_binned(rows, edges) for rows in pair] for pair in groups]
    top = 1.12 * max(float(heights.max()) for pair in shares for heights in pair)
    drawn = []
    for place, (side, heights) in enumerate(zip(sides, shares, strict=True)):
        axes = panel(*SIZE, (float(edges[0]), float(edges[-1])), (0.0, top), x_label, f"% of {what} per bin")
        parts = [steps(edges.tolist(), heights[-1].tolist(), axes.x, axes.y, "new area")]
        if len(heights) > 1:
            parts.append(steps(edges.tolist(), heights[0].tolist(), axes.x, axes.y, "base curve"))
        if nulls and (null := nulls[place]) is not None and axes.x.holds(null):
            parts.append(line(axes.x.at(null), axes.y.start, axes.x.at(null), axes.y.stop, "guide"))
            parts.append(text(axes.x.at(null) + 5, axes.y.stop + 12, "noise", classes="soft"))
        keys = ROW_KEYS if len(heights) > 1 else ROW_KEYS[:1]
        drawn.append(axes.drawn(f"{x_label}: {side.title}", *parts, *_keys(*keys)))
    return tuple(drawn)


def _binned(rows: Array, edges: Array) -> Array:
    """Per cent of the rows by bin; what lies beyond the edges is counted in the bin at that end."""
    counts, _ = np.histogram(np.clip(finite(rows.astype(float)), edges[0], edges[-1]), edges)
    return np.asarray(100 * counts / max(rows.size, 1))


def _shares(eigenvalues: Array) -> Array:
    values = np.clip(np.sort(eigenvalues.astype(float))[::-1], 0, None)
    return np.asarray((values / (values.sum() or 1.0))[:DIRECTIONS])


def _null_line(axes: Panel, null: float | None) -> list[Markup]:
    if null is None or not axes.y.holds(null):
        return []
    y = axes.y.at(null)
    return [line(axes.x.start, y, axes.x.stop, y, "guide"), text(axes.x.stop, y - 4, "noise", "end", "soft")]


def _keys(*keys: tuple[str, str]) -> list[Markup]:
    """What the lines are, above the panel on the right."""
    parts, right = [], SIZE[0] - 14
    for classes, words in reversed(keys):
        parts += [text(right, 16, words, "end")]
        right -= 6.6 * len(words) + 6
        parts += [line(right - 20, 12, right, 12, classes)]
        right -= 32
    return parts
