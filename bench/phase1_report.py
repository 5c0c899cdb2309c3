"""The numbers of Phase 1's geometry script, as it computed them: NumPy, SciPy and scikit-learn, one after another."""

import math

import numpy as np
from scipy import stats
from sklearn.decomposition import PCA


def report_phase1(base: np.ndarray, new: np.ndarray) -> dict[str, float]:
    """What Phase 1's script measured: norms with tests, isotropy, capped PCA, sampled pairwise cosines."""
    numbers = {}
    groups = {"all": np.concatenate([base, new]), "base": base, "new": new}
    for name, rows in groups.items():
        units = _units(rows - rows.mean(0))
        if len(units) > 5000:
            units = units[np.random.default_rng(42).choice(len(units), 5000, replace=False)]
        cosines = units @ units.T
        np.fill_diagonal(cosines, 0)
        sums = np.exp(cosines).sum(1)
        numbers[f"isotropy_{name}"] = float(sums.min() / sums.max())
    for name in ("base", "new"):
        shares = PCA(n_components=100).fit(groups[name]).explained_variance_ratio_
        numbers[f"top1_share_{name}"] = float(shares[0])
        numbers |= {f"components_{at}_{name}": float((shares.cumsum() < at / 100).sum()) + 1 for at in (90, 95)}
    return numbers | _norms_phase1(base, new) | _cosines_phase1(base, new)


def _norms_phase1(base: np.ndarray, new: np.ndarray) -> dict[str, float]:
    norms = {name: np.linalg.norm(rows, axis=1) for name, rows in (("base", base), ("new", new))}
    moments = {name: (float(values.mean()), float(values.std())) for name, values in norms.items()}
    (mean_base, std_base), (mean_new, std_new) = moments["base"], moments["new"]
    return {
        "norm_base_mean": mean_base,
        "norm_new_mean": mean_new,
        "norm_gap_d": (mean_base - mean_new) / math.sqrt((std_base**2 + std_new**2) / 2),
        "welch_t": float(stats.ttest_ind(norms["base"], norms["new"], equal_var=False).statistic),
        "mann_whitney_u": float(stats.mannwhitneyu(norms["base"], norms["new"]).statistic),
    }


def _cosines_phase1(base: np.ndarray, new: np.ndarray) -> dict[str, float]:
    generator = np.random.default_rng(42)
    samples = {}
    for name, left, right in (("base_base", base, base), ("new_new", new, new), ("base_new", base, new)):
        pairs = [_units(rows[generator.integers(0, len(rows), 20_000)]) for rows in (left, right)]
        samples[name] = (pairs[0] * pairs[1]).sum(1)
    numbers = {f"cosine_{name}_mean": float(sample.mean()) for name, sample in samples.items()}
    numbers |= {f"cosine_{name}_std": float(sample.std()) for name, sample in samples.items()}
    return numbers | {"cosine_ks": float(stats.ks_2samp(samples["base_base"], samples["new_new"]).statistic)}


def _units(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
