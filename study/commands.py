"""How a study is taken away and repeated: the commands of make, and the whole configuration as a profile of its own."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from study.config import MAKE_NAMES, StudyConfig, missing_settings, read_profile

DEFAULT_PROFILE = "tiny"
RESULTS = Path("mlruns")
"""Where results lie, if nothing else is said."""
VARIABLES = {"study.trials": "TRIALS", **MAKE_NAMES}


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
