"""A study's configuration: a profile, which is YAML, with overrides from the command line."""

import difflib
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import ValidationError, model_validator

from study.profile import Tree, lay_over, read_yaml
from study.settings import FORMS, Choices, Range, StudySection, Value
from wake2vec import ALL_METRICS, ConfigError, RunConfig, Section, check_keep_by, flatten, is_evaluated, unflatten

PROFILES = Path(__file__).parent / "profiles"
GPU_MEMORY = "computed.gpu_memory_gb"
"""Most memory that a trial's tensors took on a GPU, in 10^9 bytes; 0 on a CPU."""
BOUNDABLE = (*ALL_METRICS, GPU_MEMORY)
MAKE_NAMES = {"model.path": "MODEL", "corpus.path": "CORPUS", "vocabulary.lexicon": "LEXICON"}


class StudyConfig(Section):
    study: StudySection
    run: RunConfig
    """The knobs that don't vary, and defaults for those that do."""

    @model_validator(mode="after")
    def _check(self) -> "StudyConfig":
        knobs = self.run.knobs()
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
            if key in knobs
            for fault in self._faults_of_space(key, space)
        ]
        try:
            check_keep_by(self.run.train.keep_by)
        except ConfigError as fault:
            faults.append(str(fault))
        results = [objective.result for objective in self.study.objectives]
        faults += [_unknown("study.objectives", result, ALL_METRICS) for result in results if result not in ALL_METRICS]
        if len(set(results)) < len(results):
            faults.append("study.objectives names a result twice")
        for where, bounds in (("study.bounds", self.study.bounds), ("study.choice.bars", self.study.choice.bars)):
            named = [address for bound in bounds for address in (bound.result, bound.from_result) if address]
            faults += [_unknown(where, address, BOUNDABLE) for address in named if address not in BOUNDABLE]
            faults += [
                f"{where}: `start` is the figure's own value at step 0, where {bound.result} isn't measured"
                for bound in bounds
                if bound.from_start and bound.result in BOUNDABLE and not is_evaluated(bound.result)
            ]
        for name, values in self.study.anchors.items():
            faults += [_unknown(f"study.anchors.{name}", key, knobs) for key in values if key not in knobs]
            faults += [f"study.anchors.{name} must keep the study's {key}" for key in MAKE_NAMES if key in values]
            if all(key in knobs for key in values):
                faults += self._faults_of(f"study.anchors.{name}", {**self.study.baseline, **values})
        faults += self._faults_of_choice()
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _faults_of_space(self, key: str, space: Range | Choices) -> list[str]:
        """Of the ends of a range, or of each choice."""
        if isinstance(space, Range):
            default = flatten(RunConfig().model_dump())[key]
            if isinstance(default, bool) or not isinstance(default, int | float):
                return [f"study.space.{key} needs choices, as it is no number: {{choices: [...]}}"]
            odd = [f"{end:g}" for end in (space.low, space.high) if not end.is_integer()]
            if odd and isinstance(default, int):
                return [f"study.space.{key} takes whole numbers: {', '.join(odd)}"]
        return [fault for value in self.outermost(key) for fault in self._faults_of("study.space", {key: value})]

    def outermost(self, key: str) -> list[Value]:
        """Of a knob of the space: each choice, or both ends of its range, as whole numbers where the knob is one."""
        space = self.study.space[key]
        if isinstance(space, Choices):
            return space.choices
        kind = type(flatten(RunConfig().model_dump())[key])
        return [kind(space.low), kind(space.high)]

    def _faults_of(self, where: str, values: dict[str, Value]) -> list[str]:
        try:
            check_keep_by(self.run_config(values).train.keep_by)
        except ValidationError as fault:
            return [
                f"{where}: {line}"
                for line in _lines(fault.errors(), unflatten({**flatten(self.run.model_dump()), **values}))
            ]
        except ConfigError as fault:
            return [f"{where}: {fault}"]
        return []

    def _faults_of_choice(self) -> list[str]:
        faults = []
        choice = self.study.choice
        for key, values in (("weights", choice.weights), ("tolerances", choice.tolerances)):
            for named, number in values.items():
                if number < 0:
                    faults.append(f"study.choice.{key}.{named} must not be negative: it is {number:g}")
                try:
                    self.study.objective_at(named)
                except ValueError as fault:
                    faults.append(f"study.choice.{key}: {fault}")
        return faults

    def lies_in_space(self, values: dict[str, Value]) -> bool:
        """Whether these values, laid over the baseline, are ones that the sampler could draw."""
        space = self.study.space
        return all(key in space and space[key].holds(value) for key, value in values.items())

    def run_config(self, values: dict[str, Value]) -> RunConfig:
        """The configuration of a trial that has these values for the knobs of the space."""
        return RunConfig.model_validate(unflatten({**flatten(self.run.model_dump()), **values}))


def load_config(profile: str, overrides: Sequence[str] = ()) -> StudyConfig:
    """Read `study/profiles/<profile>.yaml`, or the YAML file named, and lay `key=value` overrides over it.

    Raises:
        ConfigError: one line with all that is wrong.
    """
    tree = read_profile(profile, overrides)
    missing = missing_settings(tree)
    if missing:
        spelled = [
            f"{key}=..." + (f" ({MAKE_NAMES[key]}=... with make)" if key in MAKE_NAMES else "") for key in missing
        ]
        raise ConfigError(f"profile {profile} needs {' and '.join(spelled)}")
    return check_config(tree)


