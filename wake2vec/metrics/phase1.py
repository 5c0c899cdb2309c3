"""Phase 1's summary: the keys of its JSON files, filled with this library's numbers, so that old and new runs compare.

Where Phase 1's script sampled or capped, the value here is the true one: means of pairwise cosines are exact over all
pairs, components aren't cut off at 101. Its p-values are SciPy's; at such counts they read 0.
"""

from typing import Any

import numpy as np
from scipy import stats

from wake2vec.config import unflatten
from wake2vec.metrics.isotropy import SAMPLE_ROWS, centred_mean_cosine
from wake2vec.metrics.readings import Measured, Readings, Subject
from wake2vec.metrics.registry import METRICS

Values = dict[str, float | int | None]
"""Numbers under Phase 1's keys, dotted; counts are whole."""

PHASE1_ADDRESSES = {metric.phase1: address for address, metric in METRICS.items() if metric.phase1}
"""The key of Phase 1's summary, dotted, and the address of the same number."""

SECTIONS = (
    *("vocab_size", "dim", "base_vocab", "new_tokens", "norms", "isotropy", "pairwise_cosine", "intrinsic_dim"),
    "drift",
)
"""The keys of Phase 1's summary at its top, in their order."""

PHASE1_PRINTED: dict[str, float] = {
    "vocab_size": 76_500,
    "base_vocab": 32_000,
    "new_tokens": 44_500,
    "norms.global.mean": 0.6304,
    "norms.global.std": 0.2040,
    "norms.global.min": 0.1774,
    "norms.global.max": 1.1195,
    "norms.base.mean": 0.8560,
    "norms.base.std": 0.0708,
    "norms.new.mean": 0.4681,
    "norms.new.std": 0.0706,
    "norms.welch_t.t": 748.66,
    "norms.mann_whitney_u.U": 1.42e9,
    "norms.cohens_d": 5.49,
    "isotropy.all.score": 0.7808,
    "isotropy.all.mean_cos": 0.0059,
    "isotropy.base.score": 0.9126,
    "isotropy.base.mean_cos": 0.0023,
    "isotropy.new.score": 0.7300,
    "isotropy.new.mean_cos": 0.0073,
    "pairwise_cosine.base_base.mean": 0.2289,
    "pairwise_cosine.base_base.std": 0.1930,
    "pairwise_cosine.new_new.mean": 0.2510,
    "pairwise_cosine.new_new.std": 0.2952,
    "pairwise_cosine.base_new.mean": 0.2266,
    "pairwise_cosine.base_new.std": 0.2456,
    "pairwise_cosine.ks_test_bb_vs_nn.D": 0.2902,
    "intrinsic_dim.base_90pct": 101,
    "intrinsic_dim.base_95pct": 101,
    "intrinsic_dim.new_90pct": 101,
    "intrinsic_dim.new_95pct": 101,
    "intrinsic_dim.base_top1_var": 0.0929,
    "intrinsic_dim.new_top1_var": 0.3337,
}
"""What Phase 1's report of TinyLlama prints; 101 components mean that its cap was hit."""
PHASE1_CAP = 101
"""Components that Phase 1's summaries print for "more than were looked at"."""


def phase1_summary(subject: Subject, measured: Measured) -> dict[str, Any]:
    """Phase 1's summary of a subject, nested under its own keys; None where a number is undefined.

    What can't be known has no key: `drift` without rows from before, and `loss`, which a matrix doesn't tell.
    """
    numbers = measured.numbers
    flat: Values = {key: numbers[address] for key, address in PHASE1_ADDRESSES.items() if not key.startswith("drift.")}
    rows, dim = subject.matrix.shape
    flat |= {"vocab_size": rows, "dim": dim, "base_vocab": subject.base_size, "new_tokens": rows - subject.base_size}
    flat |= _norms(measured) | _isotropy(subject) | _ks(measured)
    for key, group in (("base", "base"), ("wake", "new")):
        if len(cosines := measured.arrays[f"drift_cosine_{group}"]):
            known = cosines[np.isfinite(cosines)].astype(float)
            flat |= {
                f"drift.{key}_cosine_mean": numbers[f"geometry.drift_{group}_cosine"],
                f"drift.{key}_cosine_std": float(known.std()) if len(known) else None,
                f"drift.{key}_l2_mean": numbers[f"geometry.drift_{group}_l2"],
            }
    tree = unflatten(flat)
    return {section: tree[section] for section in SECTIONS if section in tree}


def _norms(measured: Measured) -> Values:
    norms, border = measured.arrays["norms"].astype(float), int(measured.arrays["base_count"])
    base, new = norms[:border], norms[border:]
    defined = measured.numbers["geometry.welch_t"] is not None
    return {
        "norms.global.min": float(norms.min()),
        "norms.global.max": float(norms.max()),
        "norms.welch_t.p": float(stats.ttest_ind(base, new, equal_var=False).pvalue) if defined else None,
        "norms.mann_whitney_u.p": float(stats.mannwhitneyu(base, new).pvalue),
    }


def _isotropy(subject: Subject) -> Values:
    numbers: Values = {}
    for name, group in Readings(subject, {}).all_groups.items():
        numbers |= {
            f"isotropy.{name}.mean_cos": centred_mean_cosine(group),
            f"isotropy.{name}.n": min(len(group), SAMPLE_ROWS),
        }
    return numbers


def _ks(measured: Measured) -> Values:
    base, new = measured.arrays["cosines_base_base"], measured.arrays["cosines_new_new"]
    p = float(stats.ks_2samp(base, new).pvalue) if len(base) and len(new) else None
    return {"pairwise_cosine.ks_test_bb_vs_nn.p": p}
