"""Deaths while what a study found is shown and taken away: report, export, registration, mirror and the way back.

`python -m bench.faults after --count 400`: each work is died in at commits and operations on files, then done; what
came of it must be what comes without deaths. A file that was written beside its place may be left there, hidden.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient

from bench.faults.studies import (
    Countdown,
    Counts,
    Studies,
    before_commits,
    before_operations,
    code_of,
    figures,
    fork,
    held,
    small_studies,
)
from bench.figures import Figure
from study.export.export import export_trial
from study.export.registry import register_export
from study.mirror.mirror import Mirror, restore
from study.report.page import write_report
from study.tracking import tracking_uri

MOST_DEATHS = 12
"""Of each work in one study."""
WHAT = ("the report", "the export", "the registered versions", "the study that was brought back")
Found = tuple[dict[str, str], dict[str, str], list[tuple[str, dict[str, str]]], object]


def run(count: int, seed: int) -> list[Figure]:
    """So many deaths."""
    with small_studies(seed, Studies) as studies:
        counts = {"death in report, export, registration, mirror or the way back": _deaths(studies, count)}
        return list(figures(counts, controls(studies)))


def _deaths(studies: Studies, count: int) -> Counts:
    expected = after_all(studies, studies.copy())

    def strike(folder: Path, counts: Counts) -> None:
        for work in works(studies, folder):
            studies.deaths(folder, counts, _before_both, work, MOST_DEATHS)

    def is_as_expected(folder: Path) -> bool:
        found = after_all(studies, folder)
        for what, one, other in zip(WHAT, found, expected, strict=True):
            if one != other:
                print(f"{folder.name}: {what} differs", *differing(one, other), file=sys.stderr)
        return found == expected

    return studies.until(lambda counts: counts.faults >= count, strike, is_as_expected, studies.copy)


def differing(one: object, other: object) -> list[object]:
    """Of two mappings the keys at which they differ, else both."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
    return [one, other]


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
        if path.is_file() and path.suffix != ".part"
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
