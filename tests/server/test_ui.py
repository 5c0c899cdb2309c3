"""The UI is only a UI: MLflow's real server behind the gate, probed from outside, route by route of its own table."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from study.engine.driver import StudyOutcome
from study.server.gate import DOOR, Gate, Message, Receive, Send, cookie_name, respond
from study.server.mlflow_ui import GRAPHQL, LOOKING, READING, open_routes
from study.server.process import mlflow_server

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ASSISTANT = "/ajax-api/3.0/mlflow/assistant/config"
THEIR_PROVIDER = json.dumps({"providers": {"mlflow_gateway": {"model": "x", "base_url": "http://localhost:3"}}})
TABLE = """
import json
from fastapi.routing import iter_route_contexts
from mlflow.server import app as pages
from mlflow.server.fastapi_app import app
from study.server.mlflow_ui import graphql_fields
native = [(method, at.path) for at in iter_route_contexts(app.routes) for method in getattr(at, "methods", None) or ()]
others = [(method, rule.rule) for rule in pages.url_map.iter_rules() for method in rule.methods]
print(json.dumps([native, others, sorted(graphql_fields())]))
"""


@dataclass(frozen=True)
class Server:
    folder: Path
    port: int
    token: str

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": f"{cookie_name(self.port)}={self.token}"}

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None
    ) -> tuple[int, str, str | None]:
        """Status, body, and the cookie that is set; the path goes out as it stands here."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port)) as connection:
            given = headers or {}
            connection.putrequest(method, path, skip_host="Host" in given)
            content = {"Content-Type": "application/json", "Content-Length": str(len(body or ""))}
            for name, value in {**content, **given}.items():
                connection.putheader(name, value)
            connection.endheaders((body or "").encode())
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace"), answer.getheader("Set-Cookie")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the assistant would keep its settings."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(done: tuple[Path, StudyOutcome], home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = shutil.copytree(done[0], tmp_path_factory.mktemp("ui") / "mlruns")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        with mlflow_server(folder, 0) as first_page:
            parts = urlsplit(first_page)
            yield Server(folder, parts.port or 0, parts.query.removeprefix("token="))


@pytest.fixture(scope="module")
def table() -> tuple[list[tuple[str, str]], list[tuple[str, str]], set[str]]:
    """Methods and paths of MLflow's native routes and of its Flask application; the fields of its GraphQL."""
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", TABLE], capture_output=True, text=True, check=True)
    native, others, fields = json.loads(told.stdout)
    return [tuple(at) for at in native], [tuple(at) for at in others], set(fields)


def filled(path: str) -> str:
    """`/a/<path:p>`, `/a/{p:path}` -> `/a/1`."""
    return re.sub(r"<[^>]*>|\{[^}]*\}", "1", path)


def is_listed(method: str, path: str) -> bool:
    return any(
        re.fullmatch(re.sub(r"<\w+>", ".+", re.escape(route).replace(r"\ ", " ")), f"{method} {path}")
        for route in (*LOOKING, GRAPHQL, "GET /health")
    )


def test_of_all_of_mlflow_s_routes_none_is_open_without_the_token_and_with_it_those_of_the_list_alone(
    server: Server, table: tuple[list[tuple[str, str]], list[tuple[str, str]], set[str]]
) -> None:
    native, others, _ = table
    paths = sorted({filled(path) for _, path in (*native, *others)})
    assert (len(native) > 60, len(others) > 500, ASSISTANT in paths) == (True, True, True), "the table is whole"
    asked = [(method, path) for path in paths for method in METHODS]
    without = [at for at in asked if server.ask(*at)[0] != 403]
    assert without == []
    shut = [at for at in asked if server.ask(*at, server.cookie)[0] == 404]
    beyond = [at for at in asked if at not in shut and not is_listed(*at)]
    assert beyond == []
    opened = {f"{method} {path}" for method, path in asked if is_listed(method, path)}
    assert len(opened) == len(LOOKING) + 2, "each listed route is one that MLflow has"


def test_what_is_listed_reads() -> None:
    changing = r"assistant|gateway|/jobs|mlflow-artifacts|upload|create|delete|update|set-|log-|restore|alias|/api/"
    listed = (*LOOKING, GRAPHQL)
    assert not [route for route in listed if re.search(changing, route)]
    assert {route.split()[0] for route in listed} == {"GET", "POST"}
    posts = {route for route in listed if route.startswith("POST") and "search" not in route}
    assert posts == {GRAPHQL}, "a POST searches"


def test_another_page_can_t_set_the_assistant_up(server: Server, home: Path, tmp_path: Path) -> None:
    """Control: MLflow's own server takes it, and writes into the user's home."""
    foreign = {"Origin": "http://localhost:3"}
    before = sorted(home.rglob("*"))
    assert server.ask("PUT", ASSISTANT, foreign, THEIR_PROVIDER)[0] == 403
    assert server.ask("PUT", ASSISTANT, {**foreign, **server.cookie}, THEIR_PROVIDER)[0] == 403
    assert server.ask("PUT", ASSISTANT, server.cookie, THEIR_PROVIDER)[0] == 404
    assert sorted(home.rglob("*")) == before
    (tmp_path / "home").mkdir()
    with bare_mlflow(server.folder, tmp_path / "home") as bare:
        assert bare.ask("PUT", ASSISTANT, foreign, THEIR_PROVIDER)[0] == 200
        assert any(path.is_file() for path in (tmp_path / "home").rglob("*"))


@contextlib.contextmanager
def bare_mlflow(folder: Path, home: Path) -> Iterator[Server]:
    port = 5714
    database = f"sqlite:///{folder}/mlflow.db"
    told = {**os.environ, "HOME": str(home), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--port", str(port)]
    with subprocess.Popen(
        [*command, "--workers", "1"], env=told, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            bare, until = Server(folder, port, ""), time.monotonic() + 120
            while True:
                with contextlib.suppress(OSError):
                    if bare.ask("GET", "/health")[0] == 200:
                        break
                assert time.monotonic() < until
                time.sleep(0.2)
            yield bare
        finally:
            process.terminate()


def test_the_first_page_takes_the_token_and_leaves_a_cookie_that_no_script_reads(server: Server) -> None:
    status, page, cookie = server.ask("GET", f"/?token={server.token}")
    assert (status, page.encode()) == (200, DOOR)
    assert cookie == f"{cookie_name(server.port)}={server.token}; Path=/; HttpOnly; SameSite=Strict"
    status, page, _ = server.ask("GET", "/", server.cookie)
    assert status == 200
    assert "autoOpenedOnFirstLoad" in page
    assert server.token not in page
    body = json.dumps({"max_results": 5})
    assert server.ask("POST", "/ajax-api/2.0/mlflow/experiments/search", server.cookie, body)[0] == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/?token=" + "A" * 43, {}),
        ("/?token={token}x", {}),
        ("/health?token={token}", {}),
        ("/", {"Cookie": "{name}=" + "A" * 43}),
        ("/", {"Cookie": "wake2vec={token}"}),
        ("/", {"Authorization": "Bearer {token}"}),
        ("/?token={token}", {"Host": "evil.example"}),
        ("/", {"Host": "evil.example:{port}", "Cookie": "{name}={token}"}),
        ("/", {"Host": "127.0.0.1", "Cookie": "{name}={token}"}),
        ("/", {"Origin": "http://localhost:3", "Cookie": "{name}={token}"}),
        ("/", {"Origin": "null", "Cookie": "{name}={token}"}),
        ("/", {"Sec-Fetch-Site": "same-site", "Cookie": "{name}={token}"}),
    ],
)
def test_who_is_refused(server: Server, path: str, headers: dict[str, str]) -> None:
    known = {"token": server.token, "port": server.port, "name": cookie_name(server.port)}
    given = {name: value.format(**known) for name, value in headers.items()}
    status, _, cookie = server.ask("GET", path.format(**known), given)
    assert (status, cookie) == (403, None)


@pytest.mark.parametrize("own", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}])
def test_who_gets_in(server: Server, own: dict[str, str]) -> None:
    """The control of the above."""
    for host in ("127.0.0.1", "localhost"):
        named = {"Host": f"{host}:{server.port}", "Origin": f"http://{host}:{server.port}"}
        assert server.ask("GET", "/", {**named, **server.cookie, **own})[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/static-files/../ajax-api/3.0/mlflow/assistant/config"),
        ("GET", "/static-files/%2e%2e/ajax-api/3.0/mlflow/assistant/config"),
        ("GET", "/static-files/..%2fajax-api/3.0/mlflow/assistant/config"),
        ("GET", "/static-files/%00"),
        ("PUT", "//ajax-api/3.0/mlflow/assistant/config"),
        ("PUT", "/%61jax-api/3.0/mlflow/assistant/config"),
        ("PUT", "/AJAX-API/3.0/mlflow/assistant/config"),
        ("PUT", "/ajax-api/3.0/mlflow/assistant/config/"),
        ("PUT", "http://127.0.0.1/ajax-api/3.0/mlflow/assistant/config"),
        ("POST", "/ajax-api/2.0/mlflow/runs/search/"),
        ("GET", "/graphql"),
        ("HEAD", "/"),
        ("SEARCH", "/"),
        ("get", "/"),
    ],
)
def test_tricks_with_the_path_or_method_open_nothing(server: Server, method: str, path: str) -> None:
    given = {**server.cookie, "X-HTTP-Method-Override": "GET", "X-Forwarded-Prefix": "/", "X-Original-URL": "/"}
    assert server.ask(method, path, given)[0] in {400, 403, 404}


