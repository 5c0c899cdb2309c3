"""What the repository says of itself holds."""

import json
import re
import subprocess
import sys
from pathlib import Path

import wake2vec
from scripts import metrics_table
from wake2vec.config import DEFAULT_FOLDER

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_file_map_names_what_is_there() -> None:
    mapped = set(re.findall(r"^(?:│   )?[├└]── (\S+)", README, re.MULTILINE))
    top = {
        path.name
        for path in ROOT.iterdir()
        if path.name in {"study", "wake2vec", "tests", "mlruns", "bench", "docs", "scripts"}
    }
    assert top <= {name.rstrip("/") for name in mapped}
    for package in ("study", "wake2vec"):
        section = README.split(f"── {package}/")[1].split("\n├── ")[0]
        there = {path for path in (ROOT / package).iterdir() if path.is_dir() and not path.name.startswith("__")}
        assert {f"{path.name}/" for path in there} == set(re.findall(r"── (\w+/)", section)), package


def test_every_name_of_the_door_opens() -> None:
    for name in wake2vec.__all__:
        assert getattr(wake2vec, name) is not None, name


def test_commands_that_read_load_no_heavy_library() -> None:
    heavy = {"torch", "transformers", "mlflow", "matplotlib", "sklearn"}
    code = f"import sys, study.cli.main; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", README)) <= targets


def test_the_embedded_default_is_whole_and_small() -> None:
    files = list((DEFAULT_FOLDER / "base_model").iterdir())
    assert sum(path.stat().st_size for path in files) <= 10e6
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"} <= {
        path.name for path in files
    }
    words = (DEFAULT_FOLDER / "lexicon.txt").read_text().split()
    assert abs(len(words) / (len(words) + 4096) - 44_500 / 76_500) < 1e-3


def test_figures_have_all_columns() -> None:
    for path in (ROOT / "docs" / "figures").glob("*.json"):
        for row in json.loads(path.read_text()):
            assert set(row) == {"name", "value", "unit", "bar", "holds", "command", "machine", "commit"}, path


def test_the_table_of_figures_is_made_of_their_declarations() -> None:
    document = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert metrics_table.updated(document) == document, "run `make format`"
    assert metrics_table.updated(document.replace("| `training.lr` |", "| `training.rate` |")) == document
