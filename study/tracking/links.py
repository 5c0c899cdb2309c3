"""Links that open the MLflow UI on the trials: its landing page shows none of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from study.tracking.views import TRIALS

MOST_COMPARED = 30
"""Runs in one comparison: the page asks the server for each, and more lines than this are a carpet."""


@dataclass(frozen=True)
class Links:
    """Addresses into the UI; without a server (`/#/...`) where they stand in a note that the UI shows."""

    sorted_list: str
    """All trials and references by the first objective, with objectives and knobs as columns."""
    charts: str
    comparison: str
    """Parallel coordinates; of many trials, the front with baseline and choice."""
    study: str
    """The study's own run: note and pictures."""


def links_into(first_page: str, experiment: str, parent: str, compared: Sequence[str]) -> Links:
    """`compared` are run ids."""
    runs = f"{first_page}#/experiments/{experiment}/runs"
    training = "workflowType=machine_learning"  # the UI's other mode hides runs behind chats and prompts
    several = json.dumps(list(compared), separators=(",", ":"))
    return Links(
        sorted_list=f"{runs}?{training}&viewStateShareKey={TRIALS}",
        charts=f"{runs}?{training}&viewStateShareKey={TRIALS}&compareRunsMode=CHART",
        comparison=f"{first_page}#/compare-runs?runs={quote(several, safe='')}"
        f"&experiments={quote(json.dumps([experiment]), safe='')}",
        study=f"{runs}/{parent}?{training}",
    )
