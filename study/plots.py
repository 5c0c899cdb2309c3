"""Pictures of a study: one trial's embedding, the front of all trials, their curves.

Only matplotlib's object interface, so no figure outlives its caller. A layout is frozen before its figure is
returned, so saving twice gives the same bytes. Okabe and Ito's colours; groups also differ by line or marker.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

Array = npt.NDArray[Any]
Numbers = Mapping[str, float | None]
BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"
HEADLINE_TAU = 0.95
UNMOVED_COSINE = 1 - 1e-6  # float32 leaves a row that never moved this close to 1
HEIGHTS_IN = (4.6, 6.4, 7.6, 7.6, 9.6, 10.5)  # of a front figure, by number of objectives


@dataclass(frozen=True)
class FrontPoint:
    """One finished trial; `values` in the order of the objectives, NaN where a value is undefined."""

    number: int
    values: tuple[float, ...]
    on_front: bool
    is_baseline: bool
    is_chosen: bool


def embedding_figure(arrays: Mapping[str, Array], numbers: Numbers, title: str) -> Figure:
    """Six panels of one trial's embedding of at least one base and one new row; keys as in the panels."""
    figure = _figure(7.6, title)
    for place, panel in enumerate((_norms, _cosines, _spectrum, _drift, _norm_by_index, _collapse), start=1):
        panel(figure.add_subplot(2, 3, place), arrays, numbers)
    return _frozen(figure)


def front_figure(
    points: Sequence[FrontPoint], objectives: Sequence[str], title: str, directions: Sequence[str]
) -> Figure:
    """Every pair of 1 to 6 objectives, "minimize" or "maximize" each; a single one is drawn by trial number.

    The front is that of all objectives together: in one pair its trials may look dominated. Limits hold the
    baseline, the chosen trial and the best values; a trial far off on the worse side is named above a panel.
    """
    k = len(objectives)
    if not 1 <= k <= 6 or len(directions) != k or not set(directions) <= {"minimize", "maximize"}:
        rule = '1 to 6 objectives, each with its direction, "minimize" or "maximize"'
        raise ValueError(f"{rule}: got {list(objectives)}, {list(directions)}")
    columns = [np.array([point.values[i] for point in points], dtype=float) for i in range(k)]
    named = np.array([point.is_baseline or point.is_chosen for point in points], dtype=bool)
    signs = [1 if way == "minimize" else -1 for way in directions]
    best = [sign * _finite(sign * v).min(initial=np.inf) for v, sign in zip(columns, signs, strict=True)]
    windows = [_window(np.append(v[named], top), v) for v, top in zip(columns, best, strict=True)]
    better = {"minimize": "← lower is better", "maximize": "higher is better →"}
    labels = [f"{_wrapped(name)}\n{better[way]}" for name, way in zip(objectives, directions, strict=True)]
    if k == 1:
        trials = np.array([point.number for point in points], dtype=float)
        columns, windows, labels = [trials, *columns], [_window(trials, trials), *windows], ["trial", *labels]
    figure, side, panels = _figure(HEIGHTS_IN[k - 1], title), max(k - 1, 1), []
    for place, (x, y) in enumerate(combinations(range(len(columns)), 2), start=1):
        ax = figure.add_subplot(*((2, 3, place) if k == 4 else (side, side, (y - 1) * side + x + 1)))
        _label(ax, labels[x] if k == 4 or y == side else "", labels[y] if k == 4 or x == 0 else "")
        ax.set(xlim=windows[x], ylim=windows[y])
        front_label = "best trial" if k == 1 else f"front of the {k} objectives"
        _draw_points(ax, points, columns[x], columns[y], front_label)
        panels.append((ax, np.column_stack([columns[x], columns[y]])))
    style: dict[str, Any] = {"loc": "outside lower center", "ncols": 4}
    if k in (3, 5, 6):  # the corner above the triangle is empty
        style = {"loc": "upper right", "bbox_to_anchor": (0.99, 0.92)}
    figure.legend(*panels[0][0].get_legend_handles_labels(), fontsize=9, frameon=False, **style)
    _frozen(figure)
    for ax, xy in panels:
        _write_numbers(ax, points, xy, figure.dpi / 72)
    return figure


