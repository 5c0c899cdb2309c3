"""The settings of a study: what varies, what it is compared on, what bounds it, and how one trial is chosen."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from wake2vec import Section

Value = float | int | str | bool
Figures = Mapping[str, float | None]
"""Under their addresses; None: undefined."""
AnchorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,39}$")]

MOST = 2**31 - 1
"""Of whole numbers: what databases and libraries take everywhere."""
NUMBER = r"\d*\.?\d+(?:[eE][+-]?\d+)?"
BOUND = re.compile(
    r"^\s*(?P<bar>\|?)(?P<result>[\w.]+)(?P=bar)\s*(?P<relation><=|>=)\s*"
    rf"(?:(?P<limit>[+-]?{NUMBER})"
    rf"|(?:(?P<factor>{NUMBER})\s*[x*]\s*)?(?P<measure>[A-Za-z][\w.]*)(?:\s*(?P<sign>[+-])\s*(?P<offset>{NUMBER}))?)\s*$"
)
BOUND_RULE = (
    "a bound has the form `<result> <= <number>`, `<result> <= baseline + <number>`, `<result> <= 0.1 x baseline`, "
    "`<result> <= start + <number>` or `<result> <= <another result>`, with <= or >=; "
    "`|<result>|` bounds the absolute value"
)


class Range(Section):
    """Numbers from `low` to `high`, both included; whole ones where the knob is an integer."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low must be below high: {self.low:g}, {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range must begin above 0: low is {self.low:g}")
        return self

    def holds(self, value: Value) -> bool:
        return not isinstance(value, str) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}"


class Choices(Section):
    choices: list[Value] = Field(min_length=1)

    def holds(self, value: Value) -> bool:
        return value in self.choices

    def __str__(self) -> str:
        return ", ".join(map(str, self.choices))


def _form(space: object) -> str:
    """The tag of `Space` that what is given was meant for."""
    return CHOICES if isinstance(space, Choices) or (isinstance(space, dict) and "choices" in space) else RANGE


RANGE, CHOICES = FORMS = ("a range", "choices of a knob")
"""Names of what a space may be, which stand in no profile."""
Space = Annotated[Annotated[Range, Tag(RANGE)] | Annotated[Choices, Tag(CHOICES)], Discriminator(_form)]


class Objective(Section):
    """A figure of the result, to be made small, large, or equal to a number."""

    result: str
    """Address of the figure, such as `geometry.norm_gap_d`."""
    goal: Literal["minimize", "maximize"] | float

    @property
    def name(self) -> str:
        """`geometry.norm_gap_d`, or `geometry.norm_gap_d.distance` where the goal is a number."""
        return self.result if isinstance(self.goal, str) else f"{self.result}.distance"

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        return self.goal if isinstance(self.goal, str) else "minimize"

    @property
    def sign(self) -> int:
        """What a value is multiplied by so that less is better."""
        return 1 if self.direction == "minimize" else -1

    def value(self, figure: float) -> float:
        return figure if isinstance(self.goal, str) else abs(figure - self.goal)


