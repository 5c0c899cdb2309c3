"""How a study is taken away and repeated: the commands of make, and the whole configuration as a profile of its own."""

import shlex
from collections.abc import Sequence
from typing import Any

import yaml

from study.config import MAKE_NAMES, StudyConfig

VARIABLES = {"study.trials": "TRIALS", **MAKE_NAMES}


def make_command(target: str, profile: str, overrides: Sequence[str]) -> str:
    """`make report PROFILE=t4 CORPUS=text.txt SET="train.rows=new"`, as a shell takes it.

    Overrides that make has a variable for stand under its name; a later one of a key wins, as it does in a profile.
    """
    given = dict(override.split("=", 1) for override in overrides)
    words = ["make", target] + ([f"PROFILE={profile}"] if profile != "tiny" else [])
    words += [f"{VARIABLES[key]}={value}" for key, value in given.items() if key in VARIABLES]
    rest = shlex.join(f"{key}={value}" for key, value in given.items() if key not in VARIABLES)
    return shlex.join(words) + (f" SET={shlex.quote(rest)}" if rest else "")


def profile_text(config: StudyConfig) -> str:
    """All settings that aren't a default, as YAML that `load_config` reads to an equal configuration."""
    study = config.study.model_dump(exclude_defaults=True)
    study["space"] = {
        address: {key: value for key, value in space.model_dump().items() if value is not False}
        for address, space in config.study.space.items()
    }
    if config.study.bounds:
        study["bounds"] = list(map(str, config.study.bounds))
    tree: dict[str, Any] = {"study": study, **config.run.model_dump(exclude_defaults=True)}
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100)
