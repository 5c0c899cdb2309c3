"""The charts of one run's embedding, drawn on the same axes for all that are compared: norms, cosines, spectra.

The report sets them side by side, a known issue at a time; a work folder holds six of them as one picture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.charts.canvas import (
    BLUE,
    GREEN,
    INK,
    SOFT,
    VERMILLION,
    Array,
    Panel,
    figure_of,
    finite,
    label_axes,
    say,
    window,
)
from wake2vec import Numbers, null_of

SIZE_IN = 4.2, 2.6
MARGINS = {"left": 0.065, "right": 0.985, "bottom": 0.07, "top": 0.85, "wspace": 0.26, "hspace": 0.56}
"""Of a picture of six panels: known, since to find them takes as long as to draw."""
HEADLINE_TAU = 0.95
UNMOVED_COSINE = 1 - 1e-6
"""float32 leaves a row that never moved this close to 1."""
BINS = 64
LOOKS: dict[str, tuple[str, str]] = {
    "base": (BLUE, "--"),
    "new": (VERMILLION, "-"),
    "base–base": (BLUE, "--"),
    "new–new": (VERMILLION, "-"),
    "base–new": (GREEN, ":"),
}
"""Colour and line of groups of rows, and of pairs of them."""


@dataclass(frozen=True, eq=False)
class Side:
    """A run's embedding of at least one base and one new row, as it was measured."""

    title: str
    numbers: Numbers
    arrays: Mapping[str, Array]

    @property
    def norms(self) -> list[Array]:
        """Of the base rows, and of the new rows."""
        return np.split(self.arrays["norms"], [int(self.arrays["base_count"].item())])

    def number(self, address: str) -> float | None:
        return self.numbers.get(address)


def embedding_figure(side: Side) -> Figure:
    """Norms, pairwise cosines, spectrum, drift, norm by index and collapse, each with its numbers."""
    number = partial(_written, side)
    base, new = number("norm_base_mean"), number("norm_new_mean")
    byte, either = number("byte_collapse_share"), number("collapse_share")
    panels = {
        f"(a) Norms of rows\nd = {number('norm_gap_d', '+.2f')} (base minus new)\nmean: base {base}, new {new}": norms,
        f"(b) Pairwise cosine\nKS D = {number('cosine_ks')} (base–base, new–new)\n"
        f"isotropy new {number('isotropy_new')}, noise reads {number('isotropy_new_null')}": cosines,
        f"(c) Spectrum\ntop-1 share: base {number('top1_share_base')}, new {number('top1_share_new')}\n"
        f"to hold 90 %: {_needed(side, 'base')}, {_needed(side, 'new')}": spectra,
        f"(d) Drift of base rows\n{_drift_told(side)}": drift,
        f"(e) Norm by index\nmedian, 5–95 %, min–max\ndashed: first new row, {len(side.norms[0]):,}": norms_by_index,
        f"(f) Collapse of new rows\nat τ = {HEADLINE_TAU}: onto byte rows {byte}\n"
        f"onto byte rows or each other {either}": collapse,
    }
    return figure_of([_headed(chart([side])[0], head) for head, chart in panels.items()], side.title, MARGINS)


def norms(sides: Sequence[Side]) -> list[Panel]:
    """Histograms of the norms of base and new rows."""
    groups = [dict(zip(("base", "new"), side.norms, strict=True)) for side in sides]
    return _histograms(sides, groups, "L2 norm of a row", "rows per bin, %")


def cosines(sides: Sequence[Side]) -> list[Panel]:
    """Histograms of the cosines of pairs of base and new rows."""
    pairs = ("base–base", "new–new", "base–new")
    groups = [{pair: side.arrays[f"cosines_{pair.replace('–', '_')}"] for pair in pairs} for side in sides]
    return _histograms(sides, groups, "cosine of a pair of rows", "pairs per bin, %")


