"""MLflow: a projection of the work folders, which are the truth. The only folder that knows MLflow."""

from study.tracking.database import relocate, tracking_uri
from study.tracking.links import MOST_COMPARED, Links
from study.tracking.live import LiveLog
from study.tracking.tracker import LOG10, OBJECTIVE, Ended, Tracker, Trial

__all__ = [
    "LOG10",
    "MOST_COMPARED",
    "OBJECTIVE",
    "Ended",
    "Links",
    "LiveLog",
    "Tracker",
    "Trial",
    "relocate",
    "tracking_uri",
]
