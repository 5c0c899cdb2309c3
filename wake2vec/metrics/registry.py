"""The registry: each figure of a result is declared once, as a `Metric`, in the file that has its formula.

A file of this folder has a tuple `METRICS`; the registry finds it by itself. A file that measures rows also has
`at_evaluation(readings)` or `at_end(readings)`, which give the figures that it declares (`wake2vec.metrics.measure`).
Tables, tooltips, nulls, names, the contract tests and the table in docs/metrics.md are all made of these declarations.

A declaration is read without running its file: formulas need torch, which takes seconds to load, and whoever lists
results has no use for it. So `METRICS` is one expression that uses nothing but the names of this module.
"""

import ast
import math
import re
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple

from wake2vec.config import HeadKind
from wake2vec.data.audit_record import COUNT_CLASSES, FIGURES, Audit
from wake2vec.errors import ConfigError

SECTIONS = ("training", "validation", "teaching", "geometry", "retention", "sample", "vocabulary")
"""The first words of addresses, in the order in which figures are shown; within one by file, then as declared."""
FIRST_OF_ALL = 9
"""Figures whose place is up to this one are headlines: they stand in every table."""


class When(StrEnum):
    """When a figure is measured, and so what it is measured from."""

    TRAINING = "training"
    """While it trains, of the training itself: what is kept of a trial doesn't tell it again."""
    EVALUATION = "evaluation"
    """From the rows, at every evaluation: it has a curve."""
    END = "end"
    """Once, from the rows, the samples or the inputs."""


class Part(StrEnum):
    """What a figure is to the one that it belongs to."""

    VALUE = "value"
    NULL = "null"
    LOW = "low"
    HIGH = "high"


class Shown(NamedTuple):
    """How a figure is shown where people read: an address is for YAML and code."""

    words: str
    label: str
    """For the head of a narrow column."""
    symbol: str = ""
    """The letter that both end in, where there is one."""
    first: int = 0
    """Place among the figures that are read first, from 1; 0: it isn't one of them."""
    caution: str = ""
    """What is to be known before it is aimed at; `{null}` stands for its null."""


@dataclass(frozen=True)
class Metric:
    """One figure of a result. `{}` in a template stands for a member of its family: see `each`."""

    address: str
    meaning: str
    """In a few words; docs/metrics.md has the formula."""
    unit: str = ""
    """Empty: a pure number."""
    better: Literal["lower", "higher"] | float | None = None
    """A number: nearer to it. None: it says nothing good or bad."""
    null: float | str | None = None
    """What it reads where there is nothing of what it looks for: a constant, or the address of a measured one."""
    when: When = When.EVALUATION
    invariant: tuple[str, ...] = ()
    """Of `rotation`, `order`, `scale`: what may be done to all rows without changing it. The contract test holds it."""
    shown: Shown | None = None
    """None: by the words of its address."""
    phase1: str = ""
    """Its key in Phase 1's summary, dotted."""
    needs: tuple[str, ...] = ()
    """Fields of a `Subject` without which it is undefined."""
    compares: bool = True
    """Whether its difference between two runs says something of them."""
    version: int = 1
    """Raised when its formula changes: older values are then measured again."""
    head: HeadKind | None = None
    """The kind of head that a trial has which has this figure; None: any."""
    family: str = ""
    """Its address without the member: `geometry.norm_mean`; its own where it has no family."""
    member: str = ""
    """`base`, `base_new`, `unseen`; empty where it has no family."""
    family_meaning: str = ""
    part: Part = Part.VALUE
    of: str = ""
    """The address of the figure that it is a part of: the null or an end of the interval."""


GEOMETRY, OF_HEAD = "geometry.", "geometry.head."
"""Beginnings of the addresses of what is measured from rows: of the input embedding, and of a head of its own."""
ROTATION, ORDER, SCALE = "rotation", "order", "scale"
GROUPS = {"base": "base rows", "new": "new rows"}
ALL_GROUPS = {"all": "all rows", **GROUPS}
PAIRS = {"base_base": "base-base", "new_new": "new-new", "base_new": "base-new"}
CLASSES = dict(
    zip(
        COUNT_CLASSES,
        ("new tokens never seen in training", "seen once", "seen 2 to 4 times", "seen 5 times or more"),
        strict=True,
    )
)
"""How often a new token occurs in the training blocks."""
SEEN = dict(zip(COUNT_CLASSES, ("never seen", "seen once", "seen 2-4 times", "seen 5 times up"), strict=True))
"""The same in names."""
INVARIANT = (ROTATION, ORDER, SCALE)
NOISE = "the same of Gaussian noise"