def curves_figure(
    curves: Mapping[int, Sequence[tuple[int, float]]], baseline: int, chosen: int | None, label: str
) -> Figure:
    """`label` over steps, a line a trial: the baseline and the chosen trial in colour, the others grey."""
    figure = _figure(5.4, "")
    ax = figure.add_subplot()
    _label(ax, "step", label)
    tables = {number: np.array(curve, dtype=float).reshape(-1, 2) for number, curve in sorted(curves.items())}
    tables = {number: table for number, table in tables.items() if np.isfinite(table[:, 1]).any()}
    if not tables:
        _say(ax, "no trial has a finite value")
        return _frozen(figure)
    named = [number for number in dict.fromkeys((baseline, chosen)) if number in tables]
    others = [number for number in tables if number not in named]
    for number in others:
        name = f"other trials (n = {len(others)})" if number == others[0] else None
        ax.plot(*tables[number].T, color=GREY, alpha=0.45, linewidth=0.9, label=name)
    for number in named:
        steps, values = tables[number].T
        best = int(np.nanargmin(values))
        roles = ["Phase 1 baseline"] * (number == baseline) + ["chosen"] * (number == chosen)
        text = f"{', '.join(roles)} (trial {number}): lowest {values[best]:.4g} at step {steps[best]:.0f}"
        colour, line, marker = (VERMILLION, "--", "D") if number == baseline else (BLUE, "-", "o")
        style: dict[str, Any] = {"color": colour, "linestyle": line, "marker": marker, "markevery": [best]}
        ax.plot(steps, values, linewidth=2.4, label=f"{text}, last {values[-1]:.4g}", **style)
    low, high = _window(
        np.concatenate([tables[number][:, 1] for number in named or others]),
        np.concatenate([table[:, 1] for table in tables.values()]),
    )
    ax.set_ylim(low, high)
    if outside := sum(bool(((t[:, 1] < low) | (t[:, 1] > high)).any()) for t in tables.values()):
        ax.set_title(f"{outside} of {len(tables)} trials leave the axes", loc="right", fontsize=9)
    figure.legend(loc="outside lower center", fontsize=9, frameon=False)
    return _frozen(figure)


