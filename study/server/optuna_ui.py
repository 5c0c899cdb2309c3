"""Optuna's dashboard behind the gate: what it takes to look at a study. Its own server writes and deletes, unasked.

Run by `study.server.process`; an extra, which `make dashboard` installs.
"""

from pathlib import Path

from optuna_dashboard import wsgi
from uvicorn.middleware.wsgi import WSGIMiddleware  # type: ignore[attr-defined]

from study.runs.study_database import study_database
from study.server.gate import Application, Gate
from study.server.process import serve

LOOKING = (
    "GET /",
    "GET /dashboard",
    "GET /dashboard/<path>",
    "GET /static/<path>",
    "GET /favicon.ico",
    "GET /api/meta",
    "GET /api/studies",
    "GET /api/studies/<study>",
    "GET /api/studies/<study>/param_importances",
    "GET /csv/<study>",
)
"""Routes of its version 0.21. All of it reads."""


def build(folder: Path, token: str, port: int) -> Application:
    """The dashboard on the Optuna database in `folder`."""
    pages: Application = WSGIMiddleware(wsgi(study_database(folder).url))
    return Gate(pages, LOOKING, token, port)


if __name__ == "__main__":
    serve(build)
