"""The two servers under attack, on loopback: no probe reads what lies outside of the results, none changes anything.

The store is a hostile one, as a database or a folder that came from elsewhere may be. Controls: what is MLflow's to
show is shown by the same routes, and MLflow without the confinement gives the secret away.
"""

import contextlib
import http.client
import json
import re
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from conftest import unpack
from mlflow import MlflowClient
from test_ui import Server

from study.server.gate import cookie_name
from study.server.mlflow_ui import GRAPHQL, LOOKING, is_inside, open_routes
from study.server.optuna_ui import LOOKING as DASHBOARD
from study.server.process import dashboard_server, mlflow_server
from study.tracking import tracking_uri
from study.tracking.database import make_tracking

ARCHIVE = Path(__file__).parents[1] / "golden" / "study-format-6.tar.xz"
CANARY = "canary-5e3f"
SCRIPT = "<script>fetch('/ajax-api/2.0/mlflow/experiments/search')</script>"
HOSTILE = {
    "page.html": f"<!doctype html>{SCRIPT}",
    "page.xhtml": f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{SCRIPT}</body></html>',
    "picture.svg": f'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)">{SCRIPT}</svg>',
    "feed.xml": f"<?xml version='1.0'?><x>{SCRIPT}</x>",
    "code.js": "alert(1)",
}
MISSING = ("", "wrong")


@dataclass(frozen=True)
class Lair:
    """A hostile store, and the secret beside it."""

    home: Path
    folder: Path
    runs: dict[str, str]
    """The ids of runs, by what is wrong with where their artifacts lie."""
    remote: "Listener"


class Listener:
    """Counts who connects."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.seen = 0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.listening.accept()[0].close()
                self.seen += 1


@pytest.fixture(scope="module")
def lair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lair]:
    home, remote = tmp_path_factory.mktemp("lair"), Listener()
    unpack(ARCHIVE, home)
    folder, secrets = home / "mlruns", home / "secrets"
    (folder / "mlflow.db").unlink()  # its addresses are of where it was made
    secrets.mkdir()
    (secrets / "secret.txt").write_text(CANARY)
    make_tracking(folder)
    client = MlflowClient(tracking_uri(folder))
    root = folder / "artifacts"
    places = {
        "own": (root / "own").as_uri(),
        "linked": (root / "linked").as_uri(),
        "outside": secrets.as_uri(),
        "whole disk": "file:///",
        "dots": f"{root.as_uri()}/../../secrets",
        "escaped dots": f"{root.as_uri()}/%2e%2e/%2e%2e/secrets",
        "plain path": str(secrets),
        "other host": f"file://evil.example{secrets}",
        "remote": f"http://127.0.0.1:{remote.port}/",
        "proxied": "mlflow-artifacts:/secrets",
        "proxied remote": f"mlflow-artifacts://127.0.0.1:{remote.port}/secrets",
        "bucket": "s3://evil-bucket/secrets",
        "files by name": f"sftp://127.0.0.1:{remote.port}/secrets",
    }
    runs = {}
    for name, location in places.items():
        with contextlib.suppress(Exception):  # MLflow's own client refuses some: they are put in by hand
            runs[name] = client.create_run(client.create_experiment(name, location)).info.run_id
    runs |= _planted(folder, {name: at for name, at in places.items() if name not in runs})
    own = root / "own" / runs["own"] / "artifacts"
    own.mkdir(parents=True)
    for name, text in {"note.txt": "all is well", **HOSTILE}.items():
        (own / name).write_text(text)
    (own / "secret.txt").symlink_to(secrets / "secret.txt")
    (own / "inner").symlink_to(secrets)
    (root / "linked" / runs["linked"]).mkdir(parents=True)
    (root / "linked" / runs["linked"] / "artifacts").symlink_to(secrets)
    for name in ("outside", "dots", "escaped dots", "plain path", "other host"):
        there = secrets / runs[name] / "artifacts"
        there.mkdir(parents=True, exist_ok=True)
        (there / "secret.txt").write_text(CANARY)
    yield Lair(home, folder, runs, remote)
    remote.listening.close()


def _planted(folder: Path, places: dict[str, str]) -> dict[str, str]:
    """Runs as an edited database has them."""
    client, runs = MlflowClient(tracking_uri(folder)), {}
    for name, location in places.items():
        run = client.create_run(client.create_experiment(name))
        with sqlite3.connect(folder / "mlflow.db") as database:
            at = f"{location.rstrip('/')}/{run.info.run_id}/artifacts"
            database.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (at, run.info.run_id))
        runs[name] = run.info.run_id
    return runs


@pytest.fixture(scope="module")
def server(lair: Lair) -> Iterator[Server]:
    with mlflow_server(lair.folder, 0) as first_page:
        parts = urlsplit(first_page)
        yield Server(lair.folder, parts.port or 0, parts.query.removeprefix("token="))


@pytest.fixture(scope="module")
def dashboard(lair: Lair) -> Iterator[Server]:
    with dashboard_server(lair.folder, 0) as first_page:
        parts = urlsplit(first_page)
        yield Server(lair.folder, parts.port or 0, parts.query.removeprefix("token="))


def content(folder: Path) -> dict[str, bytes]:
    """All files but those of the server itself."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith((".log", "-shm", "-wal")))
    return {str(path): path.read_bytes() for path in files}


