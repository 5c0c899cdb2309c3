"""Views of the MLflow UI: which columns its list of trials has, which charts its chart page, and links that open them.

Without one the list shows no figure and the charts begin with some of two hundred. The UI keeps a view that was shared
as a tag of the experiment, JSON under `mlflow.sharedViewState.<key>`, and opens it by its key: so a link can bring its
columns and charts along. That is MLflow 3.17's form; what it doesn't know it leaves out.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from study.config import StudyConfig
from study.format import shown_name, with_beside
from study.settings import Objective, Range

SHARED = "mlflow.sharedViewState."
TRIALS = "trials"
"""Key of the view."""
OBJECTIVE = "obj/"
"""Before the name of an objective, or of a figure beside one, where its last value stands: see `objective_key`."""
LOG10 = "Log10 "
"""Before the address of a knob of a log range, where its log10 stands: the UI's axes are linear. With a capital: the
page that compares runs begins with the first three parameters in ASCII order."""
MARK = "wake2vec.mark"
SHOWN_AT_ONCE = "FIRST_20_RUNS"
MOST_COMPARED = 30
"""Runs in one comparison: the page asks the server for each, and more lines than this are a carpet."""


def objective_key(figure: Objective) -> str:
    """The metric of an objective's last value: `obj/validation loss`, `obj/norm gap abs d`.

    A name of MLflow's has letters, digits, spaces and `_-. :/`, so no bars around a distance.
    """
    return OBJECTIVE + re.sub(r"[^\w\-. :/]", "", shown_name(figure).replace("|", "abs ", 1))


def trials_view(config: StudyConfig, parent: str) -> dict[str, str]:
    """The tag of the experiment that holds the view of the trials below the run `parent`."""
    study = config.study
    first = study.objectives[0]
    objectives = list(map(objective_key, study.objectives))
    shown = list(map(objective_key, with_beside(study.objectives)))
    columns = {
        f"tags.`{MARK}`": 260,
        **{f"metrics.`{name}`": 40 + 6 * len(name) for name in shown},
        **{f"params.`{knob}`": 40 + 6 * len(knob) for knob in study.space},
    }
    view = {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{parent}' and tags.`wake2vec.role` != 'repeat'",
        "orderByKey": f"metrics.`{objectives[0]}`",
        "orderByAsc": first.direction == "minimize",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "selectedColumns": list(columns),
        "columnOrder": ["attributes.`Run Name`", *columns],
        "columnWidths": {"attributes.`Run Name`": 210, **columns},
        "runsHiddenMode": SHOWN_AT_ONCE,
        "compareRunCharts": _charts(config, objectives, shown),
        "compareRunSections": [
            {**_section("parallel", "Knobs and objectives"), "columns": 1, "cardHeight": 420},
            _section("study", "Objectives and curves"),
            {**_section("metrics", "Model metrics"), "display": False},
            {**_section("system", "System metrics"), "display": False},
        ],
        "isAccordionReordered": True,
    }
    return {SHARED + TRIALS: json.dumps(view)}


def _charts(config: StudyConfig, objectives: list[str], shown: list[str]) -> list[dict[str, Any]]:
    """Parallel coordinates from knobs to objectives, the first objective against each other, the curves of the loss.

    What stands beside an objective has no axis in the first: runs for which it is undefined would be missing there.
    """
    knobs = [
        LOG10 + knob if isinstance(space, Range) and space.log else knob for knob, space in config.study.space.items()
    ]
    parallel: dict[str, Any] = {
        "type": "PARALLEL",
        "selectedParams": knobs,
        "selectedMetrics": [*objectives[1:], objectives[0]],  # the last one colours the lines
        "showAllRuns": True,
    }
    scatters: list[dict[str, Any]] = [
        {"type": "SCATTER", "xaxis": {"key": objectives[0], "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
        for y in shown
        if y != objectives[0]
    ]
    lines: list[dict[str, Any]] = [{"type": "LINE", "metricKey": key} for key in ("validation.loss", "training.loss")]
    placed: list[tuple[str, dict[str, Any]]] = [("parallel", parallel)]
    placed += [("study", chart) for chart in [*scatters, *lines]]
    return [
        {"uuid": f"study-{place}", "metricSectionId": section, "deleted": False, "isGenerated": False, **_full(chart)}
        for place, (section, chart) in enumerate(placed)
    ]


def _full(chart: dict[str, Any]) -> dict[str, Any]:
    """With what the UI expects of a line besides."""
    if chart["type"] != "LINE":
        return {"runsCountToCompare": 100, **chart}
    return {
        "runsCountToCompare": 100,
        "selectedMetricKeys": [chart["metricKey"]],
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
        **chart,
    }


def _section(uuid: str, name: str) -> dict[str, Any]:
    return {"uuid": uuid, "name": name, "display": True, "isReordered": False, "deleted": False, "isGenerated": True}


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
