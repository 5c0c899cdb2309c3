"""MLflow's application behind the gate: what it takes to look at runs, and nothing that writes, calls or executes.

MLflow's own server carries an assistant that runs commands on the host, a gateway to paid services, jobs, and routes
that write and delete, open to every page of this machine. Run by `study.server.process`.
"""

import os
from pathlib import Path

from study.server.gate import Application, Gate, Message, Receive, Send, respond
from study.server.process import serve
from study.tracking import tracking_uri

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

    first_page = Path(str(pages.static_folder), "index.html").read_bytes().replace(b"<head>", b"<head>" + FIRST_LOOK, 1)

    async def looked_at(scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            await respond(send, 200, first_page, "text/html")
        else:
            await mlflow(scope, receive, send)

    return Gate(looked_at, open_routes(graphql_fields()), token, port)


def open_routes(fields: set[str]) -> tuple[str, ...]:
    """`fields` are those that MLflow answers by GraphQL."""
    return (*LOOKING, GRAPHQL) if fields <= READING else LOOKING


def graphql_fields() -> set[str]:
    """All that this version of MLflow answers by GraphQL: what it reads, and what it calls a mutation."""
    from mlflow.server.graphql.graphql_schema_extensions import schema

    kinds = (schema.graphql_schema.query_type, schema.graphql_schema.mutation_type)
    return {field for kind in kinds if kind is not None for field in kind.fields}


if __name__ == "__main__":
    serve(build)
