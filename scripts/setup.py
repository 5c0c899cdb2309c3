"""Set-up of `.venv`, with the standard library alone: `python scripts/setup.py`, then `... setup.py dev` for the tools.

All versions come from constraints.txt. One thing may be the machine's own: a torch that was built for CUDA, as Colab
brings it. Then `.venv` sees the machine's packages, torch is pinned to what is there, and pip isn't asked for it: it
would also fetch the CUDA libraries that torch names, gigabytes that the machine has in another way.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

LOOK = """
import importlib.metadata, json, os, torch
print(json.dumps({
    "version": importlib.metadata.version("torch"),
    "build": str(torch.__version__),
    "cuda": torch.version.cuda,
    "file": os.path.realpath(torch.__file__),
}))
"""


class SetupError(Exception):
    """What a user can put right: one line."""


@dataclass(frozen=True)
class Torch:
    """A torch that a Python imports."""

    version: str
    """As pip names it: the registry's 2.6.0 says 2.6.0+cu124 of itself."""
    build: str
    cuda: str | None
    """The CUDA that it was built for; None for a CPU build."""
    file: str


@dataclass(frozen=True)
class Plan:
    """What pip is asked for."""

    kept: Torch | None
    """The machine's own torch, which the environment will import."""
    reason: str
    pins: tuple[str, ...]
    requirements: tuple[str, ...]


def plan(found: Torch | None, shareable: bool, dependencies: Sequence[str], pins: Sequence[str]) -> Plan:
    """Keep the torch that was found, or take the pinned one.

    Args:
        found: the torch that the chosen Python imports.
        shareable: whether another environment can see that Python's packages; those of a virtual environment it can't.
        dependencies: the project's, among them torch with its supported range.
        pins: exact versions, among them torch's.
    """
    supported = next(line for line in dependencies if name(line) == "torch").removeprefix("torch")
    pinned = next(line for line in pins if name(line) == "torch").replace("==", " ")
    if found is None:
        reason = f"{pinned}: this machine has none"
    elif found.cuda is None:
        reason = f"{pinned}: this machine's {found.build} isn't built for CUDA"
    elif not within(found.version, supported):
        reason = f"{pinned}: this machine's {found.build} isn't {supported}"
    elif not shareable:
        reason = f"{pinned}: this machine's {found.build} is in a virtual environment, which can't share it"
    else:
        return Plan(
            found,
            f"torch {found.build} stays, this machine's own, built for CUDA {found.cuda}",
            (*(line for line in pins if name(line) != "torch"), f"torch=={found.version}"),
            tuple(line for line in dependencies if name(line) != "torch"),
        )
    return Plan(None, reason, tuple(pins), tuple(dependencies))


def name(requirement: str) -> str:
    """`torch>=2.6,<3` -> `torch`."""
    return re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0]


def within(version: str, supported: str) -> bool:
    """Whether a version is in a range of `>=` and `<`: ("2.6.0+cu124", ">=2.6,<3") -> True."""
    for bound in supported.split(","):
        operator, limit = re.fullmatch(r"(>=|<)([\d.]+)", bound.strip()).groups()  # type: ignore[union-attr]
        if (numbers(version) >= numbers(limit)) != (operator == ">="):
            return False
    return True


def numbers(version: str) -> tuple[int, ...]:
    """`2.6.0+cu124` -> (2, 6, 0)."""
    return tuple(int(part) for part in re.match(r"[\d.]*\d", version)[0].split("."))  # type: ignore[index]


def other_kind(settings: str, python: str, sees_machine: bool) -> bool:
    """Whether pyvenv.cfg describes an environment of another Python, or one that sees other packages."""
    values = dict(re.findall(r"^(\S+) *= *(.*)$", settings, re.MULTILINE))
    same_python = values.get("version", "").startswith(f"{python}.")
    return not same_python or (values.get("include-system-site-packages") == "true") != sees_machine


def torch_of(python: str | Path) -> Torch | None:
    """The torch that a Python imports, or None where that fails."""
    looked = subprocess.run([python, "-c", LOOK], capture_output=True, text=True, check=False)  # noqa: S603
    return None if looked.returncode else Torch(**json.loads(looked.stdout.splitlines()[-1]))


def check_kept(kept: Torch | None, seen: Torch | None) -> None:
    """The environment imports the machine's own torch: the same version from the same file.

    Raises:
        SetupError: it doesn't.
    """
    if kept is not None and kept != seen:
        wrong = f"{seen.build} ({seen.file})" if seen else "none"
        raise SetupError(
            f".venv must import this machine's own torch {kept.build} ({kept.file}), and imports {wrong}: "
            "delete .venv and run the same command again"
        )


def set_up(root: Path) -> None:
    """`.venv` with what a study needs."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    print(f"set-up: a virtual environment in .venv with Python {python} (a few minutes, once)", flush=True)
    planned = plan(torch_of(sys.executable), sys.prefix == sys.base_prefix, project["dependencies"], pins)
    print(f"set-up: {planned.reason}", flush=True)

    settings = root / ".venv" / "pyvenv.cfg"
    options = ["--without-pip"]
    if planned.kept:
        options += ["--system-site-packages"]
    if settings.is_file() and other_kind(settings.read_text(encoding="utf-8"), python, planned.kept is not None):
        options += ["--clear"]
    run([sys.executable, "-m", "venv", *options, ".venv"], root)
    bring_pip(root)
    (root / ".venv" / "constraints.txt").write_text("\n".join(planned.pins) + "\n", encoding="utf-8")
    install(root, *planned.requirements)
    install(root, "--no-deps", "-e", ".")
    if planned.kept:
        check_kept(planned.kept, torch_of(root / ".venv/bin/python"))
        print("set-up: .venv imports this machine's own torch, checked", flush=True)


def set_up_tools(root: Path) -> None:
    """Tools for tests and checks, into the same environment."""
    print("set-up: tools for tests and checks", flush=True)
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    install(root, *project["optional-dependencies"]["dev"])


def bring_pip(root: Path) -> None:
    """Give `.venv` a pip: the machine's if it is seen, the one inside Python, or one that the machine's pip installs.

    Debian's and Colab's Python come without the second.
    """
    python = root / ".venv/bin/python"
    ways: list[list[str | Path]] = [
        [python, "-m", "pip", "--version"],
        [python, "-m", "ensurepip"],
        [sys.executable, "-m", "pip", "--python", python, "install", "pip"],
    ]
    if all(subprocess.run(way, capture_output=True, check=False).returncode for way in ways):  # noqa: S603
        raise SetupError(
            f"set-up needs ensurepip or pip, and {sys.executable} has neither: install its venv package "
            "(apt install python3-venv) or give PYTHON=path/to/python"
        )


def install(root: Path, *what: str) -> None:
    pip = [str(root / ".venv/bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    # What the machine's own packages would like is not this environment's affair.
    run([*pip, "--no-warn-conflicts", "-c", ".venv/constraints.txt", *what], root)


def run(command: list[str], root: Path) -> None:
    if subprocess.run(command, cwd=root, check=False).returncode:  # noqa: S603
        raise SetupError(f"set-up stopped, the lines above say why: {' '.join(command[2:4])} failed; try it again")


def main() -> None:
    try:
        (set_up_tools if sys.argv[1:] == ["dev"] else set_up)(ROOT)
    except SetupError as fault:
        sys.exit(f"error: {fault}")


if __name__ == "__main__":
    main()