def test_a_header_makes_no_other_method_of_one_that_is_open(server: Server) -> None:
    given = {**server.cookie, "X-HTTP-Method-Override": "DELETE", "X-Method-Override": "DELETE"}
    status, body, _ = server.ask(
        "POST", "/ajax-api/2.0/mlflow/experiments/search", given, json.dumps({"max_results": 5})
    )
    assert (status, "small" in body) == (200, True)


def test_a_route_that_a_new_version_brings_is_shut_until_somebody_opens_it() -> None:
    async def new_version(scope: Message, receive: Receive, send: Send) -> None:
        await respond(send, 200, b"new")

    def ask(routes: tuple[str, ...], path: str) -> int:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request"}

        headers = [(b"host", b"127.0.0.1:5000"), (b"cookie", b"wake2vec_5000=secret")]
        scope: Message = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
        asked = Gate(new_version, routes, "secret", 5000)({**scope, "headers": headers}, receive, send)
        with ThreadPoolExecutor(1) as beside:  # in this thread Playwright's loop runs, where a browser was opened
            beside.submit(asyncio.run, asked).result()
        return int(sent[0]["status"])

    for path in ("/ajax-api/4.0/mlflow/new", "/ajax-api/2.0/mlflow/experiments/get/new", "/new", "/static-files"):
        assert ask(LOOKING, path) == 404
        assert ask((*LOOKING, f"GET {path}"), path) == 200


