"""The canvas of all charts: colours, style, layout, limits, and a figure as PNG or as the report's SVG.

A chart is a `Panel`, drawn on matplotlib's axes once, for whoever shows it. Only matplotlib's object interface is used,
so no figure outlives its caller, and equal panels give equal bytes. Okabe and Ito's colours; what is told apart by
colour differs by line or marker, too.
"""

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matplotlib
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wake2vec import write_atomic

Array = npt.NDArray[Any]
COLOURS = {
    "ink": ("#1b1c1e", "#e9e7e3"),
    "soft": ("#5b5d60", "#aaa8a3"),
    "paper": ("#ffffff", "#15171a"),
    "card": ("#f5f5f2", "#1e2125"),
    "line": ("#d8d8d4", "#3a3e43"),
    "blue": ("#0072b2", "#56b4e9"),
    "vermillion": ("#d55e00", "#e8762d"),
    "green": ("#009e73", "#1fbf92"),
}
"""By name: on white, and in the dark. Charts are drawn in the first; in a page they take the reader's."""
INK, SOFT, PAPER, _, LINE, BLUE, VERMILLION, GREEN = (light for light, _ in COLOURS.values())
STYLE: dict[Any, Any] = {
    "axes.edgecolor": SOFT,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.linewidth": 1,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.titlesize": 12,
    "font.size": 9,
    "legend.frameon": False,
    "path.simplify_threshold": 0.25,
    "svg.fonttype": "none",  # text stays text, in the page's font
    "text.color": INK,
    "text.hinting": "no_hinting",  # to fit glyphs to pixels takes a sixth of a picture's time
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 1,
    "ytick.major.width": 1,
}


@dataclass(frozen=True)
class Panel:
    """A chart on one pair of axes."""

    label: str
    """What a screen reader reads; no two panels of a page have the same."""
    draw: Callable[[Axes], None]
    finish: Callable[[Axes], None] = lambda ax: None
    """What needs to know where points lie on the page, once the layout is fixed."""
    size_in: tuple[float, float] = (4.2, 3.2)


def figure_of(
    panels: Sequence[Panel],
    title: str = "",
    margins: Mapping[str, float] | None = None,
    keys: Sequence[Artist] = (),
) -> Figure:
    """The panels in rows of three, under a title and above a legend of `keys`.

    Its layout is found and fixed. With `margins`, as for `subplots_adjust`, it has that one: to find a layout takes as
    long as to draw, so a picture that every trial draws should know its own.
    """
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    width, height = (max(ends) for ends in zip(*(panel.size_in for panel in panels), strict=True))
    size = columns * width, rows * height + 0.5 * bool(title) + 0.4 * bool(keys)
    with matplotlib.rc_context(STYLE):
        figure = Figure(size, dpi=120, layout=None if margins else "constrained", facecolor=PAPER)
        if title:
            figure.suptitle(fill(title, int(11 * size[0])))
        axes = [figure.add_subplot(rows, columns, place) for place in range(1, len(panels) + 1)]
        for panel, ax in zip(panels, axes, strict=True):
            panel.draw(ax)
        if keys:
            figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))
        engine = figure.get_layout_engine()
        if engine is None:
            figure.subplots_adjust(**margins or {})
        else:
            engine.execute(figure)
            figure.set_layout_engine("none")
        for panel, ax in zip(panels, axes, strict=True):
            panel.finish(ax)
    return figure


def label_axes(ax: Axes, x: str, y: str) -> None:
    """With few ticks at round numbers, where the axis is linear and has none of its own."""
    ax.set(xlabel=x, ylabel=y)
    for axis in (ax.xaxis, ax.yaxis):
        if isinstance(axis.get_major_locator(), MaxNLocator):
            axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))


