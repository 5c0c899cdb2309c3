"""Set-up of `.venv`, with the standard library alone: `python scripts/setup.py`, then `... setup.py dev` for the tools.

All versions come from constraints.txt. One thing may be the machine's own: a torch that was built for CUDA, as Colab
brings it. Then `.venv` sees the machine's packages, torch is pinned to what is there, and pip isn't asked for it: it
would also fetch the CUDA libraries that torch names, gigabytes that the machine has in another way.

Elsewhere torch has two builds for Linux. The registry's is the one for CUDA, so without an NVIDIA GPU set-up takes the
CPU build: the one that pip finds by itself, or torch's own. TORCH=cpu and TORCH=cuda choose.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watch_pip import watched

ROOT = Path(__file__).parents[1]

CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
"""Where torch's own documentation says that its CPU builds for Linux are."""

WITHOUT_IT = f"torch's CPU build comes from {CPU_BUILDS}; TORCH=cuda takes pip's own, built for CUDA, gigabytes"

ASK_FOR_TORCH = ("accelerate", "bitsandbytes", "peft")
"""Packages that name torch, which is there, and may be the machine's own: they are installed without what they name."""

OLDER = "transformers4"

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


@dataclass(frozen=True)
class Build:
    """Which build of the pinned torch is installed."""

    megabytes: str
    """By which name its size stands in constraints.txt."""
    reason: str
    apart: tuple[str, ...] = ()
    """What pip is asked for first, where it wouldn't take this build by itself."""


def choose_build(offered: str, wanted: str, linux: bool, gpu: bool) -> Build:
    """The build for this machine; without a GPU never the one for CUDA, unless it is asked for.

    Args:
        offered: the version that pip would take by itself: 2.13.0+cpu, or the registry's 2.13.0, for CUDA on Linux.
        wanted: TORCH, which may be empty.

    Raises:
        SetupError: TORCH is something else, or asks for a build that isn't to be had.
    """
    if wanted not in ("", "cpu", "cuda"):
        raise SetupError(f"TORCH must be cpu or cuda: it is {wanted!r}; without it the machine decides")
    is_cpu = not linux or offered.endswith("+cpu")
    if wanted == "cuda" and is_cpu:
        where = "pip's own settings put it first (pip config list)" if linux else "there are others for Linux alone"
        raise SetupError(f"TORCH=cuda needs a build for CUDA, and pip finds {offered}: {where}")
    if is_cpu:
        return Build("torch-cpu", f"torch {offered}, the CPU build that pip finds" if linux else f"torch {offered}")
    if wanted == "cuda" or (gpu and not wanted):
        return Build("torch-cuda", f"torch {offered}, built for CUDA, with NVIDIA's libraries (gigabytes; TORCH=cpu)")
    why = "TORCH=cpu" if wanted else "no NVIDIA GPU is here (TORCH=cuda takes the build for CUDA, gigabytes)"
    build = f"{offered.split('+')[0]}+cpu"
    asked = ("--no-deps", "--extra-index-url", CPU_BUILDS, f"torch=={build}")
    return Build("torch-cpu", f"torch {build} from {CPU_BUILDS.split('/')[2]}: {why}", asked)


def offered_torch(root: Path, pinned: str) -> str:
    """The build of this version that pip would take, by the lists of its sources: no package is fetched."""
    command = [root / ".venv/bin/python", "-m", "pip", "index", "versions", "torch"]
    told = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603
    versions = re.findall(r"[^\s,()]+", told.stdout)
    return next((version for version in versions if version.split("+")[0] == pinned), pinned)