class Bound(Section):
    """A limit on a figure of the result: `validation.loss <= baseline + 0.1`, `|geometry.norm_gap_d| <= 0.2`,
    `geometry.collapse_share <= 0.1 x baseline`, `retention.bits_per_byte <= start + 0.05`,
    `geometry.top1_share_new <= geometry.top1_share_base`.
    """

    result: str
    relation: Literal["<=", ">="]
    limit: float
    """A number, or what is added to the measure."""
    from_baseline: bool = False
    """The measure is the baseline's same figure."""
    from_start: bool = False
    """The measure is the trial's own same figure at its step 0."""
    from_result: str | None = None
    """The measure is this other figure of the same trial."""
    factor: float = 1.0
    """What the measure is multiplied by."""
    absolute: bool = False
    """Whether the absolute values are compared."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, written: Any) -> Any:
        if isinstance(written, dict | Bound):
            return written
        match = BOUND.match(str(written))
        if match is None:
            raise ValueError(BOUND_RULE)
        measure = match["measure"]
        limit = match["limit"] or f"{match['sign'] or ''}{match['offset'] or 0}"
        return {
            "result": match["result"],
            "relation": match["relation"],
            "limit": float(limit),
            "from_baseline": measure == "baseline",
            "from_start": measure == "start",
            "from_result": None if measure in (None, "baseline", "start") else measure,
            "factor": float(match["factor"] or 1),
            "absolute": bool(match["bar"]),
        }

    def __str__(self) -> str:
        return self.told(str)

    def told(self, name: Callable[[str], str]) -> str:
        """The bound as it is written, with figures under the names that `name` gives their addresses."""
        bar = "|" if self.absolute else ""
        left = f"{bar}{name(self.result)}{bar} {self.relation}"
        measure = "baseline" if self.from_baseline else "start" if self.from_start else None
        measure = measure or (self.from_result and name(self.from_result))
        if measure is None:
            return f"{left} {self.limit:g}"
        factor = "" if self.factor == 1 else f"{self.factor:g} x "
        offset = f" {'+' if self.limit > 0 else '-'} {abs(self.limit):g}" if self.limit else ""
        return f"{left} {factor}{measure}{offset}"

    def measure_of(self, own: Figures, start: Figures, baseline: Figures) -> float | None:
        """What the bound is measured from, for a trial's figures, those of its step 0, and the baseline's."""
        if self.from_result is not None:
            return own.get(self.from_result)
        if self.from_start:
            return start.get(self.result)
        return baseline.get(self.result) if self.from_baseline else None

    def limit_of(self, measure: float | None) -> float | None:
        """The number that the figure is held to, for the measure's value; None: the measure isn't known."""
        if not self.from_baseline and not self.from_start and self.from_result is None:
            return self.limit
        if measure is None:
            return None
        return self.limit + self.factor * (abs(measure) if self.absolute else measure)

    def violation(self, figure: float, measure: float | None) -> float:
        """By how much the figure lies beyond the limit; 0 or less where it doesn't.

        `measure` is what `measure_of` gives; without it the bound binds nothing.
        """
        limit = self.limit_of(measure)
        if limit is None:
            return 0.0
        own = abs(figure) if self.absolute else figure
        return own - limit if self.relation == "<=" else limit - own

    def sides(self, figure: float, measure: float | None) -> tuple[float, ...]:
        """The violation as numbers that change smoothly with the figure: a band around 0 has two sides."""
        limit = self.limit_of(measure)
        if limit is None or not self.absolute or self.relation == ">=":
            return (self.violation(figure, measure),)
        return figure - limit, -figure - limit


class StoppingSettings(Section):
    """When a trial is ended early: see `study.search.stopping`."""

    grace_steps: int = Field(ge=1, le=MOST)
    """No trial is judged before it has trained so many steps."""
    diverged_nats: float | None = Field(0.5, gt=0)
    """A validation loss by so much above the trial's own at step 0 ends it; None: never."""
    stuck_nats: float | None = Field(0.01, gt=0)
    """At half its steps a trial whose validation loss fell by less than this since step 0 ends; None: never."""
    keep_share: float | None = Field(0.7, gt=0, lt=1)
    """At equal steps, so large a share of the trials goes on: the best by non-dominated sorting; None: all."""


class ChoiceSettings(Section):
    """How one trial is chosen from the front: see `study.runs.choose`."""

    rule: Literal["bars", "nearest_to_ideal", "lexicographic", "first_objective"] = "bars"
    bars: list[Bound] = Field(default_factory=list)
    """What a good trial keeps, in the form of bounds; they steer the aimed trials alone. `bars` takes the best first
    objective of the trials that keep them all; `nearest_to_ideal` takes its ideal point from these."""
    weights: dict[str, float] = Field(default_factory=dict)
    """By objective, under its address or a part of it that no other has, such as `loss`; 1 where it isn't named."""
    tolerances: dict[str, float] = Field(default_factory=dict)
    """Of `lexicographic`: what may be lost in an objective, in its own unit, for the sake of the next."""


