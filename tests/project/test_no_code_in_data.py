"""Nothing that is read as data can run: the lint holds it, and is tried with each thing that it must catch."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLANTED = {
    "import pickle\npickle.loads(b'')": "TID251",
    "from pickle import loads\nloads(b'')": "TID251",
    "import cloudpickle": "TID251",
    "import joblib": "TID251",
    "import shelve": "TID251",
    "import marshal\nmarshal.loads(b'')": "TID251",
    "import torch\ntorch.load('x')": "TID251",
    "from torch import load\nload('x')": "TID251",
    "import yaml\nyaml.load('x', Loader=yaml.Loader)": "TID251",
    "import yaml\nyaml.unsafe_load('x')": "TID251",
    "eval(input())": "S307",
    "exec(input())": "S102",
    "import os\nos.system('ls ' + input())": "TID251",
    "import subprocess\nsubprocess.run('ls ' + input(), shell=True)": "S602",
    "import subprocess\nsubprocess.getoutput('ls')": "TID251",
}
EXEMPT = re.compile(r"noqa[^\n]*\b(TID251|S102|S301|S302|S307|S506|S602|S604|S605|S614)\b|# noqa(?!:)")
KNOWN = {"wake2vec/metrics/registry.py": 1}
"""Reads what this project's own files declare, without running them."""


def sources() -> list[Path]:
    told = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in told.stdout.split()]


@pytest.mark.parametrize("place", ["study/planted.py", "wake2vec/planted.py", "bench/planted.py", "scripts/planted.py"])
def test_the_lint_catches_what_is_planted(place: str) -> None:
    """In each folder, as some have rules of their own. The control: a line that harms nobody."""
    for code, rule in {**PLANTED, "import json\njson.loads('1')": ""}.items():
        command = [sys.executable, "-m", "ruff", "check", "--quiet", "--stdin-filename", place, "-"]
        told = subprocess.run([*command, "--output-format", "concise"], cwd=ROOT, input=f"{code}\n", **PIPES)
        found = set(re.findall(r" (TID251|S\d+) ", told.stdout))
        assert (rule in found) if rule else not found, (code, told.stdout)


PIPES = {"capture_output": True, "text": True, "check": False}


def remote_code(text: str) -> list[int]:
    """Lines of calls that would run a model's own code: ruff has no rule for it."""
    return [
        word.value.lineno
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call)
        for word in call.keywords
        if word.arg in ("trust_remote_code", "allow_pickle")
        and not (isinstance(word.value, ast.Constant) and word.value.value is False)
    ]


def test_no_model_s_code_is_run_and_no_rule_is_waived() -> None:
    assert remote_code(
        "load(trust_remote_code=True)\nload(trust_remote_code=asked)\nload(trust_remote_code=False)"
    ) == [1, 2]
    waived: dict[str, int] = {}
    for path in sources():
        text = path.read_text(encoding="utf-8")
        assert remote_code(text) == [], path
        is_test = path.is_relative_to(ROOT / "tests")
        if not is_test and (found := EXEMPT.findall(text)):
            waived[str(path.relative_to(ROOT))] = len(found)
    assert waived == KNOWN
