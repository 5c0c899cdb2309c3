"""MLflow: a projection of the work folders, which are the truth. The only folder that knows MLflow."""

from study.tracking.database import fenced, relocate, tracking_uri
from study.tracking.tracker import Ended, RunLog, Tracker
from study.tracking.views import LOG10, MARK, MOST_COMPARED, OBJECTIVE, Links, objective_key

__all__ = [
    "LOG10",
    "MARK",
    "MOST_COMPARED",
    "OBJECTIVE",
    "Ended",
    "Links",
    "RunLog",
    "Tracker",
    "fenced",
    "objective_key",
    "relocate",
    "tracking_uri",
]
