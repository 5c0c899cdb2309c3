"""What tests take from the machine beside Python and make: a test that needs a tool is left out where there is none.

A test says so by `@pytest.mark.needs("chromium")`, a fixture by `need("chromium")`; the summary names what was left
out, and how to get it. With REQUIRE_TOOLS=1, as in `.ci/run`, a test fails for want of a tool.
"""

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from bench.browser import REMEDY, find_chromium
from bench.servers import PGBOUNCER, find_postgres
from wake2vec.training.quantized import NEEDED
from wake2vec.training.quantized import REMEDY as QUANTIZED_REMEDY


@dataclass(frozen=True)
class Tool:
    there: Callable[[], bool]
    what: str
    remedy: str
    required: bool = True
    """By REQUIRE_TOOLS; not so a device, which nobody can install."""


OLDER = Path(sys.prefix) / "transformers4"
"""Where set-up puts transformers 4 with what it needs of its own: a Python with this folder in PYTHONPATH takes it."""

TOOLS = {
    "chromium": Tool(lambda: find_chromium() is not None, "a browser", REMEDY),
    "ensurepip": Tool(
        lambda: importlib.util.find_spec("ensurepip") is not None, "a Python with ensurepip", "apt install python3-venv"
    ),
    "gpu": Tool(torch.cuda.is_available, "a GPU that CUDA knows", "no package brings one", required=False),
    "bitsandbytes": Tool(
        lambda: not [name for name in NEEDED if importlib.util.find_spec(name) is None],
        "bitsandbytes",
        QUANTIZED_REMEDY,
        required=False,  # its 44 MB are for one test
    ),
    "transformers4": Tool(
        lambda: (OLDER / "transformers").is_dir(), "transformers 4, beside 5", "make .venv/transformers4"
    ),
    "postgres": Tool(
        lambda: find_postgres() is not None and importlib.util.find_spec("psycopg") is not None,
        "PostgreSQL 15 or newer",
        "apt install postgresql",
        required=False,
    ),
    "pgbouncer": Tool(PGBOUNCER.exists, "PgBouncer", "apt install pgbouncer", required=False),
    "ray": Tool(lambda: importlib.util.find_spec("ray") is not None, "Ray", "make .venv/dev"),
    "proc": Tool(lambda: Path("/proc/self/fd").is_dir(), "Linux's /proc", "mount it, or test on Linux"),
}


def need(name: str) -> None:
    """Leave the test out where the tool isn't there; fail where tools are required."""
    tool = TOOLS[name]
    if tool.there():
        return
    reason = f"{tool.what}: {tool.remedy}"
    if tool.required and os.environ.get("REQUIRE_TOOLS"):
        pytest.fail(f"REQUIRE_TOOLS is set, and this machine lacks {reason}", pytrace=False)
    pytest.skip(reason)
