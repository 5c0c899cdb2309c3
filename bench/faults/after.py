"""Deaths while what a study found is shown and taken away: report, export, registration, mirror and the way back."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient

from bench.faults.studies import (
    Countdown,
    Counts,
    Enough,
    Studies,
    before_commits,
    before_operations,
    code_of,
    fork,
    held,
)
from study.export.export import export_trial
from study.export.registry import register_export
from study.mirror.mirror import Mirror, restore
from study.report.page import write_report
from study.tracking import tracking_uri

MOST_DEATHS = 12
"""Of each work in one study."""
Found = tuple[dict[str, str], dict[str, str], list[tuple[str, dict[str, str]]], object]


def deaths(studies: Studies, enough: Enough) -> Counts:
    """Each work is died in at commits and operations on files, then done; all must be as it is without deaths."""
    expected = after_all(studies, studies.copy())

    def strike(folder: Path, counts: Counts) -> None:
        for work in works(studies, folder):
            studies.deaths(folder, counts, _before_both, work, MOST_DEATHS)

    return studies.until(enough, strike, lambda folder: after_all(studies, folder) == expected, studies.copy)


def _before_both(point: Countdown) -> None:
    before_commits(point)
    before_operations(point)


def works(studies: Studies, folder: Path) -> list[Callable[[], object]]:
    config = studies.config
    exported, mirrored, back = (folder.with_name(f"{folder.name}-{what}") for what in ("export", "mirror", "back"))

    def report() -> None:
        write_report(config, folder)

    def export() -> None:
        export_trial(config, folder, None, exported)

    def register() -> None:
        done = export_trial(config, folder, None, exported)
        register_export(folder, config.study.name, done.trial, done.digest, exported, ["best", f"trial-{done.trial}"])

    def mirror() -> None:
        Mirror(folder, mirrored, print).sync()

    def bring_back() -> None:
        restore(back, mirrored)

    return [report, export, register, mirror, bring_back]


def after_all(studies: Studies, folder: Path) -> Found:
    """All works done in peace, and what came of them: report, files of the export, versions of the model, the study
    that was brought back."""
    for work in works(studies, folder):
        assert code_of(fork(work, folder)) == 0
    exported, back = folder.with_name(f"{folder.name}-export"), folder.with_name(f"{folder.name}-back")
    left = [*folder.parent.glob(f".{folder.name}-*")]
    assert left == [], left
    client = MlflowClient(tracking_uri(folder), tracking_uri(folder))
    versions = [(version.version, version.tags) for version in client.search_model_versions()]
    return (hashes(folder / "studies", folder), hashes(exported, folder), versions, held(back, studies.config))


def hashes(place: Path, folder: Path) -> dict[str, str]:
    """Of each file's content, in which the results folder's own path counts for nothing."""
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes().replace(str(folder).encode(), b"")).hexdigest()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


def controls(studies: Studies) -> dict[str, bool]:
    """Differences that the comparison must find."""
    folder = studies.copy()
    before = after_all(studies, folder)
    weights = folder.with_name(f"{folder.name}-export") / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    return {"a flipped bit in an export": hashes(weights.parent, folder) != before[1]}
