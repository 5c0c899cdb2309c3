"""The picture of one trial's embedding: norms, pairwise cosines, spectrum, drift, norm by index, collapse."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import LegendLocType

from study.pictures.canvas import BLUE, GREEN, GREY, VERMILLION, Array, blank_figure, finite, label_axes, say, window

Numbers = Mapping[str, float | None]
MARGINS = {"left": 0.065, "right": 0.985, "bottom": 0.07, "top": 0.85, "wspace": 0.26, "hspace": 0.56}
HEADLINE_TAU = 0.95
UNMOVED_COSINE = 1 - 1e-6  # float32 leaves a row that never moved this close to 1


def embedding_figure(arrays: Mapping[str, Array], numbers: Numbers, title: str) -> Figure:
    """Six panels of one trial's embedding of at least one base and one new row; keys as in the panels."""
    figure = blank_figure(7.6, title, MARGINS)
    for place, panel in enumerate((_norms, _cosines, _spectrum, _drift, _norm_by_index, _collapse), start=1):
        panel(figure.add_subplot(2, 3, place), arrays, numbers)
    return figure


def _norms(ax: Axes, arrays: Mapping[str, Array], numbers: Numbers) -> None:
    norms, border = arrays["norms"], int(arrays["base_count"].item())
    low, high = window(np.quantile(norms, [0.0005, 0.9995]), norms)
    for values, name, colour in ((norms[:border], "base", BLUE), (norms[border:], "new", VERMILLION)):
        _histogram(ax, values, np.linspace(max(low, 0.0), high, 81), f"{name} (n = {values.size:,})", colour)
    _legend(ax, "upper right")
    base, new = _of(numbers, "norm_base_mean"), _of(numbers, "norm_new_mean")
    text = f"d = {_of(numbers, 'norm_gap_d', '+.2f')} (base minus new)\nmean: base {base}, new {new}"
    label_axes(ax, "L2 norm", "rows per bin, %", "(a) Norms of rows", text)


def _cosines(ax: Axes, arrays: Mapping[str, Array], numbers: Numbers) -> None:
    pairs = ("base_base", BLUE, "-"), ("new_new", VERMILLION, "-"), ("base_new", GREEN, "--")
    every = finite(np.concatenate([arrays[f"cosines_{pair}"] for pair, _, _ in pairs]))
    edges = np.linspace(every.min(initial=0.0), every.max(initial=0.1), 81)
    for pair, colour, line in pairs:
        _histogram(ax, arrays[f"cosines_{pair}"], edges, pair.replace("_", "–"), colour, line)
    _legend(ax, "upper center")
    ks, new, null = (_of(numbers, key) for key in ("cosine_ks", "isotropy_new", "isotropy_new_null"))
    text = f"KS D = {ks} (base–base, new–new)\nisotropy new {new}, noise reads {null}"
    label_axes(ax, "cosine of a pair of rows", "pairs per bin, %", "(b) Pairwise cosine", text)


def _spectrum(ax: Axes, arrays: Mapping[str, Array], numbers: Numbers) -> None:
    needed = []
    for name, colour, line in (("base", BLUE, "-"), ("new", VERMILLION, "--")):
        values = np.clip(arrays[f"spectrum_{name}"].astype(float), 0, None)
        share = values.cumsum() / (values.sum() or 1)
        needed.append(f"{name} {np.searchsorted(share, 0.9) + 1:,}" if values.any() else f"{name} undefined")
        ax.plot(np.arange(share.size) + 1, share, line, color=colour, label=name, marker="o", markevery=[0])
    ax.axhline(0.9, color=GREY, linewidth=0.8, linestyle=":")
    ax.set(xscale="log", ylim=(0, 1.03))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.minorticks_off()
    _legend(ax, "lower right")
    base, new = _of(numbers, "top1_share_base"), _of(numbers, "top1_share_new")
    text = f"top-1 share: base {base}, new {new}\nto hold 90 %: {', '.join(needed)}"
    label_axes(ax, "principal components", "cumulative share of variance", "(c) Spectrum", text)


def _drift(ax: Axes, arrays: Mapping[str, Array], numbers: Numbers) -> None:
    cosines = finite(arrays["drift_cosine_base"])
    if not cosines.size:
        say(ax, "not known:\nno rows from before")
        label_axes(ax, "", "", "(d) Drift of base rows", "")
        return
    if cosines.min() < UNMOVED_COSINE:
        start = window(np.quantile(cosines, [0.001, 0.999]), cosines)[0]
        _histogram(ax, cosines, np.linspace(start, 1, 61), f"base (n = {cosines.size:,})", BLUE)
        _legend(ax, "upper left")
    else:
        rescaled = bool(numbers.get("geometry.drift_base_l2"))
        say(ax, "base rows changed\nin length only" if rescaled else "base rows unchanged")
    mean, length = _of(numbers, "drift_base_cosine"), _of(numbers, "drift_base_l2")
    fifth = np.quantile(cosines, 0.05)
    text = f"mean cosine {mean}, mean L2 {length}\n5 % of rows below {fifth:.3f}, lowest {cosines.min():.3f}"
    label_axes(ax, "cosine of a row, before to after", "rows per bin, %", "(d) Drift of base rows", text)


