"""Links that open the MLflow UI on the trials: its landing page shows none of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

MOST_COMPARED = 50
"""Runs in one comparison: the page asks the server for each, and more lines than this are a carpet."""


@dataclass(frozen=True)
class Links:
    """Addresses into the UI; without a server (`/#/...`) where they stand in a note that the UI shows."""

    sorted_list: str
    """All trials and references with the columns that tell them apart, by the first objective."""
    charts: str
    comparison: str
    """Parallel coordinates; of many trials, the front with baseline and choice."""
    study: str
    """The study's own run: note and pictures."""


def links_into(
    server: str, experiment: str, parent: str, order_by: str, ascending: bool, compared: Sequence[str]
) -> Links:
    """`compared` are run ids; `order_by` a metric."""
    search = f"tags.`mlflow.parentRunId` = '{parent}' and tags.`wake2vec.role` != 'repeat'"
    order = f"metrics.`{order_by}`"
    listed = (
        f"{server}/#/experiments/{experiment}/runs?workflowType=machine_learning&searchFilter={quote(search, safe='')}"
        f"&orderByKey={quote(order, safe='')}&orderByAsc={str(ascending).lower()}"
    )
    runs = json.dumps(list(compared), separators=(",", ":"))
    return Links(
        sorted_list=listed,
        charts=f"{listed}&compareRunsMode=CHART",
        comparison=f"{server}/#/compare-runs?runs={quote(runs, safe='')}"
        f"&experiments={quote(json.dumps([experiment]), safe='')}",
        study=f"{server}/#/experiments/{experiment}/runs/{parent}",
    )
