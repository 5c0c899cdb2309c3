"""`make screenshots`: the MLflow UI and the report as a person sees them, in headless Chromium, into docs/screenshots.

Needs a finished study `tiny` in mlruns/, its report, and the machine's Chromium (`CHROMIUM=path` for another).
"""

import re
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page

from bench.browser import open_browser
from bench.figures import ROOT, Figure, publish
from study.config import load_config
from study.server.process import mlflow_server
from study.tracking import Tracker

FOLDER = ROOT / "mlruns"
SHOTS = ROOT / "docs" / "screenshots"
VIEWS: list[tuple[str, Literal["light", "dark"], tuple[int, int]]] = [
    ("report", "light", (1280, 1400)),
    ("report-dark", "dark", (1280, 1200)),
    ("report-phone", "light", (390, 844)),
]
"""Name, colours and size of the report's screenshots."""


def main() -> None:
    config = load_config("tiny")
    SHOTS.mkdir(parents=True, exist_ok=True)
    with open_browser() as browser, mlflow_server(FOLDER, 0) as first_page:
        links = Tracker(FOLDER, config).links(first_page)
        lines = compare(browser, links.comparison)
        shoot(browser, links.sorted_list, "trials", "text=trial 0: Phase 1 baseline")
        shoot(browser, links.charts, "charts", ".parcoords")
        study(browser, links.study)
        outside = report(browser, FOLDER / "studies" / config.study.name / "report.html")
    wanted = config.study.trials
    publish(
        "screenshots",
        "make screenshots",
        [
            Figure("compare page: runs on parallel coordinates", lines, "", f"= {wanted}", lines == wanted),
            Figure("report: requests off the page and console errors", outside, "", "= 0", outside == 0),
        ],
    )


def compare(browser: Browser, link: str) -> int:
    """Shoot the compare page; gives how many runs it says that it compares, once parallel coordinates are drawn."""
    page = open_page(browser, link)
    page.wait_for_selector("text=/Comparing \\d+ Runs/", timeout=120_000)
    page.wait_for_selector(".parcoords, .js-plotly-plot", timeout=120_000)
    page.wait_for_timeout(5000)
    page.screenshot(path=SHOTS / "compare.png", full_page=True)
    heading = re.search(r"Comparing (\d+) Runs", page.inner_text("body"))
    page.close()
    return int(heading[1]) if heading else 0


def shoot(browser: Browser, link: str, name: str, wanted: str) -> None:
    page = open_page(browser, link)
    page.wait_for_selector(wanted, timeout=120_000)
    page.wait_for_timeout(8000)
    page.screenshot(path=SHOTS / f"{name}.png")
    page.close()


def study(browser: Browser, link: str) -> None:
    """Shoot the study's own run with its whole note, pictures included."""
    page = open_page(browser, link)
    page.set_viewport_size({"width": 1600, "height": 2600})
    page.click("text=Show more", timeout=120_000)
    page.wait_for_timeout(5000)
    page.screenshot(path=SHOTS / "study.png")
    page.close()


def report(browser: Browser, path: Path) -> int:
    """Shoot the report on a desk, in the dark with a trial lit, and on a phone; gives how often it complained."""
    troubles: list[str] = []
    for name, scheme, size in VIEWS:
        page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        page.on("request", lambda request: None if request.url == path.as_uri() else troubles.append(request.url))
        page.on("console", lambda message: troubles.append(message.text))
        page.goto(path.as_uri())
        if scheme == "dark":
            page.evaluate("document.querySelector('#trials').scrollIntoView()")
            page.locator("#trials ~ .grid .run.chosen .hit").first.hover(force=True)
        page.screenshot(path=SHOTS / f"{name}.png")
        page.close()
    return len(troubles)


def open_page(browser: Browser, link: str) -> Page:
    """A fresh visitor's page."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.goto(link)
    return page


if __name__ == "__main__":
    main()