def save_png(figure: Figure, path: Path) -> None:
    """Write whole or not at all, without date or version: equal figures give equal bytes."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        figure.savefig(Path(folder, "new.png"), format="png", dpi=figure.dpi, metadata={"Software": None})
        os.replace(Path(folder, "new.png"), path)


def _norms(ax: Axes, arrays: Mapping[str, Array], numbers: Numbers) -> None:
    norms, border = arrays["norms"], int(arrays["base_count"].item())
    low, high = _window(np.quantile(norms, [0.0005, 0.9995]), norms)
    for values, name, colour in ((norms[:border], "base", BLUE), (norms[border:], "new", VERMILLION)):
        _histogram(ax, values, np.linspace(max(low, 0.0), high, 81), f"{name} (n = {values.size:,})", colour)
    base, new = _of(numbers, "norm_base_mean"), _of(numbers, "norm_new_mean")
    text = f"d = {_of(numbers, 'norm_gap_d', '+.2f')} (base minus new)\nmean: base {base}, new {new}"
    _label(ax, "L2 norm", "rows per bin, %", "(a) Norms of rows", text)


def _cosines(ax: Axes, arrays: Mapping[str, Array], numbers: Numbers) -> None:
    pairs = ("base_base", BLUE, "-"), ("new_new", VERMILLION, "-"), ("base_new", GREEN, "--")
    every = _finite(np.concatenate([arrays[f"cosines_{pair}"] for pair, _, _ in pairs]))
    edges = np.linspace(every.min(initial=0.0), every.max(initial=0.1), 81)
    for pair, colour, line in pairs:
        _histogram(ax, arrays[f"cosines_{pair}"], edges, pair.replace("_", "–"), colour, line)
    ks, new, null = (_of(numbers, key) for key in ("cosine_ks", "isotropy_new", "isotropy_new_null"))
    text = f"KS D = {ks} (base–base, new–new)\nisotropy new {new}, noise reads {null}"
    _label(ax, "cosine of a pair of rows", "pairs per bin, %", "(b) Pairwise cosine", text)


def _spectrum(ax: Axes, arrays: Mapping[str, Array], numbers: Numbers) -> None:
    needed = []
    for name, colour, line in (("base", BLUE, "-"), ("new", VERMILLION, "--")):
        values = np.clip(arrays[f"spectrum_{name}"].astype(float), 0, None)
        share = values.cumsum() / (values.sum() or 1)
        needed.append(f"{name} {np.searchsorted(share, 0.9) + 1:,}" if values.any() else f"{name} undefined")
        ax.plot(np.arange(share.size) + 1, share, line, color=colour, label=name, marker="o", markevery=[0])
    ax.axhline(0.9, color=GREY, linewidth=0.8, linestyle=":")
    ax.set(xscale="log", ylim=(0, 1.03))
    ax.legend(fontsize=9, frameon=False)
    base, new = _of(numbers, "top1_share_base"), _of(numbers, "top1_share_new")
    text = f"top-1 share: base {base}, new {new}\nto hold 90 %: {', '.join(needed)}"
    _label(ax, "principal components", "cumulative share of variance", "(c) Spectrum", text)


def _drift(ax: Axes, arrays: Mapping[str, Array], numbers: Numbers) -> None:
    cosines = _finite(arrays["drift_cosine_base"])
    if cosines.min() < UNMOVED_COSINE:
        start = _window(np.quantile(cosines, [0.001, 0.999]), cosines)[0]
        _histogram(ax, cosines, np.linspace(start, 1, 61), f"base (n = {cosines.size:,})", BLUE)
    else:
        rescaled = bool(numbers.get("geometry.drift_base_l2"))
        _say(ax, "base rows changed\nin length only" if rescaled else "base rows unchanged")
    mean, length = _of(numbers, "drift_base_cosine"), _of(numbers, "drift_base_l2")
    fifth = np.quantile(cosines, 0.05)
    text = f"mean cosine {mean}, mean L2 {length}\n5 % of rows below {fifth:.3f}, lowest {cosines.min():.3f}"
    _label(ax, "cosine of a row, before to after", "rows per bin, %", "(d) Drift of base rows", text)


def _norm_by_index(ax: Axes, arrays: Mapping[str, Array], _: Numbers) -> None:
    norms, border = arrays["norms"], int(arrays["base_count"].item())
    width = -(-norms.size // 200)
    for start, stop, colour in ((0, border, BLUE), (border, norms.size, VERMILLION)):
        bins = [norms[i : min(i + width, stop)] for i in range(start, stop, width)]
        levels = np.array([np.quantile(rows, [0, 0.05, 0.5, 0.95, 1]) for rows in bins]).T
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
    _label(ax, "row of the embedding", "L2 norm", "(e) Norm by index", text)


def _collapse(ax: Axes, arrays: Mapping[str, Array], numbers: Numbers) -> None:
    cosines, shares = arrays["byte_cosines"], arrays["curve_shares"].astype(float)
    byte, either = _of(numbers, "byte_collapse_share"), _of(numbers, "collapse_share")
    if cosines.size and np.isfinite(shares).any():
        taus, ranked = np.linspace(0.5, 1, 201), np.sort(_finite(cosines))
        ax.plot(taus, (ranked.size - np.searchsorted(ranked, taus)) / cosines.size, color=VERMILLION)
        ax.plot(arrays["curve_taus"], shares, "o", color=VERMILLION, markeredgecolor="white", clip_on=False)
        ax.axvline(HEADLINE_TAU, color="black", linewidth=1, linestyle="--")
        ax.set(xlim=(0.5, 1), ylim=(0, 1.03))
    else:
        _say(ax, "byte collapse undefined:\nno coherent group of\nunreachable byte rows")
    text = f"at τ = {HEADLINE_TAU}: onto byte rows {byte}\nonto byte rows or each other {either}"
    _label(ax, "cosine to a byte row, at least τ", "share of new rows", "(f) Collapse of new rows", text)


def _draw_points(ax: Axes, points: Sequence[FrontPoint], xs: Array, ys: Array, front_label: str) -> None:
    flags = [(point.on_front, point.is_baseline, point.is_chosen) for point in points]
    front, baseline, chosen = np.array(flags, dtype=bool).reshape(-1, 3).T
    groups: tuple[tuple[str, Array, str, float, str, str], ...] = (
        ("other trials", ~front & ~baseline, "o", 5, "white", GREY),
        (front_label, front & ~baseline, "o", 6.5, BLUE, "white"),
        ("Phase 1 baseline, not on the front", baseline & ~front, "D", 8, "white", VERMILLION),
        ("Phase 1 baseline, on the front", baseline & front, "D", 8, VERMILLION, VERMILLION),
        ("chosen trial", chosen, "o", 14, "none", "black"),
    )
    for label, those, marker, size, face, edge in groups:
        if those.any():
            style: dict[str, Any] = {"markersize": size, "markerfacecolor": face, "markeredgecolor": edge}
            ax.plot(xs[those], ys[those], marker, label=label, markeredgewidth=1.3, **style)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    outside = (xs < left) | (xs > right) | (ys < bottom) | (ys > top)
    if outside.any():
        first = [str(points[i].number) for i in np.flatnonzero(outside)[:4]]
        text = f"off the axes: {', '.join(first)}" + ", …" * bool(outside.sum() > 4)
        ax.set_title(text, loc="right", fontsize=9, color="dimgrey", pad=2)


def _write_numbers(ax: Axes, points: Sequence[FrontPoint], xy: Array, pixels: float) -> None:
    """Number the chosen trial and the baseline, then the front's trials wherever a number has room."""
    places = ax.transData.transform(xy)
    named = [point.is_chosen or point.is_baseline for point in points]
    radii = [(7 if name else 3) * pixels for name in named]
    taken = [Bbox([at - r, at + r]) for at, r in zip(places, radii, strict=True) if np.isfinite(at).all()]
    sides = np.array([(1, 0), (0, 1), (0, -1), (-1, 0), (0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8)])
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9, "textcoords": "offset points"}
    for i in sorted(range(len(points)), key=lambda i: (not points[i].is_chosen, not points[i].is_baseline)):
        if not (named[i] or points[i].on_front) or not ax.bbox.contains(*places[i]):
            continue
        half = np.array([3.2 * len(str(points[i].number)), 5.0]) * pixels
        offsets = sides * (half + (9.5 if named[i] else 5) * pixels)
        boxes = [Bbox([places[i] + offset - half, places[i] + offset + half]) for offset in offsets]
        inside = [ax.bbox.count_contains(box.get_points()) == 2 for box in boxes]
        free = [fits and not box.count_overlaps(taken) for fits, box in zip(inside, boxes, strict=True)]
        if named[i] or any(free):
            spot = int(np.argmax(free if any(free) else inside))
            taken.append(boxes[spot])
            note = ax.annotate(str(points[i].number), xy[i], offsets[spot] / pixels, **style)
            note.set_path_effects([withStroke(linewidth=2, foreground="white")])