def test_a_field_that_a_new_version_answers_by_graphql_shuts_it(
    table: tuple[list[tuple[str, str]], list[tuple[str, str]], set[str]],
) -> None:
    assert GRAPHQL in open_routes(table[2])
    assert table[2] == READING
    assert GRAPHQL not in open_routes({*table[2], "mlflowDeleteRun"})


def test_the_server_goes_when_who_started_it_is_gone() -> None:
    """Killed too: then nothing is left to end it. Control: it answers before."""
    code = (
        "from study.server.process import serve; from study.server.gate import Gate; "
        "serve(lambda folder, token, port: Gate(None, (), token, port))"
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port, descriptor = listening.getsockname()[1], listening.fileno()
        command = [sys.executable, "-c", code, ".", str(descriptor)]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[descriptor])
    assert server.stdin is not None
    server.stdin.write(b"secret\n")
    server.stdin.flush()
    running = Server(Path(), port, "secret")
    assert running.ask("GET", "/health", running.cookie)[0] == 200
    server.stdin.close()
    assert server.wait(60) == 0


def test_the_token_stands_in_no_log_and_no_list_of_processes(server: Server) -> None:
    server.ask("GET", f"/?token={server.token}")
    server.ask("GET", f"/shut?token={server.token}", server.cookie)
    log = (server.folder / "mlflow-server.log").read_text()
    assert "shut: GET /shut" in log
    assert server.token not in log
    (process,) = [found for found in psutil.Process().children() if "study.server.mlflow_ui" in found.cmdline()]
    assert server.token not in " ".join([*process.cmdline(), *process.environ().values()])
    assert process.children() == [], "one process serves"
    assert {at.laddr.ip for at in process.net_connections() if at.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