def strangers(server: Server) -> dict[str, dict[str, str]]:
    """Headers of who isn't the user at this server's own page."""
    cookie = server.cookie["Cookie"]
    return {
        "no token": {},
        "a wrong token": {"Cookie": f"{cookie_name(server.port)}={'A' * 43}"},
        "an empty token": {"Cookie": f"{cookie_name(server.port)}="},
        "the token of another port": {"Cookie": f"{cookie_name(server.port + 1)}={server.token}"},
        "the token in a header": {"Authorization": f"Bearer {server.token}"},
        "another host": {"Host": f"evil.example:{server.port}", "Cookie": cookie},
        "a host with a dot": {"Host": f"localhost.:{server.port}", "Cookie": cookie},
        "another port's host": {"Host": "127.0.0.1:80", "Cookie": cookie},
        "another origin": {"Origin": "https://evil.example", "Cookie": cookie},
        "another port's origin": {"Origin": f"http://localhost:{server.port + 1}", "Cookie": cookie},
        "no origin at all": {"Origin": "null", "Cookie": cookie},
        "a page of another site": {"Sec-Fetch-Site": "cross-site", "Cookie": cookie},
        "a page of another port": {"Sec-Fetch-Site": "same-site", "Cookie": cookie},
    }


def filled(route: str) -> tuple[str, str]:
    method, path = route.split(" ")
    return method, re.sub(r"<\w+>", "1", path)


@pytest.mark.parametrize("which", ["server", "dashboard"])
def test_no_stranger_reads_at_any_open_route(which: str, request: pytest.FixtureRequest, lair: Lair) -> None:
    asked: Server = request.getfixturevalue(which)
    routes = (*LOOKING, GRAPHQL) if which == "server" else DASHBOARD
    before = content(lair.folder)
    probes = [(route, who) for route in routes for who in strangers(asked)]
    assert len(probes) >= 100
    answers = {
        (route, who): asked.ask(*filled(route), strangers(asked)[who], '{"query": "{ test }"}') for route, who in probes
    }
    assert {at: told[0] for at, told in answers.items() if told[0] != 403} == {}
    assert all(told[2] is None for told in answers.values()), "nobody is given the cookie"
    assert content(lair.folder) == before
    assert asked.ask("GET", "/", asked.cookie)[0] in {200, 302}, "the control: the user gets in"


WAYS = (
    *("secret.txt", "inner/secret.txt", "inner", "../../../../secrets/secret.txt", "../" * 30 + "etc/passwd"),
    *("..%2f..%2f..%2f..%2fsecrets%2fsecret.txt", "%2e%2e/%2e%2e/%2e%2e/%2e%2e/secrets/secret.txt"),
    *("..%252f..%252f..%252f..%252fsecrets/secret.txt", "....//....//....//....//secrets/secret.txt"),
    *("..\\..\\..\\..\\secrets\\secret.txt", "..;/..;/..;/..;/secrets/secret.txt", "/etc/passwd", "//etc/passwd"),
    *("file:///etc/passwd", "file:../../../../secrets/secret.txt", "./../../../../secrets/secret.txt"),
    *("note.txt/../../../../../secrets/secret.txt", "note.txt%00/../../secret.txt", "~/secret.txt", "inner/../inner"),
    *("\u2025/\u2025/\u2025/\u2025/secrets/secret.txt", "#/../../../../../secrets/secret.txt", "C:/secret.txt"),
)
"""Paths below a run's artifacts: links that lead out, and forms of `..`."""


