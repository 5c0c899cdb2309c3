"""`make dashboard`: Optuna's own dashboard on loopback, for who has the link, to look at."""

import http.client
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from study.engine.driver import StudyOutcome
from study.server.gate import cookie_name
from study.server.process import dashboard_server

ROOT = Path(__file__).parents[2]
TABLE = """
import json
from optuna.storages import InMemoryStorage
from optuna_dashboard import wsgi
print(json.dumps([(route.method, route.rule) for route in wsgi(InMemoryStorage()).routes]))
"""


@pytest.fixture(scope="module")
def server(
    done: tuple[Path, StudyOutcome], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, dict[str, str]]]:
    """Port, and the cookie of who has the link."""
    folder = shutil.copytree(done[0], tmp_path_factory.mktemp("my results") / "mlruns")
    with dashboard_server(folder, 0) as first_page:
        parts = urlsplit(first_page)
        port, token = parts.port or 0, parts.query.removeprefix("token=")
        yield port, {"Cookie": f"{cookie_name(port)}={token}"}


def ask(port: int, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_the_dashboard_shows_the_study_on_loopback_alone(server: tuple[int, dict[str, str]]) -> None:
    port, cookie = server
    found = json.loads(ask(port, "GET", "/api/studies", cookie)[1])
    assert [study["study_name"] for study in found["study_summaries"]] == ["small"]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", port), timeout=5)  # one that listens everywhere takes this too


def test_of_all_its_routes_none_is_open_without_the_token_and_with_it_none_that_writes(
    server: tuple[int, dict[str, str]],
) -> None:
    port, cookie = server
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", TABLE], capture_output=True, text=True, check=True)
    asked = {(method, filled(rule)) for method, rule in json.loads(told.stdout)}
    assert {("POST", "/api/studies"), ("DELETE", "/api/studies/1"), ("GET", "/api/studies")} <= asked
    assert [at for at in asked if ask(port, *at, {})[0] != 403] == []
    opened = {at for at in asked if ask(port, *at, cookie)[0] != 404}
    assert {method for method, _ in opened} == {"GET"}
    assert {path for _, path in opened} == {
        *("/", "/dashboard", "/static/bundle.js", "/favicon.ico", "/api/meta", "/api/studies", "/api/studies/1"),
        *("/api/studies/1/param_importances", "/csv/1"),
    }


def filled(rule: str) -> str:
    """`/api/studies/<study_id:int>` -> `/api/studies/1`."""
    plain = rule.replace("<:re:(/.*)?>", "").replace("<filename:path>", "bundle.js")
    return "/".join("1" if part.startswith("<") else part for part in plain.split("/"))


def test_make_starts_it_and_without_a_study_it_says_what_to_do_and_makes_nothing(tmp_path: Path) -> None:
    make = [
        "make",
        "--no-print-directory",
        "-n",
        "-o",
        ".venv/dashboard",
        "dashboard",
        f"RESULTS={tmp_path}",
        "PORT=8123",
        "BIN=.",
    ]
    told = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    recipe = told.replace("./python", sys.executable)
    done = subprocess.run(["bash", "-c", recipe], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "has no optuna.db; run `make study` first" in done.stderr
    assert not list(tmp_path.iterdir())
