"""Why a figure is undefined: what it rests on isn't known, or the rows don't define it; and which will be, foreseen."""

from collections.abc import Collection, Mapping

import torch

from wake2vec.material import Material
from wake2vec.metrics.measure import measure, measure_end
from wake2vec.metrics.registry import METRICS
from wake2vec.metrics.validation import losses_without_targets
from wake2vec.workfolder import Numbers


def undefined_reasons(numbers: Mapping[str, float | None], unknown: Mapping[str, str]) -> dict[str, str]:
    """The reason for each undefined number; `unknown` says why fields of the subject aren't known."""
    return {address: _reason(address, numbers, unknown) for address, value in numbers.items() if value is None}


def undefined_figures(material: Material, addresses: Collection[str]) -> dict[str, str]:
    """Which of these figures no trial has, and why: those that base model, text and lexicon leave undefined.

    Geometry is judged at step 0, on the base rows as they are, with noise of their size for the new rows: so no
    initialiser decides. Of what only training gives, such as samples, nothing is known before.
    """
    numbers: Numbers = dict(material.constants)
    numbers |= dict.fromkeys(losses_without_targets(material.corpus, material.vocabulary.base_size))
    geometry = {address for address in addresses if address.startswith("geometry.")}
    if geometry:
        numbers |= _geometry_of_noise(material, geometry)
    unknown = {} if material.references.ids else {"reference_ids": material.references.meaning}
    reasons = undefined_reasons(numbers, unknown)
    return {address: reasons[address] for address in addresses if address in reasons}


def _geometry_of_noise(material: Material, addresses: Collection[str]) -> Numbers:
    base, new = material.base_rows, len(material.vocabulary.words)
    noise = torch.randn(new, base.shape[1], generator=torch.Generator().manual_seed(0)).to(base.device)
    rows = base.mean(0) + base.std() * noise
    subject = material.subject(torch.cat([base, rows]), rows)
    numbers = measure(subject).numbers
    if not numbers.keys() >= set(addresses):
        numbers |= measure_end(subject, numbers).numbers
    return numbers


def _reason(address: str, numbers: Mapping[str, float | None], unknown: Mapping[str, str]) -> str:
    if address.startswith("validation."):
        return "the held-out text has no such target"
    needs = METRICS[address].needs
    for needed in needs:
        if needed in unknown:
            return unknown[needed]
    if "new_counts" in needs:
        return "no new token occurs so often"
    if "reference_ids" in needs:
        coherence = numbers.get("geometry.reference_coherence")
        if coherence is not None:
            return f"the reference rows don't lie in one place: mean cosine {coherence:.3f}, under 0.5"
    return "these rows don't define it: docs/metrics.md"