def probes_of(lair: Lair) -> Iterator[tuple[str, str, str | None]]:
    """Method, path and body: each way into each run, by each route that reads artifacts."""
    for way in WAYS:
        for path in dict.fromkeys((quote(way, safe=""), quote(way, safe="/%"))):
            yield "GET", f"/get-artifact?path={path}&run_uuid={lair.runs['own']}", None
            yield "GET", f"/ajax-api/2.0/mlflow/artifacts/list?path={path}&run_id={lair.runs['own']}", None
        yield "POST", "/graphql", _listed(lair.runs["own"], way)
    for name, run_id in lair.runs.items():
        if name == "own":
            continue
        for path in ("secret.txt", "secrets/secret.txt", "etc/passwd"):
            yield "GET", f"/get-artifact?path={path}&run_uuid={run_id}", None
            yield "GET", f"/get-artifact?path={path}&run_id={run_id}", None
        for path in ("", "secrets", "etc"):
            yield "GET", f"/ajax-api/2.0/mlflow/artifacts/list?run_id={run_id}&path={path}", None
            yield "POST", "/graphql", _listed(run_id, path)


def _listed(run_id: str, path: str) -> str:
    query = "query($in: MlflowListArtifactsInput!) { mlflowListArtifacts(input: $in) { files { path } } }"
    return json.dumps({"query": query, "variables": {"in": {"runId": run_id, "path": path}}})


def test_no_way_leads_out_of_the_results_and_none_changes_anything(server: Server, lair: Lair) -> None:
    before = content(lair.home)
    probes = list(probes_of(lair))
    assert len(probes) >= 150
    leaked = []
    for method, path, body in probes:
        status, told, _ = server.ask(method, path, server.cookie, body)
        # A link is listed by its own name; what it leads to isn't.
        listed = re.sub(r'"path": ?"(inner|secret\.txt)"', "", told)
        if CANARY in told or "root:" in told or (status == 200 and "secret.txt" in listed):
            leaked.append((method, path, body, told[:200]))
    assert leaked == []
    assert lair.remote.seen == 0, "nothing was fetched"
    assert content(lair.home) == before, "nothing was written"
    log = (lair.folder / "mlflow-server.log").read_text()
    assert "Traceback" not in log


def test_the_user_s_own_artifacts_are_read_by_the_same_routes(server: Server, lair: Lair) -> None:
    """The control of the above."""
    own = lair.runs["own"]
    assert server.ask("GET", f"/get-artifact?path=note.txt&run_uuid={own}", server.cookie)[:2] == (200, "all is well")
    listed = server.ask("GET", f"/ajax-api/2.0/mlflow/artifacts/list?run_id={own}", server.cookie)[1]
    assert "note.txt" in listed
    assert "note.txt" in server.ask("POST", "/graphql", server.cookie, _listed(own, ""))[1]


def test_without_the_confinement_the_secret_is_given_away(lair: Lair) -> None:
    """The control: the store is hostile indeed."""
    code = (
        "import sys; from mlflow.server import app; "
        "print(app.test_client().get(f'/get-artifact?path=secret.txt&run_uuid={sys.argv[1]}').data)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, lair.runs["outside"]]
    settings = {"_MLFLOW_SERVER_FILE_STORE": tracking_uri(lair.folder), "PATH": "/usr/bin:/bin"}
    told = subprocess.run(command, capture_output=True, text=True, env=settings)
    assert CANARY in told.stdout, told.stderr[-500:]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_artifact_opened_as_a_page_runs_nothing(name: str, server: Server, lair: Lair) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    with contextlib.closing(connection):
        connection.request("GET", f"/get-artifact?path={name}&run_uuid={lair.runs['own']}", headers=server.cookie)
        answer = connection.getresponse()
        assert (answer.status, answer.read().decode()) == (200, HOSTILE[name])
    policies = [value for key, value in answer.getheaders() if key.lower() == "content-security-policy"]
    assert any(policy.startswith("sandbox; default-src 'none'") and "script" not in policy for policy in policies)
    assert (answer.getheader("Content-Disposition") or "").startswith("attachment")
    assert "nosniff" in (answer.getheader("X-Content-Type-Options") or "")


def test_a_version_that_opens_artifacts_otherwise_shuts_their_routes() -> None:
    fields = {"mlflowGetRun"}
    shut = open_routes(fields, is_confined=False)
    assert [route for route in shut if "artifact" in route or "graphql" in route] == []
    assert {"GET /get-artifact", GRAPHQL} <= {*open_routes(fields)}


def test_what_lies_inside(tmp_path: Path) -> None:
    folder = tmp_path / "my results" / "artifacts"
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path)
    assert is_inside((folder / "a" / "b").as_uri(), folder)
    root = folder.as_uri()
    outside = (tmp_path.as_uri(), f"{root}/..", f"{root}/link", f"{root}-more/x", str(folder))
    assert not any(is_inside(uri, folder) for uri in (*outside, "", "file:", "s3://x", "models:/x", "runs:/x"))
