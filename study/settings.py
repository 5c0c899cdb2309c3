"""The settings of a study: what varies, what it is compared on, what bounds it, and how one trial is chosen."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from wake2vec import Section

Value = float | int | str | bool
AnchorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,39}$")]

BOUND = re.compile(
    r"^\s*(?P<result>[\w.]+)\s*(?P<relation><=|>=)\s*"
    r"(?:(?P<baseline>baseline)\s*(?:(?P<sign>[+-])\s*(?P<offset>[\d.]+(?:[eE][+-]?\d+)?))?|(?P<limit>\S+))\s*$"
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
    """A limit on a figure of the result, written as `validation.loss <= baseline + 0.1` or `sample.words >= 100`."""

    result: str
    relation: Literal["<=", ">="]
    limit: float
    """A number, or where `from_baseline`, what is added to the baseline's figure."""
    from_baseline: bool = False

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, written: Any) -> Any:
        if not isinstance(written, str):
            return written
        match = BOUND.match(written)
        rule = "a bound has the form `<result> <= <number>` or `<result> <= baseline + <number>`, with <= or >="
        if match is None:
            raise ValueError(rule)
        if match["baseline"]:
            limit = float(f"{match['sign'] or ''}{match['offset'] or 0}")
        else:
            try:
                limit = float(match["limit"])
            except ValueError:
                raise ValueError(rule) from None
        parsed = {"result": match["result"], "relation": match["relation"], "limit": limit}
        return {**parsed, "from_baseline": bool(match["baseline"])}

    def __str__(self) -> str:
        if not self.from_baseline:
            return f"{self.result} {self.relation} {self.limit:g}"
        offset = f" {'+' if self.limit > 0 else '-'} {abs(self.limit):g}" if self.limit else ""
        return f"{self.result} {self.relation} baseline{offset}"

    def violation(self, figure: float, baseline: float | None) -> float:
        """By how much the figure lies beyond the limit; 0 or less where it doesn't.

        `baseline` is the baseline's figure; without one, a bound that is measured from it binds nothing.
        """
        if self.from_baseline and baseline is None:
            return 0.0
        limit = self.limit + (baseline or 0.0) * self.from_baseline
        return figure - limit if self.relation == "<=" else limit - figure


class StoppingSettings(Section):
    """When a trial is ended early: see `study.search.stopping`."""

    grace_steps: int = Field(ge=1)
    """No trial is judged before it has trained so many steps."""
    diverged_nats: float | None = Field(0.5, gt=0)
    """A validation loss by so much above the trial's own at step 0 ends it; None: never."""
    stuck_nats: float | None = Field(0.01, gt=0)
    """At half its steps a trial whose validation loss fell by less than this since step 0 ends; None: never."""
    keep_share: float | None = Field(0.7, gt=0, lt=1)
    """At equal steps, so large a share of the trials goes on: the best by non-dominated sorting; None: all."""


class ChoiceSettings(Section):
    """How one trial is chosen from the front: see `study.choose`."""

    rule: Literal["nearest_to_ideal", "lexicographic", "first_objective"] = "nearest_to_ideal"
    weights: dict[str, float] = Field(default_factory=dict)
    """By objective, under its address or a part of it that no other has, such as `loss`; 1 where it isn't named."""
    tolerances: dict[str, float] = Field(default_factory=dict)
    """Of `lexicographic`: what may be lost in an objective, in its own unit, for the sake of the next."""


class StudySection(Section):
    name: str = Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")
    trials: int = Field(ge=1)
    """Ended trials that the study has when it is done, the baseline and stopped ones among them."""
    seed: int = Field(0, ge=0)
    """Of the sampler."""
    sampler: Literal["gp", "tpe", "random"] = "gp"
    """What proposes trials: see `study.search.space`."""
    startup_trials: int = Field(10, ge=1)
    """Trials before the sampler models what it saw: baseline, anchors, and the rest drawn at random."""
    space: dict[str, Range | Choices] = Field(min_length=1)
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
    patience: int | None = Field(None, ge=1)
    """The study is done when so many trials in a row have not raised the hypervolume; None: when it has `trials`."""
    seeds: int = Field(1, ge=1)
    """How many seeds the baseline and the finalists are run with."""
    finalists: int = Field(3, ge=1)
    """Trials of the front that are run with all seeds: the chosen one and its runners-up."""
    choice: ChoiceSettings = ChoiceSettings()

    @field_validator("anchors", mode="before")
    @classmethod
    def _none(cls, anchors: Any) -> Any:
        """`study.anchors=null` on the command line takes a profile's anchors away: mappings are merged there."""
        return {} if anchors is None else anchors

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