def each(
    members: Mapping[str, str],
    *templates: Metric,
    shown: Mapping[str, Shown] | None = None,
    phase1: Mapping[str, str] | None = None,
) -> tuple[Metric, ...]:
    """A family: every template for every member, whose key and words stand for `{}` in addresses and in meanings.

    `shown` has the members that have names of their own, `phase1` those that Phase 1's keys call otherwise.
    """
    return tuple(
        replace(
            template,
            address=template.address.format(key),
            meaning=template.meaning.format(words),
            null=template.null.format(key) if isinstance(template.null, str) else template.null,
            shown=(shown or {}).get(key) if template.part is Part.VALUE else None,
            phase1=template.phase1.format((phase1 or {}).get(key, key)),
            needs=tuple(field.format(key) for field in template.needs),
            of=template.of.format(key),
            family=template.address.replace("_{}", ""),
            member=key,
            family_meaning=re.sub(r" of \{\}|, \{\}", "", template.meaning).replace("{}", "…"),
        )
        for key, words in members.items()
        for template in templates
    )


def with_null(
    metric: Metric,
    meaning: str = NOISE,
    address: str = "",
    needs: tuple[str, ...] | None = None,
    when: When | None = None,
) -> tuple[Metric, Metric]:
    """The figure, and its null for the size at hand, under its address with `_null` or another."""
    of_family = ", {}" if "{}" in metric.address else ""
    null = Metric(
        address or f"{metric.address}_null",
        meaning + of_family,
        unit=metric.unit,
        when=when or metric.when,
        invariant=metric.invariant,
        needs=metric.needs if needs is None else needs,
        compares=False,
        version=metric.version,
        part=Part.NULL,
        of=metric.address,
    )
    return replace(metric, null=null.address), null


def with_interval(
    metric: Metric, over: str = "", when: When | None = None, invariant: tuple[str, ...] | None = None
) -> tuple[Metric, Metric, Metric]:
    """The figure, and the ends of its 95 % interval, under its address with `_low` and `_high`."""
    of_family = ", {}" if "{}" in metric.address else ""
    ends = [
        Metric(
            f"{metric.address}_{part}",
            f"{end} end of its 95 % interval{over}{of_family}",
            unit=metric.unit,
            when=when or metric.when,
            invariant=metric.invariant if invariant is None else invariant,
            needs=metric.needs,
            compares=False,
            part=part,
            of=metric.address,
        )
        for end, part in (("lower", Part.LOW), ("upper", Part.HIGH))
    ]
    return metric, ends[0], ends[1]


