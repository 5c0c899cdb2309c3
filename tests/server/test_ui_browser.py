"""The UI as a person meets it, in a real browser: with the printed link it opens, and no other page gets at it."""

import functools
import http.server
import shutil
import threading
from pathlib import Path

from playwright.sync_api import Browser

from study.config import StudyConfig
from study.engine.driver import StudyOutcome
from study.server.process import mlflow_server
from study.tracking import Tracker


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


def test_the_link_opens_the_trials_and_another_page_of_the_machine_reads_nothing(
    done: tuple[Path, StudyOutcome], study_config: StudyConfig, browser: Browser, tmp_path: Path
) -> None:
    folder = shutil.copytree(done[0], tmp_path / "mlruns")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("another page")
    handler = functools.partial(Quiet, directory=str(tmp_path / "page"))
    with (
        mlflow_server(folder, 0) as first_page,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as other,
        browser.new_context() as context,
    ):
        threading.Thread(target=other.serve_forever, daemon=True).start()
        server = first_page.partition("?")[0]
        page = context.new_page()
        page.goto(Tracker(folder, study_config).links(first_page).sorted_list)
        page.wait_for_selector(".ag-row >> text=trial 0: Phase 1 baseline", timeout=120_000)
        assert "token" not in page.url
        assert page.evaluate("document.cookie") == ""
        assert not page.locator("[data-assistant-ui]").locator("visible=true").count()
        reads = "async address => (await fetch(address, {credentials: 'include'})).status"
        assert page.evaluate(reads, f"{server}health") == 200
        # The same browser, with the same cookie: it is sent to every port of the host.
        foreign = context.new_page()
        foreign.goto(f"http://127.0.0.1:{other.server_port}/")
        sends = "async address => (await fetch(address, {credentials: 'include', mode: 'no-cors'})).status"
        for ask in (reads, sends):
            refused = foreign.evaluate(f"address => ({ask})(address).catch(fault => String(fault))", f"{server}health")
            assert "TypeError" in str(refused)
        with foreign.expect_navigation() as led:
            foreign.evaluate("address => { location = address }", server)
        assert led.value is not None
        assert led.value.status == 403
        typed = foreign.goto(server)
        assert typed is not None
        assert typed.status == 200, "who types the address has the cookie: the refusal above was the other page's"
        other.shutdown()
