"""What marks a work folder that the archive of a shared study has, and what such a folder lacks."""

from pathlib import Path

from wake2vec import ARRAY_FILES

ROWS = "rows.safetensors"
"""Stay in the archive until an export reads them: hundreds of megabytes a run."""
ARCHIVED = ".archived-"
"""Of a file in a work folder, before the id of the study's run on MLflow's server."""


def is_archived(work: Path) -> bool:
    """Whether the archive has the work folder, whoever made it."""
    return any(work.glob(f"{ARCHIVED}*"))


def arrays_of(work: Path) -> list[str]:
    """Names of the files of arrays that a finished run's work folder must hold."""
    return [file for file in ARRAY_FILES if file != ROWS or not has_rows_elsewhere(work)]


def has_rows_elsewhere(work: Path) -> bool:
    """Whether the work folder came from the archive, and its rows have stayed there."""
    return not (work / ROWS).exists() and is_archived(work)