def of_head(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """The figures of a head of its own: those of the input embedding, under addresses and names that say so."""

    def moved(address: str) -> str:
        return address.replace(GEOMETRY, OF_HEAD, 1)

    return tuple(
        replace(
            metric,
            address=moved(metric.address),
            meaning=f"{metric.meaning}, of the head",
            null=moved(metric.null) if isinstance(metric.null, str) else metric.null,
            shown=metric.shown
            and metric.shown._replace(words=f"head {metric.shown.words}", label=f"head {metric.shown.label}", first=0),
            phase1="",
            head="own",
            family=moved(metric.family),
            family_meaning=f"{metric.family_meaning}, of the head",
            of=moved(metric.of),
        )
        for metric in metrics
    )


def of_audit() -> tuple[Metric, ...]:
    """The audit's figures, which its record declares: `wake2vec.data.audit_record`."""
    return tuple(
        Metric(
            f"vocabulary.{name}",
            Audit.model_fields[name].description or name,
            when=When.END,
            compares=False,
        )
        for name in FIGURES
    )


class Source(NamedTuple):
    """A file of this folder that declares metrics."""

    module: str
    metrics: tuple[Metric, ...]
    functions: frozenset[str]
    """What it defines."""


def read_source(path: Path) -> Source | None:
    """What a file declares; None where it declares nothing.

    Raises:
        ConfigError: its METRICS isn't an expression of this module's names.
    """
    text = path.read_text(encoding="utf-8")
    if "\nMETRICS = " not in text:
        return None
    body = ast.parse(text, path.name).body
    functions = frozenset(node.name for node in body if isinstance(node, ast.FunctionDef))
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "METRICS":
            expression = compile(ast.Expression(node.value), str(path), "eval")
            try:
                metrics: tuple[Metric, ...] = eval(expression, dict(globals()))  # noqa: S307 (this project's own source)
            except NameError as fault:
                raise ConfigError(
                    f"METRICS is read without running its file: it may use the names of wake2vec/metrics/registry.py "
                    f"alone, and that of {path.name} uses another: {fault}"
                ) from None
            return Source(f"wake2vec.metrics.{path.stem}", metrics, functions)
    return None


def read_sources(folder: Path) -> tuple[Source, ...]:
    """All other files of a folder that declare metrics, by name."""
    files = sorted(path for path in folder.glob("*.py") if path.name != Path(__file__).name)
    return tuple(source for path in files if (source := read_source(path)) is not None)


def gathered(sources: Iterable[Source]) -> dict[str, Metric]:
    """All metrics under their addresses, by section, then by file. Raises ConfigError: two have one address."""
    found = [metric for source in sources for metric in source.metrics]
    ordered = sorted(found, key=lambda metric: SECTIONS.index(metric.address.split(".")[0]))
    metrics: dict[str, Metric] = {}
    for metric in ordered:
        if metric.address in metrics:
            raise ConfigError(f"a figure is declared once: {metric.address} is twice; give one another address")
        metrics[metric.address] = replace(
            metric,
            family=metric.family or metric.address,
            family_meaning=metric.family_meaning or metric.meaning,
        )
    return metrics


SOURCES = read_sources(Path(__file__).parent)
_DECLARED = gathered(SOURCES) | gathered([Source(__name__, of_audit(), frozenset())])
METRICS = {address: metric for address, metric in _DECLARED.items() if metric.head is None}
"""Every figure that every result has, under its address."""
HEAD_METRICS = {address: metric for address, metric in _DECLARED.items() if metric.head is not None} | {
    metric.address: metric
    for metric in of_head(metric for metric in METRICS.values() if metric.address.startswith(GEOMETRY))
}
"""Those that results have whose trials had a certain kind of head."""
ALL_METRICS: Mapping[str, Metric] = ChainMap(HEAD_METRICS, METRICS)
"""What an objective, a bound or a bar may name."""
RANKS = {address: metric.shown.first for address, metric in METRICS.items() if metric.shown and metric.shown.first}
READ_FIRST = tuple(sorted(RANKS, key=RANKS.__getitem__))
"""The figures of the known issues, the objectives before the others."""
HEADLINE = tuple(address for address in READ_FIRST if RANKS[address] <= FIRST_OF_ALL)
"""The figures that stand first wherever there are several."""


def is_evaluated(address: str) -> bool:
    """Whether a figure is measured at every evaluation, step 0 among them: it has a curve."""
    if address not in ALL_METRICS or address.startswith(("validation.start_", "validation.best_")):
        return False
    when = ALL_METRICS[address].when
    return when is When.EVALUATION or (when is When.TRAINING and address.startswith("validation."))


def cost_of(address: str, figure: float | None) -> float:
    """The figure turned so that less is better; infinite where it is undefined, or says nothing good or bad."""
    better = ALL_METRICS[address].better
    if figure is None or math.isnan(figure) or better is None:
        return math.inf
    if isinstance(better, str):
        return figure if better == "lower" else -figure
    return abs(figure - better)


def check_keep_by(address: str, head: HeadKind | None = None) -> None:
    """Raises ConfigError: no evaluation can be the best in this figure; of trials with that head, where it is given."""
    remedy, address = "take train.keep_by=validation.loss", " ".join(address.split())
    if address.startswith("retention."):
        raise ConfigError(
            "train.keep_by names a figure of the text that is trained on, or of the rows: retention is measured on "
            f"another, which no trial hangs on, and {address} is one of it; {remedy}, and bound the retention"
        )
    if not is_evaluated(address) or ALL_METRICS[address].better is None:
        raise ConfigError(
            "train.keep_by names a figure that is measured at every evaluation and is better lower, higher or at a "
            f"number: {address} isn't one; {remedy}"
        )
    of_head = ALL_METRICS[address].head
    if head is not None and of_head not in (None, head):
        raise ConfigError(
            f"train.keep_by names a figure that the trial has: {address} is of a head that is a matrix of its own, and "
            f"here it isn't; {remedy}"
        )


def null_of(address: str, numbers: Mapping[str, float | None]) -> float | None:
    """The null of a figure, for the sizes at hand; None: it has none, or it is undefined here."""
    null = ALL_METRICS[address].null
    return numbers.get(null) if isinstance(null, str) else null


def cautions(addresses: Iterable[str], numbers: Mapping[str, float | None]) -> list[str]:
    """Of those figures that mislead, a sentence each, with the null for the sizes at hand."""
    found = []
    for address in addresses:
        shown = ALL_METRICS[address].shown
        if shown is not None and shown.caution:
            null = null_of(address, numbers)
            found.append(shown.caution.format(null="nearly 1" if null is None else f"{null:.3f}"))
    return found
