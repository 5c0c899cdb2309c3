"""MLflow's application behind the gate: what it takes to look at runs, and nothing that writes, calls or executes.

MLflow's own server carries an assistant that runs commands on the host, a gateway to paid services, jobs, and routes
that write and delete, open to every page of this machine. Run by `study.server.process`.
"""

import logging
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from study.server.gate import Application, Gate, Message, Receive, Send, respond
from study.server.process import serve
from study.tracking import tracking_uri

logger = logging.getLogger(__name__)

LOOKING = (
    "GET /",
    "GET /static-files/<path>",
    "GET /get-artifact",
    "GET /ajax-api/3.0/mlflow/server-info",
    "GET /ajax-api/2.0/mlflow/experiments/get",
    "GET /ajax-api/2.0/mlflow/experiments/search",
    "POST /ajax-api/2.0/mlflow/experiments/search",
    "POST /ajax-api/2.0/mlflow/experiments/search-datasets",
    "GET /ajax-api/2.0/mlflow/runs/get",
    "POST /ajax-api/2.0/mlflow/runs/search",
    "GET /ajax-api/2.0/mlflow/metrics/get-history-bulk-interval",
    "GET /ajax-api/2.0/mlflow/artifacts/list",
    "POST /ajax-api/2.0/mlflow/logged-models/search",
    "GET /ajax-api/2.0/mlflow/registered-models/get",
    "GET /ajax-api/2.0/mlflow/registered-models/search",
    "GET /ajax-api/2.0/mlflow/model-versions/get",
    "GET /ajax-api/2.0/mlflow/model-versions/search",
)
"""What MLflow 3.17's pages of runs and registered models ask for. All of it reads; a POST is a long question."""

GRAPHQL = "POST /graphql"
READING = frozenset(
    (
        *("mlflowGetExperiment", "mlflowGetRun", "mlflowSearchRuns", "mlflowSearchDatasets", "mlflowListArtifacts"),
        *("mlflowGetMetricHistoryBulkInterval", "mlflowSearchModelVersions", "test", "testMutation"),
    )
)
"""All that MLflow 3.17 answers by GraphQL, under that one address. Where there is more, the address is shut."""

ARTIFACT = "/get-artifact"
SANDBOX = (
    (b"content-security-policy", b"sandbox; default-src 'none'; style-src 'unsafe-inline'"),
    (b"x-content-type-options", b"nosniff"),
)
OPEN_STORE, IS_PROXIED = "_get_artifact_repository_for_uri", "_is_servable_proxied_run_artifact_root"
"""In `mlflow.server.handlers` of 3.17: what opens a run's artifacts, and whether they lie behind MLflow's own proxy."""

FIRST_LOOK = b"""<style>[data-assistant-ui] { display: none !important }</style><script>
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true")
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false")
localStorage.setItem("mlflow.telemetry.info.alert.dismissed_v1", "true")
if (!localStorage.getItem("mlflow.workflowType_v1"))
  localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"')
</script>"""
"""At the head of the first page. There is no assistant here, whose panel would cover a third of it; no clicks are
counted, so that nothing need be said of it; and pages without a word on it show runs, not chats and prompts."""


def build(folder: Path, token: str, port: int) -> Application:
    """MLflow's pages on the results in `folder`."""
    from mlflow.server import app as pages
    from mlflow.server.constants import BACKEND_STORE_URI_ENV_VAR

    os.environ[BACKEND_STORE_URI_ENV_VAR] = tracking_uri(folder)
    from mlflow.server.fastapi_app import app as mlflow

    is_confined = confine(folder / "artifacts")
    first_page = Path(str(pages.static_folder), "index.html").read_bytes().replace(b"<head>", b"<head>" + FIRST_LOOK, 1)

    async def looked_at(scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            await respond(send, 200, first_page, "text/html")
        elif scope["path"] == ARTIFACT:
            await mlflow(scope, receive, _sandboxed(send))
        else:
            await mlflow(scope, receive, send)

    return Gate(looked_at, open_routes(graphql_fields(), is_confined), token, port)


def open_routes(fields: set[str], is_confined: bool = True) -> tuple[str, ...]:
    """`fields` are those that MLflow answers by GraphQL; GraphQL lists artifacts too."""
    looking = tuple(route for route in LOOKING if is_confined or "artifact" not in route)
    return (*looking, GRAPHQL) if fields <= READING and is_confined else looking


def confine(artifacts: Path) -> bool:
    """Let MLflow read artifacts in this folder alone; False: this version reads them in a way that isn't known here.

    A run's artifacts lie where its row in the database says: anywhere on the machine, or behind an address that MLflow
    would fetch. Databases come from other machines too. What lies below a run, MLflow looks at itself: no `..`, and no
    link that leads out.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.server import handlers

    if not all(hasattr(handlers, name) for name in (OPEN_STORE, IS_PROXIED)):
        return False
    opened = getattr(handlers, OPEN_STORE)

    def open_own(artifact_uri: str) -> object:
        if not is_inside(artifact_uri, artifacts):
            logger.warning("shut: artifacts that lie outside of the results folder")
            raise MlflowException.invalid_parameter_value("artifacts outside of the results folder aren't shown")
        return opened(artifact_uri)

    setattr(handlers, OPEN_STORE, open_own)
    setattr(handlers, IS_PROXIED, lambda artifact_uri: False)
    return True


def is_inside(artifact_uri: str, folder: Path) -> bool:
    """Whether it is the address of a folder below this one, links followed."""
    parts = urlsplit(artifact_uri)
    if parts.scheme != "file" or parts.netloc or parts.query or parts.fragment:
        return False
    path = Path(unquote(parts.path))
    return path.is_absolute() and path.resolve().is_relative_to(folder.resolve())


def _sandboxed(send: Send) -> Send:
    """A file that is opened as a page runs nothing, and is no page of this server's."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *SANDBOX]}
        await send(message)

    return sent


def graphql_fields() -> set[str]:
    """All that this version of MLflow answers by GraphQL: what it reads, and what it calls a mutation."""
    from mlflow.server.graphql.graphql_schema_extensions import schema

    kinds = (schema.graphql_schema.query_type, schema.graphql_schema.mutation_type)
    return {field for kind in kinds if kind is not None for field in kind.fields}


if __name__ == "__main__":
    serve(build)
