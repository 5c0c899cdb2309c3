"""The Colab notebook runs from its first cell to an exported model, on the embedded default and without network."""

import json
import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "colab.ipynb"
SMALL = "train.batch_blocks=2 corpus.block_tokens=32 sample.new_tokens=8 study.seeds=2"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project as set-up leaves it, in a folder of its own, with short trials and a short corpus.

    `.venv` is the environment that runs the tests.
    """
    root = tmp_path / "clone"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("study", "wake2vec", "scripts"):
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy2(ROOT / name, root)
    (root / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (root / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    (root / ".venv" / "run").touch()
    tiny = root / "study" / "profiles" / "tiny.yaml"
    steps = tiny.read_text(encoding="utf-8").replace("low: 40, high: 120", "low: 4, high: 8").replace(": 120", ": 8")
    tiny.write_text(steps, encoding="utf-8")
    text = (root / "wake2vec" / "default" / "corpus.txt").read_text(encoding="utf-8")
    (root / "corpus.txt").write_text(text[:60_000], encoding="utf-8")
    return root


def test_the_notebook_is_committed_without_outputs_and_its_settings_are_one_cell() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert [cell["metadata"].get("tags", []) for cell in code] == [["parameters"], *[[]] * (len(code) - 1)]


def test_the_notebook_runs_to_an_exported_model(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drive = tmp_path / "drive"
    drive.mkdir()
    settings = {
        "PROFILE": "tiny",
        "CORPUS": "corpus.txt",
        "LEXICON": "",
        "TRIALS": "2",
        "SET": SMALL,
        "FOR": "10m",
        "MIRROR": str(drive / "results"),
        "RESULTS": str(tmp_path / "mlruns"),
        "EXPORT": str(drive / "export"),
    }
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    first = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    first.source += "".join(f"\n{name} = {value!r}" for name, value in settings.items())

    for name in [name for name in os.environ if name.startswith("MAKE") or name == "MFLAGS"]:
        monkeypatch.delenv(name)  # of the make that runs the tests
    for name, value in {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(tmp_path / "ipython")}.items():
        monkeypatch.setenv(name, value)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(clone)}}).execute()

    printed = "".join(
        output.get("text", "") for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    )
    assert "not on Colab" in printed
    assert "Loaded again with plain transformers" in printed
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= {
        path.name for path in (drive / "export").iterdir()
    }
    assert list((drive / "results").iterdir())
    assert not (clone / "mlruns").exists()
