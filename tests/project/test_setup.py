"""Set-up keeps a machine's own torch that was built for CUDA, and takes the pinned one everywhere else."""

import importlib.util
import io
import os
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
DEPENDENCIES = ["numpy", "torch>=2.6,<3"]
PINS = ["numpy==2.4.6", "torch==2.13.0"]


def load() -> ModuleType:
    sys.path.insert(0, str(ROOT / "scripts"))  # as Python does where it runs a script
    spec = importlib.util.spec_from_file_location("project_setup", ROOT / "scripts" / "setup.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


setup = load()
from watch_pip import Watch, watched  # noqa: E402 - beside it

CPU = ("--no-deps", "--extra-index-url", setup.CPU_BUILDS, "torch==2.13.0+cpu")


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
    sizes = {"run", "torch-cpu", "torch-cuda", setup.OLDER, *project["optional-dependencies"]}
    assert set(setup.megabytes_of(lines)) == sizes
    assert all("==" in line for line in [*pins, *setup.older_pins(lines)])
    assert pins == sorted(pins, key=lambda line: line.split("==")[0].lower())
    planned = setup.plan(torch("2.8.0+cu126"), True, project["dependencies"], pins)
    assert set(project["dependencies"]) - set(planned.requirements) == {"torch>=2.6,<3"}
    named = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pinned = {setup.name(line).lower().replace("_", "-") for line in pins}
    assert {setup.name(line).lower().replace("_", "-") for line in named} <= pinned


def test_no_pinned_package_asks_for_torch_by_itself() -> None:
    """If one did, pip would go after all that the machine's torch names; those that do are installed without needs."""
    pinned = {setup.name(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    needs = {
        found.name
        for found in distributions()
        for line in found.requires or []
        if found.name in pinned and setup.name(line) == "torch" and "extra ==" not in line
    }
    assert needs <= set(setup.ASK_FOR_TORCH)
    assert needs, "no control"


BACKEND = """
from zipfile import ZipFile

def build_editable(folder, settings=None, metadata=None):
    with ZipFile(f"{folder}/project-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("project-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: project\\nVersion: 1\\n")
        wheel.writestr("project-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("project-1.dist-info/RECORD", "")
    return "project-1-py3-none-any.whl"
"""


HEAD = "# megabytes: run 1\n# megabytes: torch-cpu 192\n# megabytes: torch-cuda 3200\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of two requirements, and a shelf of wheels that has another build of torch, the pinned one."""
    root = tmp_path / "project"
    (root / "scripts").mkdir(parents=True)
    for script in ("setup.py", "watch_pip.py"):
        (root / "scripts" / script).write_bytes((ROOT / "scripts" / script).read_bytes())
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "project"\nversion = "1"\ndependencies = ["reader", "torch>=2.6,<3"]\n'
    )
    (root / "backend.py").write_text(BACKEND)
    (root / "constraints.txt").write_text(HEAD + "reader==1.0\ntorch==2.13.0\n")
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name, version, files in (
        ("reader", "1.0", {"reader.py": ""}),
        ("torch", "2.13.0+cpu", {"torch/__init__.py": module("2.13.0+cpu", None)}),
    ):
        shelve(shelf, name, version, files)
    return root


def shelve(shelf: Path, name: str, version: str, files: dict[str, str]) -> None:
    with ZipFile(shelf / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, content in {**files, **metadata(name, version)}.items():
            wheel.writestr(path, content)


def module(build: str, cuda: str | None) -> str:
    return f"from types import SimpleNamespace\n__version__ = {build!r}\nversion = SimpleNamespace(cuda={cuda!r})\n"


def metadata(name: str, version: str, more: str = "") -> dict[str, str]:
    folder = f"{name}-{version}.dist-info"
    return {
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}",
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{folder}/RECORD": "",
    }


@pytest.mark.needs("ensurepip")
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
    done, environment = set_up(project, tmp_path)
    assert done.returncode == 0, done.stderr
    look = "import torch, reader; print(torch.__version__, torch.__file__)"
    shown = subprocess.run(
        [project / ".venv/bin/python", "-c", look], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert shown[0] == seen.split()[0]
    assert f"/{seen.split()[1]}/" in shown[1]
    assert ("checked" in done.stdout) == (cuda is not None)
    assert f"fetches about {1 if cuda else 193} MB" in done.stdout


@pytest.mark.needs("ensurepip")
def test_gigabytes_are_fetched_only_where_they_were_asked_for(project: Path, tmp_path: Path) -> None:
    """Pip would take the build for CUDA, the only one that it finds here: the CPU build is asked for, in vain."""
    (tmp_path / "shelf" / "torch-2.13.0+cpu-py3-none-any.whl").unlink()
    shelve(tmp_path / "shelf", "torch", "2.13.0", {"torch/__init__.py": module("2.13.0+cu130", "13.0")})
    for wanted in ("cpu", "cuda"):
        done, _ = set_up(project, tmp_path, TORCH=wanted)
        said = done.stdout.splitlines()
        size = {"cpu": "193", "cuda": "3,201"}[wanted]
        assert said[3].startswith(f"set-up: fetches about {size} MB"), done.stdout
        installed = list((project / ".venv").glob("lib/python3*/site-packages/torch"))
        assert ("TORCH=cuda takes pip's own" in done.stderr) == (wanted == "cpu")
        assert (done.returncode == 0) == bool(installed) == (wanted == "cuda"), done.stderr
    done, _ = set_up(project, tmp_path, TORCH="tpu")
    assert done.stderr == "error: TORCH must be cpu or cuda: it is 'tpu'; without it the machine decides\n"


def set_up(project: Path, folder: Path, **more: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """With the wheels on the shelf and nothing else; and its environment."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON", "TORCH"))},
        "PYTHONUSERBASE": str(folder / "machine"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder / "shelf"),
        **more,
    }
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    command = [python, "scripts/setup.py"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    return done, environment


@pytest.mark.parametrize(
    ("offered", "wanted", "gpu", "size", "apart"),
    [
        ("2.13.0+cpu", "", False, "torch-cpu", ()),
        ("2.13.0+cpu", "cpu", True, "torch-cpu", ()),
        ("2.13.0", "", False, "torch-cpu", CPU),
        ("2.13.0", "cpu", True, "torch-cpu", CPU),
        ("2.13.0", "", True, "torch-cuda", ()),
        ("2.13.0", "cuda", False, "torch-cuda", ()),
        ("2.13.0+cu130", "", False, "torch-cpu", CPU),
    ],
)
def test_without_a_gpu_the_build_is_the_cpus(
    offered: str, wanted: str, gpu: bool, size: str, apart: tuple[str, ...]
) -> None:
    build = setup.choose_build(offered, wanted, True, gpu)
    assert (build.megabytes, build.apart) == (size, apart)
    if offered == "2.13.0":  # where there is one build alone, nothing is chosen
        assert setup.choose_build(offered, "", False, False).apart == ()


def test_a_build_for_cuda_that_is_not_to_be_had_is_refused() -> None:
    for offered, linux in (("2.13.0+cpu", True), ("2.13.0", False)):
        with pytest.raises(setup.SetupError, match=r"TORCH=cuda needs a build for CUDA, and pip finds"):
            setup.choose_build(offered, "cuda", linux, True)


def test_in_a_file_the_last_line_says_where_pip_ended(tmp_path: Path) -> None:
    program = (
        "import pathlib\nprint('Installing collected packages: last, reader', flush=True)\n"
        f"for name in ('last', 'reader'): pathlib.Path({str(tmp_path)!r}, name + '-1.0.dist-info').mkdir()"
    )
    out = io.StringIO()
    assert watched([sys.executable, "-c", program], tmp_path, 480, tmp_path, out) == 0
    assert out.getvalue().splitlines()[-1] == "set-up: installed 2 of 2 packages"


def test_what_pip_says_is_told_as_progress(tmp_path: Path) -> None:
    (tmp_path / "torch-2.12.0.dist-info").mkdir()
    watch = Watch(480, tmp_path)
    watch.hear("  Downloading reader-1.0-py3-none-any.whl (500 kB)")
    watch.hear("  Downloading torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl (191.8 MB)")
    assert watch.text() == "fetched 0 of about 480 MB, now torch, 192 MB"
    watch.hear("Collecting last")
    watch.hear("  Using cached last-1.0-py3-none-any.whl (2.0 MB)")
    assert watch.text() == "fetched 192 of about 480 MB, now last, 2 MB"
    watch.hear("Installing collected packages: last, reader, torch")
    (tmp_path / "last-1.0.dist-info").mkdir()
    assert watch.text() == "installed 1 of 3 packages"
    (tmp_path / "torch-2.12.0.dist-info").rename(tmp_path / "torch-2.13.0.dist-info")  # it takes another's place
    assert watch.text() == "installed 2 of 3 packages"