def neighbours(sides: Sequence[Side]) -> list[Panel]:
    """Histograms of each new row's cosine to its nearest base row, and what noise reads."""
    nearest = [side.arrays.get("neighbour_cosines", np.zeros((0, 1)))[:, 0].astype(float) for side in sides]
    nulls = [null_of("geometry.neighbour_cosine_mean", side.numbers) for side in sides]
    return _histograms(
        sides, [{"new": rows} for rows in nearest], "cosine to the nearest base row", "rows per bin, %", nulls
    )


def collapse(sides: Sequence[Side]) -> list[Panel]:
    """The share of new rows that lie at a cosine of at least τ on byte rows, or on ten of each other."""
    taus = np.linspace(0.5, 1, 201)

    def draw(side: Side, ax: Axes) -> None:
        label_axes(ax, "cosine ≥ τ (each other: to 10 of them)", "share of new rows")
        is_defined = np.isfinite(side.arrays["curve_shares"].astype(float)).any()
        curves = {
            "onto byte rows": (side.arrays["byte_cosines"] if is_defined else np.array([]), VERMILLION, "-"),
            "onto each other": (side.arrays.get("mutual_cosines", np.array([])), GREEN, "--"),
        }
        if not any(own.size for own, _, _ in curves.values()):
            say(ax, "byte collapse undefined:\nno coherent group of\nunreachable byte rows")
            return
        for name, (own, colour, line) in curves.items():
            ranked, label = np.sort(finite(own)), name if own.size else f"{name}: undefined"
            shares = (ranked.size - np.searchsorted(ranked, taus)) / (own.size or np.nan)
            ax.plot(taus, shares, color=colour, ls=line, label=label)
        ax.axvline(HEADLINE_TAU, color=INK, linewidth=1, linestyle=":")
        ax.set(xlim=(0.5, 1), ylim=(0, 1.03))
        ax.legend(loc="lower left")

    return _each(sides, "Collapse curves", draw)


def spectra(sides: Sequence[Side]) -> list[Panel]:
    """The share of variance that so many principal directions hold together; the first one's share is marked."""

    def draw(side: Side, ax: Axes) -> None:
        label_axes(ax, "principal directions", "share of variance together")
        for group in ("base", "new"):
            share, (colour, line) = _shares(side, group).cumsum(), LOOKS[group]
            ax.plot(np.arange(share.size) + 1, share, line, color=colour, label=group, marker="o", markevery=[0])
        if (null := null_of("geometry.top1_share_new", side.numbers)) is not None:
            ax.plot([1], [null], "_", color=INK, markersize=16, clip_on=False, label="first, in noise")
        ax.axhline(0.9, color=SOFT, linewidth=0.8, linestyle=":")
        ax.set(xscale="log", ylim=(0, 1.03), xlim=(0.9, None))
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.minorticks_off()
        ax.legend(loc="lower right")

    return _each(sides, "Spectra", draw)


def drift(sides: Sequence[Side]) -> list[Panel]:
    """Cosines of base rows, before to after."""

    def draw(side: Side, ax: Axes) -> None:
        own = finite(side.arrays["drift_cosine_base"])
        if not own.size:
            say(ax, "not known:\nno rows from before")
            return
        label_axes(ax, "cosine of a row, before to after", "rows per bin, %")
        if own.min() >= UNMOVED_COSINE:
            is_rescaled = bool(side.number("geometry.drift_base_l2"))
            say(ax, "base rows changed\nin length only" if is_rescaled else "base rows unchanged")
            return
        edges = np.linspace(window(np.quantile(own, [0.001, 0.999]), own)[0], 1, BINS + 1)
        _stairs(ax, _binned(own, edges), edges, "base", f"base (n = {own.size:,})")
        ax.legend(loc="upper left")

    return _each(sides, "Drift", draw)


