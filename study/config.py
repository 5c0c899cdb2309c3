"""A study's configuration: a profile, which is YAML, with overrides from the command line."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError, model_validator
from yaml import YAMLError

from wake2vec import NUMBERS, ConfigError, RunConfig, Section, check_names, flatten, unflatten

PROFILES = Path(__file__).parent / "profiles"
MAKE_NAMES = {"model.path": "MODEL", "corpus.path": "CORPUS", "vocabulary.lexicon": "LEXICON"}
Value = float | int | str | bool


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


class Choices(Section):
    choices: list[Value] = Field(min_length=1)

    def holds(self, value: Value) -> bool:
        return value in self.choices


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

    def value(self, figure: float) -> float:
        return figure if isinstance(self.goal, str) else abs(figure - self.goal)


class StudySection(Section):
    name: str = Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")
    trials: int = Field(ge=1)
    """Finished trials that the study has when it is done, the baseline among them."""
    seed: int = Field(0, ge=0)
    startup_trials: int = Field(10, ge=1)
    """Trials drawn at random before the sampler models what it saw."""
    space: dict[str, Range | Choices] = Field(min_length=1)
    """What varies: the address of a knob, and its range or choices."""
    objectives: list[Objective] = Field(min_length=1)
    baseline: dict[str, Value]
    """The Phase 1 recipe: a value for each knob of the space. It is trial 0."""


class StudyConfig(Section):
    study: StudySection
    run: RunConfig
    """The knobs that don't vary, and defaults for those that do."""

    @model_validator(mode="after")
    def _check(self) -> "StudyConfig":
        knobs = self.run.identity()
        faults = [_unknown("study.space", key, knobs) for key in self.study.space if key not in knobs]
        for key, space in self.study.space.items():
            if key not in self.study.baseline:
                faults.append(f"study.baseline needs a value for {key}")
            elif not space.holds(self.study.baseline[key]):
                faults.append(f"study.baseline: {key}={self.study.baseline[key]} lies outside study.space")
        faults += [
            _unknown("study.baseline", key, self.study.space)
            for key in self.study.baseline
            if key not in self.study.space
        ]
        faults += [
            fault
            for key, space in self.study.space.items()
            if key in knobs and isinstance(space, Choices)
            for choice in space.choices
            for fault in self._faults_of(key, choice)
        ]
        results = [objective.result for objective in self.study.objectives]
        faults += [_unknown("study.objectives", result, NUMBERS) for result in results if result not in NUMBERS]
        if len(set(results)) < len(results):
            faults.append("study.objectives names a result twice")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _faults_of(self, key: str, choice: Value) -> list[str]:
        try:
            check_names(self.run_config({key: choice}))
        except ValidationError as fault:
            return [f"study.space: {_one_line(error)}" for error in fault.errors()]
        except ConfigError as fault:
            return [f"study.space: {fault}"]
        return []

    def run_config(self, values: dict[str, Value]) -> RunConfig:
        """The configuration of a trial that has these values for the knobs of the space."""
        return RunConfig.model_validate(unflatten({**flatten(self.run.model_dump()), **values}))


def load_config(profile: str, overrides: Sequence[str] = ()) -> StudyConfig:
    """Read `study/profiles/<profile>.yaml`, or the YAML file named, and lay `key=value` overrides over it.

    Raises:
        ConfigError: one line with all that is wrong.
    """
    path = Path(profile) if profile.endswith((".yaml", ".yml")) else PROFILES / f"{profile}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PROFILES.glob("*.yaml")))
        raise ConfigError(f"no profile {profile}: give one of {known}, or the path of a YAML file")
    wrong = [override for override in overrides if not re.match(r"^[\w.]+=", override)]
    if wrong:
        raise ConfigError(f"an override has the form key=value: {', '.join(wrong)}")
    try:
        loaded = OmegaConf.load(path)
        if not isinstance(loaded, DictConfig):
            raise ConfigError(f"{path}: a profile is a mapping of settings")
        tree: Any = OmegaConf.to_container(
            OmegaConf.merge(loaded, OmegaConf.from_dotlist(list(overrides))), resolve=True
        )
    except (OmegaConfBaseException, YAMLError, OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path}: {' '.join(str(fault).split())}") from None
    missing = [key for key, value in flatten(tree).items() if value == "???"]
    if missing:
        spelled = [
            f"{key}=..." + (f" ({MAKE_NAMES[key]}=... with make)" if key in MAKE_NAMES else "") for key in missing
        ]
        raise ConfigError(f"profile {profile} needs {' and '.join(spelled)}")
    return check_config(tree)


def check_config(tree: dict[Any, Any]) -> StudyConfig:
    """Raises ConfigError: one line with all that is wrong in a profile's content."""
    study = tree.get("study")
    run = {key: value for key, value in tree.items() if key != "study"}
    try:
        return StudyConfig.model_validate({"study": study, "run": run})
    except ValidationError as fault:
        raise ConfigError("; ".join(map(_one_line, fault.errors()))) from None


def _one_line(error: Any) -> str:
    where = [str(part) for part in error["loc"]]
    if where and where[0] == "run":
        where = where[1:]
    if error["type"] == "extra_forbidden":
        parent = _section(where[:-1])
        return _unknown(".".join(where[:-1]) or "the profile", where[-1], parent)
    message = error["msg"].removeprefix("Value error, ")
    given = error["input"]
    shown = "" if isinstance(given, dict | list | Section) or given is None else f" (it is {given!r})"
    return f"{'.'.join(where)}: {message}{shown}" if where else message


def _section(where: list[str]) -> list[str]:
    """The keys that the section of this address knows."""
    model: Any = StudySection if where[:1] == ["study"] else RunConfig
    for part in where[1:] if where[:1] == ["study"] else where:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    return list(getattr(model, "model_fields", {}))


def _unknown(where: str, key: str, known: Any) -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    return f"{where} knows no {key}" + (f"; did you mean {near[0]}?" if near else "")