def _figure(height_in: float, title: str) -> Figure:
    figure = Figure(figsize=(10, height_in), dpi=120, layout="constrained", facecolor="white")
    figure.suptitle(fill(title, 100), fontsize=12)
    return figure


def _frozen(figure: Figure) -> Figure:
    figure.align_labels()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _label(ax: Axes, x: str, y: str, name: str = "", text: str = "") -> None:
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel(y, fontsize=9)
    ax.tick_params(labelsize=9)
    ax.xaxis.get_offset_text().set_fontsize(9)
    ax.yaxis.get_offset_text().set_fontsize(9)
    ax.spines[["top", "right"]].set_visible(False)
    if name:
        ax.set_title(name, loc="left", fontsize=10, fontweight="bold", pad=31)
        ax.annotate(text, (0, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", fontsize=9)


def _wrapped(name: str) -> str:
    """Lines of at most 24 characters, broken at spaces or after dots: a result's address has no spaces."""
    return fill(name.replace(".", ". "), 24, break_long_words=False).replace(". ", ".")


def _say(ax: Axes, text: str) -> None:
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=10)
    ax.set(xticks=[], yticks=[])


def _histogram(ax: Axes, values: Array, edges: Array, label: str, colour: str, line: str = "-") -> None:
    """Per cent of the values per bin; what lies beyond the edges is counted in the bin at that end."""
    counts, _ = np.histogram(np.clip(_finite(values), edges[0], edges[-1]), edges)
    share = 100 * counts / max(values.size, 1)
    ax.stairs(share, edges, fill=True, color=colour, alpha=0.2)
    ax.stairs(share, edges, color=colour, linestyle=line, linewidth=1.3, label=label)
    ax.set_ylim(0, max(ax.get_ylim()[1], 1.3 * float(share.max())))  # room for the legend
    ax.legend(fontsize=9, frameon=False)


def _window(kept: Array, every: Array) -> tuple[float, float]:
    """Limits around `kept` and all of `every` but Tukey's far outliers; these too, unless the limits triple."""
    every = _finite(every)
    low, high = np.quantile(every, [0.25, 0.75]) if every.size else (0.0, 1.0)
    near = every[(every >= low - 3 * (high - low)) & (every <= high + 3 * (high - low))]
    core = np.concatenate([_finite(kept), near if every.size else [0.0, 1.0]])
    if np.ptp(core) == 0 or (every.size and np.ptp(every) <= 3 * np.ptp(core)):
        core = np.concatenate([core, every])
    margin = 0.07 * float(np.ptp(core)) or 0.05 * abs(float(core[0])) or 0.05
    return float(core.min()) - margin, float(core.max()) + margin


def _finite(values: Array) -> Array:
    return values[np.isfinite(values)]


def _of(numbers: Numbers, key: str, form: str = "#.3g") -> str:
    value = numbers.get(f"geometry.{key}")
    return "undefined" if value is None or not np.isfinite(value) else format(value, form)
