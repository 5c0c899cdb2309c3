"""A test that needs a tool of the machine is left out where there is none, and never where tools are required."""

import pytest
from tools import need

from bench import browser


def test_without_a_browser_a_test_is_left_out_with_what_brings_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_TOOLS", raising=False)
    monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
    with pytest.raises(pytest.skip.Exception, match="a browser: apt install chromium libatomic1, or set CHROMIUM"):
        need("chromium")
    monkeypatch.setenv("REQUIRE_TOOLS", "1")
    with pytest.raises(pytest.fail.Exception, match="this machine lacks a browser: apt install chromium"):
        need("chromium")
    # The control: whatever can be started is there, where Playwright's own Node can be too.
    monkeypatch.setenv("CHROMIUM", "/bin/sh")
    monkeypatch.setattr(browser, "_driver_starts", lambda: True)
    need("chromium")
