"""Profiles as data: YAML without anything that computes, and `key=value` overrides laid over it.

A profile comes from somebody else as often as not. So there are no environment variables, references or tags in it, and
its size, depth and number of nodes are bounded. What a setting's type makes text is taken as it was written.
"""

import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from study.settings import StudySection
from wake2vec import ConfigError, RunConfig, flatten

Tree = dict[str, Any]
LARGEST_BYTES = 1_000_000
DEEPEST = 20
MOST_NODES = 20_000
KNOBS = tuple(flatten(RunConfig().model_dump()))
BY_KNOB = ("space", "baseline")
"""Sections of a study whose keys are addresses of knobs."""
OVERRIDE = re.compile(r"(?P<address>[^\s=][^=]*)=(?P<value>.*)", re.DOTALL)


class _Loader(yaml.SafeLoader):
    """Safe YAML, in which a key stands once and 1e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        content = super().construct_mapping(node, deep)
        if len(content) < len(node.value):
            counts = Counter(str(key.value) for key, _ in node.value)
            twice = next(key for key, count in counts.items() if count > 1)
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice} is a duplicate", node.start_mark)
        return content


FLOAT = re.compile(r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{FLOAT.pattern})$"), list("-+0123456789."))
_Loader.yaml_implicit_resolvers = {  # a date is text
    letter: sorted(
        (found for found in resolvers if found[0] != "tag:yaml.org,2002:timestamp"),
        key=lambda found: found[0] != "tag:yaml.org,2002:int",  # before numbers with a point
    )
    for letter, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> Tree:
    """The content of a profile.

    Raises:
        ConfigError: it is no mapping, isn't YAML in UTF-8, refers to something, or is larger or deeper than any is.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise ConfigError(f"{path}: a profile has at most {LARGEST_BYTES:,} bytes: give another file")
        return _read(content.decode("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path}: {_one_line(fault)}") from None


def lay_over(tree: Tree, overrides: Sequence[str]) -> Tree:
    """The tree with each `key=value` in its place; a later one of a key wins, mappings are merged, `null` takes away.

    In `study.space`, `study.baseline` and `study.anchors.<name>` the rest of a key is the address of a knob:
    `study.space.train.steps.high=600`. A knob that is taken out of the space goes out of the baseline too.

    Raises:
        ConfigError: an override isn't `key=value`, its value can't be read, or it sets a knob that varies.
    """
    tree = _copied(tree)
    for override in overrides:
        match = OVERRIDE.fullmatch(override)
        if match is None:
            raise ConfigError(f"an override has the form key=value: {override}")
        path = _path(match["address"].strip())
        _set(tree, path, _value(path, match["value"]))
    study = tree.get("study")
    space = study.get("space") if isinstance(study, dict) else None
    for override in overrides:
        address, _, value = override.partition("=")
        if isinstance(space, dict) and address in space:
            raise ConfigError(
                f"{address} varies in this study, so {address}={value} would do nothing: move its range with "
                f"study.space.{address}.low=..., .high=... and study.baseline.{address}={value}, or fix it with "
                f"study.space.{address}=null {address}={value}"
            )
    return tree


def _read(text: str, where: str) -> Tree:
    try:
        for event in _bounded(yaml.parse(text, Loader=_Loader), where):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise ConfigError(f"{where}: a profile refers to nothing: write the value out in place of & and *")
            if getattr(event, "tag", None):
                raise ConfigError(f"{where}: a profile has no tags (!...): leave it out")
        loaded = _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as fault:
        line = "" if fault.problem_mark is None else f"line {fault.problem_mark.line + 1}: "
        raise ConfigError(f"{where}: {line}{fault.problem or fault.context}") from None
    except yaml.YAMLError as fault:
        raise ConfigError(f"{where}: {_one_line(fault)}") from None
    except ValueError:
        raise ConfigError(f"{where}: a whole number of more than 4,300 digits") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{where}: a profile is a mapping of settings")
    odd = next((key for key in _keys(loaded) if not isinstance(key, str)), None)
    if odd is not None:
        raise ConfigError(f"{where}: the keys of a profile are names of settings: {odd!r} is none; correct it")
    computed = next((value for value in _texts(loaded) if "${" in value), None)
    if computed is not None:
        raise ConfigError(f"{where}: a profile computes nothing: write the value out in place of {computed}")
    return loaded


def _bounded(events: Iterator[Any], where: str) -> Iterator[Any]:
    depth = 0
    for count, event in enumerate(events):
        if count > MOST_NODES:
            raise ConfigError(f"{where}: a profile has at most {MOST_NODES:,} keys and values: give another file")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ConfigError(f"{where}: a profile is at most {DEEPEST} levels deep")
        yield event


def _keys(content: Any) -> Iterator[Any]:
    if isinstance(content, dict):
        yield from content
    for part in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from _keys(part)


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        content = [*content, *content.values()]
    if isinstance(content, list):
        for part in content:
            yield from _texts(part)
    elif isinstance(content, str):
        yield content


def _path(address: str) -> list[str]:
    """The keys on the way to a setting: an address of a knob inside a study's section is one key."""
    parts = address.split(".")
    if parts[0] == "study" and parts[1:2] and parts[1] in BY_KNOB:
        return [*parts[:2], *_knob_first(parts[2:])]
    if parts[:2] == ["study", "anchors"] and len(parts) > 2:
        rest = ".".join(parts[2:])
        knob = max((knob for knob in KNOBS if rest.endswith(f".{knob}")), key=len, default=None)
        return [*parts[:2], *([rest] if knob is None else [rest.removesuffix(f".{knob}"), knob])]
    return parts


def _knob_first(parts: list[str]) -> list[str]:
    """`train.steps.low` -> `train.steps`, `low`; what begins with no knob stays one key, to be refused by its name."""
    for count in range(len(parts), 0, -1):
        if ".".join(parts[:count]) in KNOBS:
            return [".".join(parts[:count]), *parts[count:]]
    return [".".join(parts)] if parts else []


def _set(tree: Tree, path: list[str], value: Any) -> None:
    *way, last = path
    node = tree
    for key in way:
        if not isinstance(node.get(key), dict):
            node[key] = {}
        node = node[key]
    in_space = path[:2] == ["study", "space"]
    if in_space and len(path) == 3 and value is None:
        node.pop(last, None)
        if isinstance(baseline := tree["study"].get("baseline"), dict):
            baseline.pop(last, None)
    elif in_space and "choices" in (last, *(value if isinstance(value, dict) else ())):
        if last == "choices":  # in the range's place
            node.clear()
        node[last] = value
    else:
        node[last] = _merged(node.get(last), value)


def _merged(before: Any, after: Any) -> Any:
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return after
    return {**before, **{key: _merged(before.get(key), value) for key, value in after.items()}}


def _value(path: list[str], written: str) -> Any:
    """What a setting is given: as it was written where its type is text, else what YAML reads."""
    is_knob = path[0] == "study" and path[-1] in KNOBS and path[1] != "space"
    if _takes_text(_annotation(path[-1] if is_knob else ".".join(path))):
        return written
    return _read(f"value: {written}", f"{'.'.join(path)}={textwrap.shorten(written, 60, placeholder=' ...')}")["value"]


def _annotation(address: str) -> Any:
    """The declared type of a setting; None where there is none of that name."""
    parts = address.split(".")
    model: Any = RunConfig
    if parts[0] == "study":
        model, parts = StudySection, parts[1:]
    for part in parts:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            return None
        model = model.model_fields[part].annotation
    return model


def _takes_text(annotation: Any) -> bool:
    """Whether all that a type takes is text."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _takes_text(get_args(annotation)[0])
    if origin is Literal:
        return all(isinstance(value, str) for value in get_args(annotation))
    if origin in (Union, UnionType):
        return all(_takes_text(part) for part in get_args(annotation) if part is not NoneType)
    return annotation is str


def _copied(tree: Mapping[str, Any]) -> Tree:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in tree.items()}


def _one_line(fault: Exception) -> str:
    return " ".join(str(fault).split())