def say(ax: Axes, text: str) -> None:
    """In place of what can't be drawn."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=SOFT)
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
    quickly = {"compress_level": 3}  # 6, the default, takes twice as long and saves nothing
    drawn = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        # `savefig` would draw it once more, to find a layout that is fixed already.
        FigureCanvasAgg(figure).print_png(drawn, metadata={"Software": None}, pil_kwargs=quickly)
    write_atomic(path, drawn.getvalue())


def palette() -> str:
    """The colours as CSS variables, light and dark."""
    light, dark = (" ".join(f"--{name}: {pair[at]};" for name, pair in COLOURS.items()) for at in (0, 1))
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"


def svg(panel: Panel) -> Markup:
    """The panel as an element of a page whose policy allows no style of its own, in the page's colours and font.

    What has the `gid` "run <kinds>|<key>" becomes one group with `data-trial`, by which the page's script lights a run
    everywhere, and a title for those who read without a script.
    """
    drawn = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": panel.label}):  # names of clips and marks differ by panel
        FigureCanvasSVG(figure_of([panel])).print_svg(drawn, metadata={"Date": None})
    source = ElementTree.fromstring(drawn.getvalue())  # noqa: S314 (matplotlib's own)
    page = Element("svg", {"viewBox": source.attrib["viewBox"], "role": "img", "aria-label": panel.label, **TEXT})
    shared = ElementTree.SubElement(page, "defs")
    for element in _plain(source, shared):
        key = element.get("data-trial")
        if key and page[-1].get("data-trial") == key:
            page[-1].extend(element[1:])
        else:
            page.append(element)
    return Markup(ElementTree.tostring(page, encoding="unicode").replace(" />", "/>"))  # noqa: S704


def _plain(parent: Element, shared: Element) -> Iterator[Element]:
    """What is drawn in it, without groups that say nothing and without backgrounds; `shared` takes what is used."""
    for element in parent:
        name = element.tag.rpartition("}")[2]
        own = Element(name, _attributes(element))
        inner = list(_plain(element, shared))
        if name == "defs":
            shared.extend(inner)
        elif name == "g" and not own.attrib:
            yield from inner
        elif name not in UNSEEN and not (own.get("fill") in BARE and "stroke" not in own.attrib):
            own.text = element.text if name in {"text", "tspan"} else None
            if key := own.get("data-trial"):
                ElementTree.SubElement(own, "title").text = f"Trial {key}" if key.isdigit() else key
            own.extend(inner)
            yield own


def _attributes(element: Element) -> dict[str, str]:
    """Style as attributes, which a policy allows; colours as the page's variables; places to a tenth of a point."""
    written = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    name, style = written.pop("id", ""), written.pop("style", "")
    rules = dict(rule.split(": ", 1) for rule in style.split("; ") if rule)
    own = {key: _rounded(value) for key, value in {**written, **rules}.items() if key not in UNKEPT}
    own = {key: value for key, value in own.items() if TEXT.get(key) != value and not value.startswith("rotate(-0 ")}
    if name.startswith("run "):
        own["class"], own["data-trial"] = name.split("|", 1)
    elif element.tag.endswith("clipPath"):
        own["id"] = name
    elif name and element.tag.endswith("path"):  # of a mark, which takes the style of where it is used
        own = {"id": name, "d": own["d"]}
    return own


def _rounded(value: str) -> str:
    """Numbers to a tenth, a path without needless spaces, a colour by its name."""
    if "#" in value:
        return VARIABLES.get(value, value)
    short = re.sub(r"-?\d+\.\d+", lambda found: f"{round(float(found[0]), 1) + 0:g}", value)
    return re.sub(r"\s*([A-Zz])\s*", r"\1", short.strip()) if short.startswith("M ") else short


VARIABLES = {light: f"var(--{name})" for name, (light, _) in COLOURS.items()}
TEXT = {"font-size": "9px", "fill": "var(--ink)"}
"""What most of a chart's words are written in: said once."""
UNSEEN = {"metadata", "style"}
BARE = {"none", "var(--paper)"}
"""Fillings of backgrounds, which have no stroke."""
UNKEPT = {"font-family", "stroke-linecap", "stroke-linejoin", "stroke-dashoffset"}