class StudySection(Section):
    name: str = Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")
    trials: int = Field(ge=1, le=MOST)
    """Ended trials that the study has when it is done, the baseline and stopped ones among them."""
    seed: int = Field(0, ge=0, le=MOST)
    """Of the sampler."""
    sampler: Literal["auto", "gp", "tpe", "random"] = "auto"
    """What proposes trials: see `study.search.proposal`. `auto` is `gp`, and `tpe` where that bears no more."""
    startup_trials: int = Field(10, ge=1, le=MOST)
    """Trials before the sampler models what it saw: baseline, anchors, and the rest drawn at random."""
    aimed_trials: int = Field(0, ge=0, le=MOST)
    """So many of the study's last trials go for the choice: see `study.search.proposal`."""
    space: dict[str, Space] = Field(min_length=1)
    """What varies: the address of a knob, and its range or choices."""
    objectives: list[Objective] = Field(min_length=1)
    baseline: dict[str, Value]
    """The Phase 1 recipe: a value for each knob of the space. It is trial 0."""
    anchors: dict[AnchorName, dict[str, Value]] = Field(default_factory=dict)
    """Recipes that are run in any case, by name: what they change of the baseline. One whose values all lie in the
    space is a trial, run before the sampler's own; any other is a reference, shown beside the trials."""
    bounds: list[Bound] = Field(default_factory=list)
    """What a trial must keep to be chosen, and what steers the sampler."""
    stopping: StoppingSettings | None = None
    """Without it every trial runs to its end."""
    warm_start: list[str] = Field(default_factory=list)
    """Earlier studies in the same folder whose trials the sampler begins with."""
    patience: int | None = Field(None, ge=1, le=MOST)
    """The study is done when so many trials in a row have not raised the hypervolume; None: when it has `trials`."""
    workers: int = Field(1, ge=1, le=1024)
    """Runs side by side, each in a process of its own; what a trial is proposed from then lacks those beside it."""
    order: Literal["repeatable", "free"] = "repeatable"
    """What a trial is proposed from where several run at once. Repeatable: all but those that may run beside it,
    whoever ended first; the study repeats itself, and a worker may wait. Free: all that have ended; no worker waits,
    and each trial keeps which it didn't see."""
    seeds: int = Field(1, ge=1, le=1000)
    """How many seeds the baseline and the finalists are run with."""
    finalists: int = Field(3, ge=1, le=MOST)
    """Trials of the front that are run with all seeds: the chosen one and its runners-up."""
    choice: ChoiceSettings = ChoiceSettings()

    @field_validator("anchors", mode="before")
    @classmethod
    def _none(cls, anchors: Any) -> Any:
        """`study.anchors=null` on the command line takes a profile's anchors away: mappings are merged there."""
        return {} if anchors is None else anchors

    def is_aimed(self, number: int) -> bool:
        """Whether the trial goes for the choice: it is one of the last, and the rule has bars to keep."""
        return self.choice.rule == "bars" and bool(self.choice.bars) and number >= self.trials - self.aimed_trials

    def last_seen_by(self, number: int) -> int:
        """The youngest trial whose end trial `number` may know; those between may run beside it.

        An aimed trial is proposed when all others have ended: there a figure more is worth the time.
        """
        return number - (1 if self.is_aimed(number) else self.workers)

    def objective_at(self, named: str) -> int:
        """The place of the objective with this address, or with an address that alone contains it.

        Raises:
            ValueError: none does, or several do.
        """
        addresses = [objective.result for objective in self.objectives]
        found = [place for place, address in enumerate(addresses) if address == named] or [
            place for place, address in enumerate(addresses) if named in address
        ]
        if len(found) != 1:
            raise ValueError(
                f"an objective is named by its address or a part that no other has, {', '.join(addresses)}: "
                f"{named!r} is part of {len(found)}"
            )
        return found[0]
