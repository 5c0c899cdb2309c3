"""The machine's own Chromium, for pictures, benchmarks and tests: where it is, and how it is started."""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import playwright
from playwright.sync_api import Browser, sync_playwright

REMEDY = "apt install chromium libatomic1, or set CHROMIUM=path/to/chromium"
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


def find_chromium() -> str | None:
    """What CHROMIUM names, or the first of the usual names on the PATH; None where no browser can be driven."""
    names = [os.environ["CHROMIUM"]] if os.environ.get("CHROMIUM") else NAMES
    if not _driver_starts():
        return None
    return next((path for name in names if (path := shutil.which(name))), None)


@functools.cache
def _driver_starts() -> bool:
    """Playwright brings a Node of its own, which wants a library that a bare Debian hasn't: libatomic."""
    node = Path(playwright.__file__).parent / "driver" / "node"
    return subprocess.run([node, "--version"], capture_output=True, check=False).returncode == 0


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Raises SystemExit: with one line, where there is no Chromium."""
    path = find_chromium()
    if path is None:
        raise SystemExit(f"error: this needs a browser that can be driven, and there is none: {REMEDY}")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()