def _norm_by_index(ax: Axes, arrays: Mapping[str, Array], _: Numbers) -> None:
    norms, border = arrays["norms"], int(arrays["base_count"].item())
    width = -(-norms.size // 200)
    for start, stop, colour in ((0, border, BLUE), (border, norms.size, VERMILLION)):
        whole = start + (stop - start) // width * width
        bins = [norms[start:whole].reshape(-1, width), *([norms[None, whole:stop]] if whole < stop else [])]
        levels = np.concatenate([np.quantile(rows, [0, 0.05, 0.5, 0.95, 1], axis=1) for rows in bins], axis=1)
        at = np.minimum(np.arange(start, stop, width) + width / 2, stop)
        ax.fill_between(at, levels[0], levels[4], color=colour, alpha=0.15, linewidth=0)
        ax.fill_between(at, levels[1], levels[3], color=colour, alpha=0.4, linewidth=0)
        ax.plot(at, levels[2], color=colour, linewidth=1.2)
    ax.axvline(border, color="black", linewidth=1, linestyle="--")
    ax.set(xlim=(0, norms.size), ylim=(0, 1.15 * norms.max()))
    for x, name, colour in ((0.02, "base", BLUE), (0.98, "new", VERMILLION)):
        ha = "left" if name == "base" else "right"
        ax.text(x, 0.98, name, transform=ax.transAxes, va="top", ha=ha, fontsize=9, color=colour)
    ax.locator_params(axis="x", nbins=4)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.yaxis.set_major_formatter("{x:.3g}")
    text = f"median, 5–95 %, min–max per {width:,} rows\ndashed: first new row, {border:,}"
    label_axes(ax, "row of the embedding", "L2 norm", "(e) Norm by index", text)


def _collapse(ax: Axes, arrays: Mapping[str, Array], numbers: Numbers) -> None:
    byte, either = _of(numbers, "byte_collapse_share"), _of(numbers, "collapse_share")
    defined = np.isfinite(arrays["curve_shares"].astype(float)).any()
    curves = {
        "onto byte rows": (arrays["byte_cosines"] if defined else np.array([]), VERMILLION, "-"),
        "onto each other": (arrays.get("mutual_cosines", np.array([])), GREEN, "--"),
    }
    taus = np.linspace(0.5, 1, 201)
    for name, (cosines, colour, line) in curves.items():
        if cosines.size:
            ranked = np.sort(finite(cosines))
            shares = (ranked.size - np.searchsorted(ranked, taus)) / cosines.size
            ax.plot(taus, shares, color=colour, linestyle=line, label=name)
        elif any(others.size for others, _, _ in curves.values()):
            ax.plot([], [], color=colour, linestyle=line, label=f"{name}: undefined")
    if ax.lines:
        ax.axvline(HEADLINE_TAU, color="black", linewidth=1, linestyle=":")
        ax.set(xlim=(0.5, 1), ylim=(0, 1.03))
        _legend(ax, "lower left")
    else:
        say(ax, "byte collapse undefined:\nno coherent group of\nunreachable byte rows")
    text = f"at τ = {HEADLINE_TAU}: onto byte rows {byte}\nonto byte rows or each other {either}"
    label_axes(ax, "cosine ≥ τ (each other: to 10 of them)", "share of new rows", "(f) Collapse of new rows", text)


def _histogram(ax: Axes, values: Array, edges: Array, label: str, colour: str, line: str = "-") -> None:
    """Per cent of the values per bin; what lies beyond the edges is counted in the bin at that end."""
    counts, _ = np.histogram(np.clip(finite(values), edges[0], edges[-1]), edges)
    share = 100 * counts / max(values.size, 1)
    ax.stairs(share, edges, fill=True, fc=(colour, 0.2), ec=colour, linestyle=line, linewidth=1.3, label=label)
    ax.set_ylim(0, max(ax.get_ylim()[1], 1.3 * float(share.max())))  # room for the legend


def _legend(ax: Axes, loc: LegendLocType) -> None:
    """Once all is drawn, in a place that is given: to search for the best one takes a tenth of the picture's time."""
    ax.legend(loc=loc, fontsize=9, frameon=False)


def _of(numbers: Numbers, key: str, form: str = "#.3g") -> str:
    value = numbers.get(f"geometry.{key}")
    return "undefined" if value is None or not np.isfinite(value) else format(value, form)