def megabytes_of(lines: Sequence[str]) -> dict[str, int]:
    """From the head of constraints.txt, by name."""
    return {told[1]: int(told[2]) for line in lines if (told := re.fullmatch(r"# megabytes: (\S+) (\d+)", line))}


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
    started = time.monotonic()
    project, lines = read_project(root)
    pins = [line for line in lines if not line.startswith("#")]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    print(f"set-up: a virtual environment in .venv with Python {python} (a few minutes, once)", flush=True)
    planned = plan(torch_of(sys.executable), sys.prefix == sys.base_prefix, project["dependencies"], pins)
    print(f"set-up: {planned.reason}", flush=True)
    make_environment(root, python, planned.kept is not None)
    (root / ".venv" / "constraints.txt").write_text("\n".join(planned.pins) + "\n", encoding="utf-8")

    megabytes = megabytes_of(lines)
    fetched = megabytes["run"]
    apart: tuple[str, ...] = ()
    if not planned.kept:
        pinned = next(line for line in pins if name(line) == "torch").removeprefix("torch==")
        gpu = shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()
        build = choose_build(offered_torch(root, pinned), os.environ.get("TORCH", ""), sys.platform == "linux", gpu)
        print(f"set-up: {build.reason}", flush=True)
        fetched += megabytes[build.megabytes]
        apart = build.apart
    print(f"set-up: fetches about {fetched:,} MB, less what pip has kept from before", flush=True)
    if apart:
        install(root, megabytes["torch-cpu"], *apart, remedy=WITHOUT_IT)
        fetched -= megabytes["torch-cpu"]
    install(root, fetched, *planned.requirements)
    install(root, 0, "--no-deps", "-e", ".")
    if planned.kept:
        check_kept(planned.kept, torch_of(root / ".venv/bin/python"))
        print("set-up: .venv imports this machine's own torch, checked", flush=True)
    print(f"set-up: done in {(time.monotonic() - started) / 60:.1f} minutes", flush=True)


def set_up_extra(root: Path, extra: str) -> None:
    """What tests and checks, benchmarks or Optuna's dashboard need beside it, into the same environment."""
    project, lines = read_project(root)
    megabytes = megabytes_of(lines)[extra]
    print(f"set-up: what `{extra}` needs; fetches about {megabytes} MB", flush=True)
    needs = project["optional-dependencies"][extra]
    rest = [need for need in needs if name(need) not in ASK_FOR_TORCH]
    if alone := [need for need in needs if name(need) in ASK_FOR_TORCH]:
        install(root, megabytes, "--no-deps", *alone)
    if rest:
        install(root, megabytes, *rest)


def set_up_older(root: Path) -> None:
    """transformers 4 with what it needs of its own, in a folder: a Python that has it in PYTHONPATH takes it for 5."""
    _, lines = read_project(root)
    megabytes = megabytes_of(lines)[OLDER]
    print(f"set-up: transformers 4, for the tests of exports; fetches about {megabytes} MB", flush=True)
    install(
        root, megabytes, "--no-deps", "--upgrade", "--target", f".venv/{OLDER}", *older_pins(lines), constrained=False
    )


def older_pins(lines: Sequence[str]) -> list[str]:
    """From constraints.txt, whose other pins they contradict."""
    return next(line for line in lines if line.startswith(f"# {OLDER}: ")).split()[2:]


def read_project(root: Path) -> tuple[dict[str, Any], list[str]]:
    """The project as pyproject.toml describes it, and the lines of constraints.txt."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project, (root / "constraints.txt").read_text(encoding="utf-8").splitlines()


def make_environment(root: Path, python: str, sees_machine: bool) -> None:
    """`.venv` with a pip, made anew where it is of another kind."""
    options = ["--without-pip"]
    if sees_machine:
        options += ["--system-site-packages"]
    described = root / ".venv" / "pyvenv.cfg"
    if described.is_file() and other_kind(described.read_text(encoding="utf-8"), python, sees_machine):
        options += ["--clear"]
    command = [sys.executable, "-m", "venv", *options, ".venv"]
    if subprocess.run(command, cwd=root, check=False).returncode:  # noqa: S603
        raise SetupError("set-up stopped, the lines above say why: venv failed; try it again")
    bring_pip(root)


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


def install(root: Path, megabytes: int, *what: str, constrained: bool = True, remedy: str = "try it again") -> None:
    """Not compiled: that takes as long as to unpack, and Python compiles what it imports."""
    python = root / ".venv/bin/python"
    pip = [str(python), "-m", "pip", "install", "--no-compile", "--progress-bar", "off", "--disable-pip-version-check"]
    # What the machine's own packages would like is not this environment's affair.
    constraints = ["-c", ".venv/constraints.txt"] if constrained else []
    command = [*pip, "--no-warn-conflicts", *constraints, *what]
    site = root / f".venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    if watched(command, root, megabytes, site):
        raise SetupError(f"set-up stopped, the lines above say why: pip install failed; {remedy}")


def main() -> None:
    try:
        if sys.argv[1:] == [OLDER]:
            set_up_older(ROOT)
        elif sys.argv[1:]:
            set_up_extra(ROOT, sys.argv[1])
        else:
            set_up(ROOT)
    except SetupError as fault:
        sys.exit(f"error: {fault}")


if __name__ == "__main__":
    main()
