"""The canvas of all pictures: size, fonts, palette, limits, and saving alike each time.

Only matplotlib's object interface, so no figure outlives its caller. A layout is frozen before its figure is
returned, so saving twice gives the same bytes. Okabe and Ito's colours; groups also differ by line or marker.
"""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Array = npt.NDArray[Any]
BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"


def blank_figure(height_in: float, title: str, margins: Mapping[str, float] | None = None) -> Figure:
    """A figure that finds its layout when frozen; with `margins`, as for `subplots_adjust`, it has that one.

    To find a layout takes as long as to draw: a picture that every trial draws should know its own.
    """
    figure = Figure(figsize=(10, height_in), dpi=120, layout=None if margins else "constrained", facecolor="white")
    figure.suptitle(fill(title, 100), fontsize=12)
    if margins:
        figure.subplots_adjust(**margins)
    return figure


def frozen(figure: Figure) -> Figure:
    """The figure with its layout found and fixed."""
    figure.align_labels()
    with _unhinted():
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _unhinted() -> contextlib.AbstractContextManager[None]:
    """To fit glyphs to pixels takes a sixth of a picture's time."""
    return matplotlib.rc_context({"text.hinting": "no_hinting"})


def label_axes(ax: Axes, x: str, y: str, name: str = "", text: str = "") -> None:
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel(y, fontsize=9)
    ax.tick_params(labelsize=9)
    for axis in (ax.xaxis, ax.yaxis):
        if isinstance(axis.get_major_locator(), MaxNLocator):
            axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.get_offset_text().set_fontsize(9)
    ax.yaxis.get_offset_text().set_fontsize(9)
    ax.spines[["top", "right"]].set_visible(False)
    if name:
        # With y given matplotlib needn't look for what the title might overlap.
        ax.set_title(name, loc="left", fontsize=10, fontweight="bold", y=1.0, pad=31)
        ax.annotate(text, (0, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", fontsize=9)


def say(ax: Axes, text: str) -> None:
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=10)
    ax.set(xticks=[], yticks=[])


def window(kept: Array, every: Array) -> tuple[float, float]:
    """Limits around `kept` and all of `every` but Tukey's far outliers; these too, unless limits triple."""
    every = finite(every) if np.isfinite(every).any() else np.array([0.0, 1.0])
    low, high = np.quantile(every, [0.25, 0.75])
    near = every[(every >= low - 3 * (high - low)) & (every <= high + 3 * (high - low))]
    core = np.concatenate([finite(kept), near])
    if np.ptp(core) == 0 or np.ptp(every) <= 3 * np.ptp(core):
        core = np.concatenate([core, every])
    margin = 0.07 * float(np.ptp(core)) or 0.05 * abs(float(core[0])) or 0.05
    return float(core.min()) - margin, float(core.max()) + margin


def finite(values: Array) -> Array:
    return values[np.isfinite(values)]


def save_png(figure: Figure, path: Path) -> None:
    """Write whole or not at all, without date or version: equal figures give equal bytes."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        quickly = {"compress_level": 3}  # 6, the default, takes twice as long and saves nothing
        with _unhinted():
            figure.savefig(
                Path(folder, "new.png"), format="png", dpi=figure.dpi, metadata={"Software": None}, pil_kwargs=quickly
            )
        os.replace(Path(folder, "new.png"), path)
