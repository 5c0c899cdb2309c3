"""Set-up keeps a machine's own torch that was built for CUDA, and takes the pinned one everywhere else."""

import importlib.util
import os
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
DEPENDENCIES = ["numpy", "torch>=2.6,<3"]
PINS = ["numpy==2.4.6", "torch==2.13.0"]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("project_setup", ROOT / "scripts" / "setup.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


setup = load()


def torch(build: str, cuda: str | None = "12.6", file: str = "/machine/torch/__init__.py") -> object:
    return setup.Torch(version=build, build=build, cuda=cuda, file=file)


@pytest.mark.parametrize("build", ["2.6.0", "2.8.0+cu126", "2.13.0", "2.15.1+cu130", "2.9.0a0+50eac811a6.nv25.9"])
def test_a_torch_built_for_cuda_stays_and_no_resolver_is_asked_for_it(build: str) -> None:
    planned = setup.plan(torch(build), True, DEPENDENCIES, PINS)
    assert planned.kept == torch(build)
    assert planned.pins == ("numpy==2.4.6", f"torch=={build}")
    assert planned.requirements == ("numpy",)
    assert planned.reason == f"torch {build} stays, this machine's own, built for CUDA 12.6"


@pytest.mark.parametrize(
    ("found", "shareable", "why"),
    [
        (None, True, "has none"),
        (torch("2.13.0+cpu", None), True, "2.13.0+cpu isn't built for CUDA"),
        (torch("2.5.1+cu121"), True, "2.5.1+cu121 isn't >=2.6,<3"),
        (torch("3.0.0"), True, "3.0.0 isn't >=2.6,<3"),
        (torch("2.8.0+cu126"), False, "2.8.0+cu126 is in a virtual environment, which can't share it"),
    ],
)
def test_everywhere_else_torch_is_the_pinned_one(found: object, shareable: bool, why: str) -> None:
    planned = setup.plan(found, shareable, DEPENDENCIES, PINS)
    assert planned == setup.Plan(None, planned.reason, tuple(PINS), tuple(DEPENDENCIES))
    assert planned.reason.startswith("torch 2.13.0: this machine")
    assert planned.reason.endswith(why)


def test_an_environment_with_another_torch_than_the_machines_is_refused_in_one_line() -> None:
    own = torch("2.8.0+cu126")
    setup.check_kept(own, own)
    for seen, shown in ((torch("2.8.0+cu126", file="/venv/torch/__init__.py"), "/venv/torch"), (None, "imports none")):
        with pytest.raises(setup.SetupError, match=shown) as refused:
            setup.check_kept(own, seen)
        assert "delete .venv" in str(refused.value)
        assert "\n" not in str(refused.value)


def test_an_environment_of_another_python_or_with_other_packages_is_made_anew() -> None:
    settings = "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.12.1\n"
    assert not setup.other_kind(settings, "3.12", False)
    assert setup.other_kind(settings, "3.13", False)
    assert setup.other_kind(settings, "3.1", False)
    assert setup.other_kind(settings, "3.12", True)


def test_the_projects_own_files_give_what_set_up_reads() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all("==" in line for line in pins)
    assert pins == sorted(pins, key=lambda line: line.split("==")[0].lower())
    planned = setup.plan(torch("2.8.0+cu126"), True, project["dependencies"], pins)
    assert set(project["dependencies"]) - set(planned.requirements) == {"torch>=2.6,<3"}
    named = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pinned = {setup.name(line).lower().replace("_", "-") for line in pins}
    assert {setup.name(line).lower().replace("_", "-") for line in named} <= pinned


def test_no_pinned_package_asks_for_torch_by_itself() -> None:
    """If one did, pip would go after all that the machine's torch names; so benchmarks take theirs without needs."""
    pinned = {setup.name(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    pinned -= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["bench"])
    needs = {
        found.name
        for found in distributions()
        for line in found.requires or []
        if found.name in pinned and setup.name(line) == "torch" and "extra ==" not in line
    }
    assert not needs


BACKEND = """
from zipfile import ZipFile

def build_editable(folder, settings=None, metadata=None):
    with ZipFile(f"{folder}/project-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("project-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: project\\nVersion: 1\\n")
        wheel.writestr("project-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("project-1.dist-info/RECORD", "")
    return "project-1-py3-none-any.whl"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of two requirements, and a shelf of wheels that has another build of torch, the pinned one."""
    root = tmp_path / "project"
    (root / "scripts").mkdir(parents=True)
    (root / "scripts" / "setup.py").write_bytes((ROOT / "scripts" / "setup.py").read_bytes())
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "project"\nversion = "1"\ndependencies = ["reader", "torch>=2.6,<3"]\n'
    )
    (root / "backend.py").write_text(BACKEND)
    (root / "constraints.txt").write_text("# exact versions\nreader==1.0\ntorch==2.13.0\n")
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name, version, files in (
        ("reader", "1.0", {"reader.py": ""}),
        ("torch", "2.13.0", {"torch/__init__.py": module("2.13.0+cpu", None)}),
    ):
        with ZipFile(shelf / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            for path, content in {**files, **metadata(name, version)}.items():
                wheel.writestr(path, content)
    return root


def module(build: str, cuda: str | None) -> str:
    return f"from types import SimpleNamespace\n__version__ = {build!r}\nversion = SimpleNamespace(cuda={cuda!r})\n"


def metadata(name: str, version: str, more: str = "") -> dict[str, str]:
    folder = f"{name}-{version}.dist-info"
    return {
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}",
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{folder}/RECORD": "",
    }


@pytest.mark.parametrize(
    ("cuda", "seen"), [("12.6", "2.9.0+cu126 machine"), (None, "2.13.0+cpu .venv")], ids=["cuda", "cpu"]
)
def test_a_real_set_up_without_network(project: Path, tmp_path: Path, cuda: str | None, seen: str) -> None:
    minor = f"python3.{sys.version_info.minor}"
    machine = tmp_path / "machine" / "lib" / minor / "site-packages"  # what this Python sees beside its own
    (machine / "torch").mkdir(parents=True)
    (machine / "torch" / "__init__.py").write_text(module("2.9.0+cu126" if cuda else "2.9.0+cpu", cuda))
    for path, content in metadata("torch", "2.9.0", "Requires-Dist: gigabytes-of-cuda\n").items():
        (machine / path).parent.mkdir(exist_ok=True)
        (machine / path).write_text(content)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))},
        "PYTHONUSERBASE": str(tmp_path / "machine"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "shelf"),
    }
    base = Path(sys.base_prefix) / "bin" / minor
    if not cuda and subprocess.run([base, "-m", "ensurepip", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("this Python has no pip to give, and there is no network to fetch one")
    done = subprocess.run(
        [base, "scripts/setup.py"], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    look = "import torch, reader; print(torch.__version__, torch.__file__)"
    shown = subprocess.run(
        [project / ".venv/bin/python", "-c", look], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert shown[0] == seen.split()[0]
    assert f"/{seen.split()[1]}/" in shown[1]
    assert ("checked" in done.stdout) == (cuda is not None)
