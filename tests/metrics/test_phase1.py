"""The summary under Phase 1's keys, against Phase 1's formulas in NumPy, SciPy and scikit-learn."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA

from wake2vec import METRICS, PHASE1_ADDRESSES, PHASE1_PRINTED, flatten, measure_fully, phase1_summary
from wake2vec.metrics.readings import Subject

BASE, NEW, DIM = 3000, 2200, 12


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    """Before and after: more than 5,000 rows in all, so that the isotropy of all is of a sample."""
    random = np.random.default_rng(0)
    spread = np.linspace(0.3, 1.5, DIM)
    before = random.normal(0.2, 1, (BASE + NEW, DIM)) * spread
    after = before + 0.3 * random.normal(size=before.shape)
    after[BASE:] *= 0.6
    return before.astype(np.float32).astype(float), after.astype(np.float32).astype(float)


def units(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def direct_summary(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Phase 1's formulas, but over all pairs and with all components."""
    groups = {"all": after, "base": after[:BASE], "new": after[BASE:]}
    norms = {name: np.linalg.norm(group, axis=1) for name, group in groups.items()}
    flat: dict[str, float] = {"vocab_size": BASE + NEW, "dim": DIM, "base_vocab": BASE, "new_tokens": NEW}
    for key, name in (("global", "all"), ("base", "base"), ("new", "new")):
        flat |= {f"norms.{key}.mean": norms[name].mean(), f"norms.{key}.std": norms[name].std()}
    flat |= {"norms.global.min": norms["all"].min(), "norms.global.max": norms["all"].max()}
    welch = stats.ttest_ind(norms["base"], norms["new"], equal_var=False)
    u = stats.mannwhitneyu(norms["base"], norms["new"])
    flat |= {"norms.welch_t.t": welch.statistic, "norms.welch_t.p": welch.pvalue}
    flat |= {"norms.mann_whitney_u.U": u.statistic, "norms.mann_whitney_u.p": u.pvalue}
    pooled = np.sqrt((norms["base"].var() + norms["new"].var()) / 2)
    flat["norms.cohens_d"] = (norms["base"].mean() - norms["new"].mean()) / pooled
    for name, group in groups.items():
        sample = units(group - group.mean(0))
        if len(sample) > 5000:
            sample = sample[np.random.default_rng(42).choice(len(sample), 5000, replace=False)]
        cosines, n = sample @ sample.T, len(sample)
        np.fill_diagonal(cosines, 0)
        sums = np.exp(cosines).sum(1)
        flat |= {f"isotropy.{name}.score": sums.min() / sums.max(), f"isotropy.{name}.n": n}
        flat[f"isotropy.{name}.mean_cos"] = cosines.sum() / (n * (n - 1))
    base, new = units(groups["base"]), units(groups["new"])
    pairs = {"base_base": (base @ base.T)[np.triu_indices(BASE, 1)], "new_new": (new @ new.T)[np.triu_indices(NEW, 1)]}
    for name, cosines in (pairs | {"base_new": (base @ new.T).ravel()}).items():
        flat |= {f"pairwise_cosine.{name}.mean": cosines.mean(), f"pairwise_cosine.{name}.std": cosines.std()}
    flat["pairwise_cosine.ks_test_bb_vs_nn.D"] = stats.ks_2samp(pairs["base_base"], pairs["new_new"]).statistic
    for name in ("base", "new"):
        shares = PCA(n_components=DIM).fit(groups[name]).explained_variance_ratio_
        flat |= {f"intrinsic_dim.{name}_{at}pct": (shares.cumsum() < at / 100).sum() + 1 for at in (90, 95)}
        flat[f"intrinsic_dim.{name}_top1_var"] = shares[0]
    for name, part in (("base", slice(BASE)), ("wake", slice(BASE, None))):
        cosines = (units(before[part]) * units(after[part])).sum(1)
        flat |= {f"drift.{name}_cosine_mean": cosines.mean(), f"drift.{name}_cosine_std": cosines.std()}
        flat[f"drift.{name}_l2_mean"] = np.linalg.norm(after[part] - before[part], axis=1).mean()
    return {key: float(value) for key, value in flat.items()}


SAMPLED = ("pairwise_cosine.base_base.std", "pairwise_cosine.new_new.std", "pairwise_cosine.base_new.std")


def test_every_value_is_what_phase_1s_formula_gives(rows: tuple[np.ndarray, np.ndarray]) -> None:
    before, after = (torch.from_numpy(side).float() for side in rows)
    subject = Subject(after, BASE, base_before=before[:BASE], new_before=before[BASE:])
    measured = measure_fully(subject)
    found, direct = flatten(phase1_summary(subject, measured)), direct_summary(*rows)
    samples = (measured.arrays[f"cosines_{pair}"].astype(float) for pair in ("base_base", "new_new"))
    direct["pairwise_cosine.ks_test_bb_vs_nn.p"] = float(stats.ks_2samp(*samples).pvalue)
    assert set(found) == set(direct)
    for key, value in direct.items():
        if key in SAMPLED:
            assert found[key] == pytest.approx(value, rel=0.02), key
        elif key == "pairwise_cosine.ks_test_bb_vs_nn.D":
            assert found[key] == pytest.approx(value, abs=0.02), key
        else:
            assert found[key] == pytest.approx(value, rel=1e-5, abs=1e-6), key


def test_the_keys_are_phase_1s_in_its_order(rows: tuple[np.ndarray, np.ndarray]) -> None:
    before, after = (torch.from_numpy(side).float() for side in rows)
    bare, known = Subject(after, BASE), Subject(after, BASE, base_before=before[:BASE])
    unknown = phase1_summary(bare, measure_fully(bare))
    top = ["vocab_size", "dim", "base_vocab", "new_tokens", "norms", "isotropy", "pairwise_cosine", "intrinsic_dim"]
    assert list(unknown) == top
    assert list(unknown["norms"]) == ["global", "base", "new", "welch_t", "mann_whitney_u", "cohens_d"]
    assert list(phase1_summary(known, measure_fully(known))["drift"]) == [
        "base_cosine_mean",
        "base_cosine_std",
        "base_l2_mean",
    ]


def test_the_table_of_addresses_names_what_there_is() -> None:
    assert set(PHASE1_ADDRESSES.values()) <= set(METRICS)
    assert len(set(PHASE1_ADDRESSES.values())) == len(PHASE1_ADDRESSES)
    assert {key for key in PHASE1_PRINTED if key not in PHASE1_ADDRESSES} == {
        *("vocab_size", "base_vocab", "new_tokens", "norms.global.min", "norms.global.max"),
        *(f"isotropy.{group}.mean_cos" for group in ("all", "base", "new")),
    }
