"""What set-up fetches, in MB, for the head of constraints.txt: `.venv/bin/python scripts/sizes.py`, from pip's plan.

Needs the network; nothing is installed. The size of torch's CUDA build is the sum of its own wheel and of the
libraries that it names, by hand, since pip plans it only where it would take it.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from pathlib import Path
from urllib.parse import unquote

from setup import OLDER, older_pins

ROOT = Path(__file__).parents[1]


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    run = wheels(project["dependencies"])
    print(f"# megabytes: torch-cpu {run['torch']:.0f}")
    print(f"# megabytes: run {sum(run.values()) - run['torch']:.0f}")
    for extra, needs in project["optional-dependencies"].items():
        more = wheels([*project["dependencies"], *needs])
        print(f"# megabytes: {extra} {sum(more.values()) - sum(run.values()):.0f}")
    older = older_pins((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    print(f"# megabytes: {OLDER} {sum(wheels(older, '--no-deps').values()):.0f}")


def wheels(requirements: list[str], *options: str) -> dict[str, float]:
    """The size of each package that an empty environment would get."""
    options = options or ("-c", str(ROOT / "constraints.txt"))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run([*pip, "--report", report, *options, *requirements], check=True)  # noqa: S603
        planned = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {one["metadata"]["name"]: size(one["download_info"]["url"]) / 1e6 for one in planned}


def size(url: str) -> int:
    if url.startswith("file://"):
        return Path(unquote(url.removeprefix("file://"))).stat().st_size
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=60) as answer:  # noqa: S310
        return int(answer.headers["Content-Length"])


if __name__ == "__main__":
    main()
