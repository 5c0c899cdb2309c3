"""Why a number of a geometry report is undefined: what it rests on isn't known, or the rows don't define it."""

from collections.abc import Mapping

RESTS_ON = {
    "drift_base": "base_before",
    "drift_new": "new_before",
    "reference_coherence": "reference_ids",
    "byte_collapse": "reference_ids",
    "byte_collapse_null": "occurring_ids",
    "_unseen": "new_counts",
    "_seen_": "new_counts",
    "neighbour": "base_kinds",
}
"""A part of a number's name, and the field of a `Subject` that it needs."""


def undefined_reasons(numbers: Mapping[str, float | None], unknown: Mapping[str, str]) -> dict[str, str]:
    """The reason for each undefined number; `unknown` says why fields of the subject aren't known."""
    return {address: _reason(address, numbers, unknown) for address, value in numbers.items() if value is None}


def _reason(address: str, numbers: Mapping[str, float | None], unknown: Mapping[str, str]) -> str:
    needs = [needed for part, needed in RESTS_ON.items() if part in address]
    for needed in needs:
        if needed in unknown:
            return unknown[needed]
    if "new_counts" in needs:
        return "no new token occurs so often"
    if "byte_collapse" in address:
        coherence = numbers.get("geometry.reference_coherence")
        if coherence is not None:
            return f"the reference rows don't lie in one place: mean cosine {coherence:.3f}, under 0.5"
    return "these rows don't define it: docs/metrics.md"