def load_knobs(profile: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The knobs of a profile alone, of which none varies, with overrides laid over them.

    Raises:
        ConfigError: one line with all that is wrong.
    """
    tree = {key: value for key, value in read_profile(profile).items() if key != "study"}
    try:
        return RunConfig.model_validate(lay_over(tree, overrides))
    except ValidationError as fault:
        raise ConfigError("; ".join(_lines(fault.errors(), tree))) from None


def read_profile(profile: str, overrides: Sequence[str] = ()) -> Tree:
    """The content of a profile with overrides laid over it; what the user must give is still `???`.

    Raises:
        ConfigError: there is no such profile, or it can't be read.
    """
    path = Path(profile) if profile.endswith((".yaml", ".yml")) else PROFILES / f"{profile}.yaml"
    if not is_file(path):
        shown = textwrap.shorten(profile, 60, placeholder=" ...") or repr(profile)
        known = ", ".join(sorted(file.stem for file in PROFILES.glob("*.yaml")))
        raise ConfigError(f"no profile {shown}: give one of {known}, or the path of a YAML file")
    return lay_over(read_yaml(path), overrides)


def is_file(path: Path) -> bool:
    """Whether it is a plain file; False for a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def missing_settings(tree: Tree) -> list[str]:
    """Addresses of what a profile leaves to the user, and the user has not given."""
    return [key for key, value in flatten(tree).items() if value == "???"]


def check_config(tree: Tree) -> StudyConfig:
    """Raises ConfigError: one line with all that is wrong in a profile's content."""
    study = tree.get("study")
    run = {key: value for key, value in tree.items() if key != "study"}
    try:
        return StudyConfig.model_validate({"study": study, "run": run})
    except ValidationError as fault:
        raise ConfigError("; ".join(_lines(fault.errors(), tree))) from None


A_GROUP = "Input should be a group of settings, {key: value}"
MESSAGES = {"model_type": A_GROUP, "dict_type": A_GROUP, "list_type": "Input should be a list, [value, value]"}
"""What Pydantic says in Python's words."""


def _lines(errors: Sequence[Any], tree: Tree) -> list[str]:
    """A line for each setting that is wrong: what a type that has several forms says of each stands in one."""
    by_place: dict[tuple[str, ...], list[Any]] = {}
    for error in errors:
        where = [str(part) for part in error["loc"]]
        where = _known(where[1:] if where[:1] == ["run"] else where, tree, error["type"])
        by_place.setdefault(tuple(where), []).append(error)
    return [_one_line(list(where), found) for where, found in by_place.items()]


def _known(where: list[str], tree: Any, kind: str) -> list[str]:
    """The part of a place that a profile has; the rest names forms of a type."""
    found: list[str] = []
    for part in where:
        if isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        elif isinstance(tree, dict) and part in tree:
            tree = tree[part]
        elif kind == "missing" and part == where[-1] and isinstance(tree, dict):
            return [*found, part]
        elif part in FORMS:
            continue
        else:
            break
        found.append(part)
    return found


def _one_line(where: list[str], errors: Sequence[Any]) -> str:
    error = errors[0]
    if error["type"] == "extra_forbidden":
        parent = _section(where[:-1])
        return _unknown(".".join(where[:-1]) or "the profile", where[-1], parent)
    messages = list(
        dict.fromkeys(MESSAGES.get(each["type"]) or each["msg"].removeprefix("Value error, ") for each in errors)
    )
    message = " or ".join([messages[0], *(rest.removeprefix("Input should be ") for rest in messages[1:])])
    given = error["input"]
    shown = "" if isinstance(given, dict | list | Section) or given is None else f" (it is {_short(given)})"
    return f"{'.'.join(where)}: {message}{shown}" if where else message


def _short(given: object) -> str:
    try:
        return textwrap.shorten(repr(given), 60, placeholder=" ...")
    except ValueError:
        return "a number of more than 4,300 digits"


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


DEFAULT_PROFILE = "tiny"
RESULTS = Path("mlruns")
"""Where results lie, if nothing else is said."""
VARIABLES = {"study.trials": "TRIALS", "study.workers": "WORKERS", **MAKE_NAMES}


def make_command(
    target: str,
    profile: str,
    overrides: Sequence[str] | None = None,
    folder: Path = RESULTS,
    settings: Mapping[str, object] = MappingProxyType({}),
) -> str:
    """`make study PROFILE=t4 TRIALS=38 SET="train.rows=new"`: a target, for the study that was asked for.

    Overrides that make has a variable for stand under its name; a later one of a key wins, as it does in a profile, and
    `settings`, which are make's variables, win over both. What the profile leaves to the user and was not given is
    shown as `CORPUS=...`.
    """
    given = dict(override.split("=", 1) for override in overrides or [])
    words = {} if profile == DEFAULT_PROFILE else {"PROFILE": profile}
    words |= {VARIABLES[key]: value for key, value in given.items() if key in VARIABLES}
    words |= {VARIABLES.get(key, key): "..." for key in missing_settings(read_profile(profile, overrides or []))}
    words |= {name: str(value) for name, value in settings.items()}
    rest = shlex.join(f"{key}={value}" for key, value in given.items() if key not in VARIABLES)
    words |= {"SET": rest} if rest else {}
    words |= {"RESULTS": str(folder)} if folder != RESULTS else {}
    return " ".join(["make", target, *(f"{name}={shlex.quote(value)}" for name, value in words.items())])


def profile_text(config: StudyConfig) -> str:
    """All settings that aren't a default, as YAML that `load_config` reads to an equal configuration."""
    study = config.study.model_dump(exclude_defaults=True)
    study["space"] = {
        address: {key: value for key, value in space.model_dump().items() if value is not False}
        for address, space in config.study.space.items()
    }
    if config.study.bounds:
        study["bounds"] = list(map(str, config.study.bounds))
    if config.study.choice.bars:
        study["choice"]["bars"] = list(map(str, config.study.choice.bars))
    tree: dict[str, Any] = {"study": study, **config.run.model_dump(exclude_defaults=True)}
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100)
