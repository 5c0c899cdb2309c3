"""`python -m bench.clone [study tests]`: the README's commands on a bare machine, timed, as a newcomer meets them.

Each part has a Debian of its own in a folder (`bench/bare_machine`, as root) with a clone of the last commit. What a
part measured is kept in build/clone.json, so that parts can be run one by one: all that was measured of this commit is
published together. The machine should do nothing else meanwhile: the part `study` keeps it busy itself for one run.
"""

import argparse
import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.figures import ROOT, Figure, publish

BARE = ROOT / "bench" / "bare_machine"
KEPT = ROOT / "build" / "clone.json"
EARLIER = "09ad3b6"
"""The version that today's study is measured against."""
Measured = dict[str, Any]


class Machine:
    """A bare machine, which is there until it is deleted."""

    def __init__(self, folder: Path, commit: str) -> None:
        self._folder = folder
        subprocess.run([BARE, "--make", folder, commit], check=True)

    def run(self, command: str) -> tuple[float, int, str]:
        """Minutes, exit code, and what it printed, which is shown too as it comes."""
        print(f"$ {command}", flush=True)
        started = time.monotonic()
        lines = []
        with subprocess.Popen(
            [BARE, "--in", self._folder, command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                lines.append(line)
        return (time.monotonic() - started) / 60, process.returncode, "".join(lines)

    def set_up(self, target: str) -> float:
        """Raises RuntimeError: it failed, so there is nothing to measure."""
        took, code, _ = self.run(f"make {target}")
        if code:
            raise RuntimeError(f"make {target} failed on a bare machine with exit code {code}")
        return took


@contextlib.contextmanager
def bare_machine(commit: str) -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="bare-"))
    try:
        yield Machine(folder, commit)
    finally:
        shutil.rmtree(folder)


def study(command: str) -> Measured:
    """Today's study, the earlier version's right after it, and today's once more while another process computes."""
    with bare_machine("HEAD") as machine:
        set_up = machine.set_up(".venv/run")
        took, code, _ = machine.run(command)
        again, _, output = machine.run(command)
        with bare_machine(EARLIER) as other:
            earlier_set_up = other.set_up(".venv/run")
            earlier, earlier_code, _ = other.run(command)
        with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as process:
            try:
                busy, busy_code, _ = machine.run(f"rm -rf mlruns/* && {command}")
            finally:
                process.kill()
    if earlier_code:
        raise RuntimeError(f"{command} of {EARLIER} failed with exit code {earlier_code}")
    return {
        "set_up": set_up,
        "study": took,
        "code": code,
        "again": again,
        "nothing_to_do": "Nothing to do" in output,
        "earlier_set_up": earlier_set_up,
        "earlier": earlier,
        "busy": busy,
        "busy_code": busy_code,
    }


def tests(command: str) -> Measured:
    with bare_machine("HEAD") as machine:
        set_up = machine.set_up(".venv/dev")
        took, code, output = machine.run(command)
        check, check_code, _ = machine.run("make check")
    left_out = re.findall(r"^left out: (.+)$", output, re.MULTILINE)
    return {
        "set_up": set_up,
        "tests": took,
        "code": code,
        "left_out": left_out,
        "check": check,
        "check_code": check_code,
    }


PARTS = {"study": (study, "make study"), "tests": (tests, "make test")}


def figures(measured: dict[str, Measured]) -> list[Figure]:
    """Of the parts that were measured."""
    shown: list[Figure] = []
    if one := measured.get("study"):
        whole, ratio = one["set_up"] + one["study"], one["study"] / one["earlier"]
        beside = one["busy"] / one["study"]
        shown += [
            Figure("bare machine: make study, exit code", one["code"], "", "= 0", one["code"] == 0),
            Figure("set-up", one["set_up"], "min"),
            Figure(f"set-up of version {EARLIER}", one["earlier_set_up"], "min"),
            Figure("make study, set-up done", one["study"], "min"),
            Figure(f"make study of version {EARLIER}, set-up done", one["earlier"], "min"),
            Figure("the first of the second", ratio, "", "<= 0.5", ratio <= 0.5),
            Figure("make study, set-up included", whole, "min", "<= 8", whole <= 8),
            Figure("make study, again", one["again"], "min", "nothing to do", one["nothing_to_do"]),
            Figure("make study beside one busy process, exit code", one["busy_code"], "", "= 0", one["busy_code"] == 0),
            Figure("make study beside one busy process", one["busy"], "min"),
            Figure("the same, of the time on idle cores", beside, "", "<= 2", beside <= 2),
        ]
    if one := measured.get("tests"):
        shown += [
            Figure("bare machine: make test, exit code", one["code"], "", "= 0", one["code"] == 0),
            Figure("set-up of the tools for tests, a run's included", one["set_up"], "min"),
            Figure("make test, set-up done", one["tests"], "min", "<= 6", one["tests"] <= 6),
            Figure("left out by make test", "; ".join(one["left_out"]) or "nothing", ""),
            Figure("make check, exit code", one["check_code"], "", "= 0", one["check_code"] == 0),
            Figure("make check", one["check"], "min"),
        ]
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.clone", description="The README's commands on a bare machine, timed.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without it")
    parser.add_argument("--try", dest="instead", metavar="COMMAND", help="run this instead, and publish nothing")
    given = parser.parse_args()
    if wrong := sorted(set(given.parts) - set(PARTS)):
        parser.error(f"a part must be one of {', '.join(PARTS)}: not {', '.join(wrong)}")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    commit = head.stdout.strip()
    for name in given.parts or PARTS:
        part, command = PARTS[name]
        measured = part(given.instead or command)
        if given.instead:
            print(*figures({name: measured}), sep="\n")
        else:
            publish("clone", "python -m bench.clone", figures(keep(commit, name, measured)))


def keep(commit: str, name: str, measured: Measured) -> dict[str, Measured]:
    """Beside the other parts that were measured of this commit, which are given back."""
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    parts: dict[str, Measured] = {**(kept["parts"] if kept.get("commit") == commit else {}), name: measured}
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps({"commit": commit, "parts": parts}, indent=2) + "\n", encoding="utf-8")
    return parts


if __name__ == "__main__":
    main()
