"""pip, watched: how much it has fetched and installed, in 80 columns, on a terminal and in a file."""

import queue
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TextIO
from urllib.parse import unquote

UNITS = {"bytes": 1e-6, "kB": 1e-3, "MB": 1, "GB": 1e3}
QUIET_S = 10
"""Between two lines where what is shown can't be overwritten."""


class Watch:
    """What pip's own words say of how far it is."""

    def __init__(self, megabytes: int, site: Path) -> None:
        self.megabytes = megabytes
        self._site = site
        self._there = self._installed()
        self._fetched = 0.0
        self._current = ("", 0.0)
        self._packages = 0

    def hear(self, line: str) -> None:
        """One line of pip's."""
        if told := re.match(r"\s*(?:Downloading|Using cached) (\S+) \(([\d.]+) (\w+)\)", line):
            self._next(told[1], float(told[2]) * UNITS.get(told[3], 0))
        elif told := re.match(r"\s*Processing (?:file://)?(\S+\.whl)", line):
            path = Path(unquote(told[1]))
            self._next(path.name, path.stat().st_size / 1e6 if path.is_file() else 0)
        elif line.startswith("Installing collected packages:"):
            self._next("", 0)
            self._packages = line.count(",") + 1

    def _next(self, file: str, megabytes: float) -> None:
        self._fetched += self._current[1]
        self._current = (file.split("-")[0], megabytes)

    def text(self) -> str:
        """Where it stands; empty where there is nothing to wait for."""
        if self._packages:
            return f"installed {len(self._installed() - self._there)} of {self._packages} packages"
        if not self.megabytes:
            return ""
        name, size = self._current
        of = f" of about {self.megabytes}" if self._fetched < self.megabytes else ""
        return f"fetched {self._fetched:.0f}{of} MB" + (f", now {name}, {size:.0f} MB" if size >= 1 else "")

    def _installed(self) -> set[str]:
        """By name and version: of a package that takes another's place the number stays as it was."""
        return {path.name for path in self._site.glob("*.dist-info")}


def watched(command: list[str], root: Path, megabytes: int, site: Path, out: TextIO = sys.stdout) -> int:
    """Run pip; gives its exit code. Of what it printed, errors are shown alone, and only where it failed."""
    watch, lines = Watch(megabytes, site), []
    with subprocess.Popen(  # noqa: S603
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pip:
        heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(pip.stdout, heard), daemon=True).start()
        shown, shown_at = "", time.monotonic()
        ended = False
        while not ended:
            try:
                line = heard.get(timeout=0.5)
                ended = line is None
                if line is not None:
                    lines.append(line.rstrip())
                    watch.hear(line)
            except queue.Empty:
                pass
            if (text := watch.text()) == shown:
                continue
            if out.isatty():
                print(f"\rset-up: {text:70.70}", end="", file=out, flush=True)
            elif time.monotonic() - shown_at >= QUIET_S:
                print(f"set-up: {text}", file=out, flush=True)
            else:
                continue
            shown, shown_at = text, time.monotonic()
        if out.isatty():
            print(f"\r{'':78}\r", end="", file=out, flush=True)
        elif (text := watch.text()) != shown:  # where it ended, however short after the line before
            print(f"set-up: {text}", file=out, flush=True)
    if pip.returncode:
        print("\n".join([line for line in lines if line.startswith("ERROR")] or lines[-15:]), file=sys.stderr)
    return pip.returncode


def _listen(output: TextIO, heard: "queue.SimpleQueue[str | None]") -> None:
    for line in output:
        heard.put(line)
    heard.put(None)
