"""The worked examples of docs/extend.md work: each is applied to a copy of the packages, and its last block run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", (ROOT / "docs/extend.md").read_text("utf-8"), re.M | re.S))
MOST_FILES = {"A metric": 1, "An initialiser": 2, "A token form": 2, "An objective": 0, "An executor": 2}
"""Source files that an example may touch."""


def blocks(section: str) -> list[tuple[str, str]]:
    """Language and text of each code block."""
    return re.findall(r"^```(\w+)\n(.*?)^```", SECTIONS[section], re.M | re.S)


def copied(folder: Path) -> Path:
    for package in ("wake2vec", "study"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def apply(section: str, folder: Path) -> set[Path]:
    """Do what the example says but for its last block; the files that it touched."""
    touched = set()
    for language, text in blocks(section)[:-1]:
        if new := re.match(r"# file: (\S+)\n", text):
            (folder / new[1]).write_text(text[new.end() :], encoding="utf-8")
            touched.add(Path(new[1]))
        elif language == "diff":
            for name, hunk in re.findall(r"^\+\+\+ b/(\S+)\n@@\n(.*?)(?=^--- |\Z)", text, re.M | re.S):
                lines = hunk.splitlines(keepends=True)
                before, after = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
                whole = (folder / name).read_text(encoding="utf-8")
                assert whole.count(before) == 1, f"{name} has not one place like this:\n{before}"
                (folder / name).write_text(whole.replace(before, after), encoding="utf-8")
                touched.add(Path(name))
    return touched


def outcome(section: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "check.py").write_text(blocks(section)[-1][1], encoding="utf-8")
    return subprocess.run([sys.executable, "check.py"], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("section", MOST_FILES)
def test_an_example_works_as_it_stands(section: str, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    sources = {path for path in apply(section, folder) if path.suffix == ".py"}
    assert len(sources) <= MOST_FILES[section], sources
    done = outcome(section, folder)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("section", ["A metric", "An initialiser", "A token form", "An executor"])
def test_without_its_change_an_example_fails(section: str, tmp_path: Path) -> None:
    assert outcome(section, copied(tmp_path)).returncode != 0