def norms_by_index(sides: Sequence[Side]) -> list[Panel]:
    """Median, 5th to 95th percentile, least and greatest norm of rows that stand together in the matrix."""

    def draw(side: Side, ax: Axes) -> None:
        every, border = side.arrays["norms"], len(side.norms[0])
        width = -(-every.size // 200)
        label_axes(ax, f"row of the embedding, {width:,} together", "L2 norm")
        for start, rows, group in zip((0, border), side.norms, ("base", "new"), strict=True):
            whole, (colour, _) = len(rows) // width * width, LOOKS[group]
            bins = [rows[:whole].reshape(-1, width), *([rows[None, whole:]] if whole < len(rows) else [])]
            levels = np.concatenate([np.quantile(own, [0, 0.05, 0.5, 0.95, 1], axis=1) for own in bins], axis=1)
            at = start + np.minimum(np.arange(0, len(rows), width) + width / 2, len(rows))
            ax.fill_between(at, levels[0], levels[4], color=colour, alpha=0.15, linewidth=0)
            ax.fill_between(at, levels[1], levels[3], color=colour, alpha=0.4, linewidth=0)
            ax.plot(at, levels[2], color=colour, linewidth=1.2)
            x, ha = (0.02, "left") if group == "base" else (0.98, "right")
            ax.text(x, 0.98, group, transform=ax.transAxes, va="top", ha=ha, color=colour)
        ax.axvline(border, color=INK, linewidth=1, linestyle="--")
        ax.set(xlim=(0, every.size), ylim=(0, 1.15 * every.max()))
        ax.locator_params(axis="x", nbins=4)
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.yaxis.set_major_formatter("{x:.3g}")

    return _each(sides, "Norms by index", draw)


def spacing(sides: Sequence[Side]) -> list[Panel]:
    """The rate of spacing artefacts with its 95 % interval, and the held-out text's own rate."""
    names = [f"sample.spacing_rate{end}" for end in ("", "_low", "_high", "_corpus")]
    rates = {side.title: [side.number(name) for name in names] for side in sides}
    top = 1.1 * max([0.01, *(rate for row in rates.values() for rate in row if rate is not None)])

    def draw(side: Side, ax: Axes) -> None:
        label_axes(ax, "share of all word boundaries", "")
        rate, low, high, corpus = rates[side.title]
        if rate is not None and low is not None and high is not None:
            ax.plot([low, high], [0, 0], color=VERMILLION, linewidth=2)
            ax.plot([rate], [0], "o", color=VERMILLION, markersize=7, label="samples")
        if corpus is not None:
            ax.axvline(corpus, color=INK, linewidth=1, linestyle=":", label="held-out text")
        ax.set(xlim=(0, top), ylim=(-1, 1.8), yticks=[])
        ax.legend(loc="upper right", ncols=2)

    return [replace(panel, size_in=(4.2, 1.4)) for panel in _each(sides, "Spacing artefacts", draw)]


EXPOSURES = {"seen_5_up": "5 times up", "seen_2_4": "2 to 4 times", "seen_1": "once", "unseen": "never"}
"""Classes of new tokens by how often training met them, the lowest of the picture first, and their names there."""


def untaught(sides: Sequence[Side]) -> list[Panel]:
    """The loss on base tokens right behind a new one, by how often training met that, and the base model's own."""
    address = "validation.loss_base_after_{}"
    losses = {
        side.title: [[side.number(address.format(name) + end) for name in EXPOSURES] for end in ("", "_null")]
        for side in sides
    }
    every = np.array([loss for both in losses.values() for row in both for loss in row if loss is not None])

    def draw(side: Side, ax: Axes) -> None:
        label_axes(ax, "loss behind a new token, nats", "met in training")
        for row, marker, colour, label in zip(
            losses[side.title], ("o", "|"), (VERMILLION, INK), ("trial", "base, behind the pieces"), strict=True
        ):
            known = [(loss, at) for at, loss in enumerate(row) if loss is not None]
            if known:
                ax.plot(*zip(*known, strict=True), marker, color=colour, markersize=8, label=label)
        if every.size:
            ax.set_xlim(*window(every, every))
        ax.set(ylim=(-0.6, len(EXPOSURES) + 0.4), yticks=range(len(EXPOSURES)), yticklabels=EXPOSURES.values())
        if ax.get_legend_handles_labels()[1]:
            ax.legend(loc="upper right", ncols=2)

    return [replace(panel, size_in=(4.2, 2.0)) for panel in _each(sides, "Loss behind new tokens", draw)]


def _each(sides: Sequence[Side], what: str, draw: Callable[[Side, Axes], None]) -> list[Panel]:
    return [Panel(f"{what} of {side.title}", partial(draw, side), size_in=SIZE_IN) for side in sides]


def _histograms(
    sides: Sequence[Side],
    groups: Sequence[Mapping[str, Array]],
    x_label: str,
    y_label: str,
    nulls: Sequence[float | None] = (),
) -> list[Panel]:
    """Shares by bin of each side's groups, in the same bins; what lies beyond them is counted in those at the ends."""
    every = finite(np.concatenate([rows.astype(float) for own in groups for rows in own.values()]))
    every = every if every.size else np.array([0.0, 1.0])
    edges = np.linspace(*window(np.quantile(every, [0.001, 0.999]), every), BINS + 1)
    heights = [{name: _binned(rows, edges) for name, rows in own.items()} for own in groups]
    top = max(float(height.max()) for own in heights for height in own.values())

    def draw(side: Side, ax: Axes) -> None:
        place = list(sides).index(side)
        for name, height in heights[place].items():
            _stairs(ax, height, edges, name, f"{name} (n = {groups[place][name].size:,})")
        if nulls and (null := nulls[place]) is not None and edges[0] <= null <= edges[-1]:
            ax.axvline(null, color=INK, linewidth=1, linestyle=":", label="noise")
        ax.set(xlim=(edges[0], edges[-1]), ylim=(0, (1.05 + 0.14 * len(heights[place])) * top))  # room for the legend
        label_axes(ax, x_label, y_label)
        ax.legend(loc="upper right")

    return _each(sides, x_label, draw)


def _stairs(ax: Axes, heights: Array, edges: Array, group: str, label: str = "") -> None:
    colour, line = LOOKS[group]
    filled = ax.stairs(heights, edges, fill=True, ls=line, lw=1.3, label=label or group)
    filled.set(facecolor=(colour, 0.2), edgecolor=colour)


def _binned(rows: Array, edges: Array) -> Array:
    counts, _ = np.histogram(np.clip(finite(rows.astype(float)), edges[0], edges[-1]), edges)
    return np.asarray(100 * counts / max(rows.size, 1))


def _shares(side: Side, group: str) -> Array:
    """Of variance, by direction, the largest first."""
    values = np.clip(np.sort(side.arrays[f"spectrum_{group}"].astype(float))[::-1], 0, None)
    return np.asarray(values / (values.sum() or 1.0))


def _headed(panel: Panel, head: str) -> Panel:
    name, text = head.split("\n", 1)

    def draw(ax: Axes) -> None:
        panel.draw(ax)
        # With y given matplotlib needn't look for what the title might overlap.
        ax.set_title(name, fontsize=10, fontweight="bold", y=1.0, pad=31)
        ax.annotate(text, (0, 1), (0, 4), xycoords="axes fraction", textcoords="offset points")

    return replace(panel, draw=draw, size_in=(10 / 3, 3.55))


def _needed(side: Side, group: str) -> str:
    share = _shares(side, group).cumsum()
    return f"{group} {np.searchsorted(share, 0.9) + 1:,}" if share[-1:].any() else f"{group} undefined"


def _drift_told(side: Side) -> str:
    own = finite(side.arrays["drift_cosine_base"])
    if not own.size:
        return ""
    told = f"mean cosine {_written(side, 'drift_base_cosine')}, mean L2 {_written(side, 'drift_base_l2')}"
    return f"{told}\n5 % of rows below {np.quantile(own, 0.05):.3f}, lowest {own.min():.3f}"


def _written(side: Side, key: str, form: str = "#.3g") -> str:
    value = side.number(f"geometry.{key}")
    return "undefined" if value is None or not np.isfinite(value) else format(value, form)
