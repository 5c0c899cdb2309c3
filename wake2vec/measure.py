"""The geometry report: every figure of `docs/metrics.md` from the matrix before and after, and what a picture needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from wake2vec.exposure import COUNT_CLASSES
from wake2vec.geometry import cosine, isotropy, norms, spectrum
from wake2vec.geometry.collapse import collapse_census, collapse_share_by_count, max_cosine_to
from wake2vec.geometry.drift import drift
from wake2vec.geometry.group import Group, joined, read_group
from wake2vec.geometry.neighbours import nearest_rows
from wake2vec.geometry.spectrum import Axes
from wake2vec.result import Neighbours
from wake2vec.vocabulary import ExtendedVocabulary
from wake2vec.workfolder import Numbers

Matrix = Float[Tensor, "vocabulary dim"]
Covariance = Float[Tensor, "dim dim"]


@dataclass(frozen=True, eq=False)
class Subject:
    """A matrix, and what is known of its rows; what rests on something unknown is undefined."""

    matrix: Matrix
    """Base rows first, at least one, then the new rows, at least one."""
    base_size: int
    base_before: Float[Tensor, "base dim"] | None = None
    new_before: Float[Tensor, "new dim"] | None = None
    """The rows before training; those of the new rows may lie on the CPU."""
    reference_ids: Sequence[int] = ()
    """Base rows that no text reaches: see `unreachable_byte_ids`."""
    occurring_ids: Int[Tensor, " occurring"] | None = None
    """Base ids that occur in the training blocks."""
    new_counts: Int[Tensor, " new"] | None = None
    """How often each new token occurs in the training blocks."""


@dataclass(frozen=True)
class Measurement:
    """`numbers` under their addresses; `arrays` for pictures: norms, sampled cosines, spectra, curves."""

    numbers: Numbers
    arrays: dict[str, np.ndarray]


def measure(subject: Subject) -> Measurement:
    """The whole report; each figure is None where it is undefined."""
    base, new = (read_group(rows) for rows in subject.matrix.tensor_split([subject.base_size]))
    groups = {"base": base, "new": new}
    covariances = {name: spectrum.covariance(group) for name, group in groups.items()}
    axes = {name: spectrum.principal_axes(group, covariances[name]) for name, group in groups.items()}
    parts = [
        _norms(base.norms, new.norms),
        _isotropy(joined(base, new, subject.matrix), groups, axes),
        _cosines(base, new),
        _spectra(groups, covariances),
        _collapse(base, new, axes["new"], subject),
        _drift("base", subject.base_before, base.rows),
        _drift("new", subject.new_before, new.rows),
    ]
    numbers = {f"geometry.{name}": value for part in parts for name, value in part.numbers.items()}
    return Measurement(numbers, {name: array for part in parts for name, array in part.arrays.items()})


def unreachable_byte_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Ids of the pieces `<0x00>`..`<0xFF>` that no text is encoded to; empty where there are no such pieces.

    Below 0x80 a byte is reached where its character is encoded to it. Above, all bytes that occur in UTF-8
    are held to be reachable, by characters that the vocabulary lacks.
    """
    vocabulary = tokenizer.get_vocab()
    never_in_utf8 = {0xC0, 0xC1, *range(0xF5, 0x100)}
    ids = []
    for byte in range(256):
        id_ = vocabulary.get(f"<0x{byte:02X}>")
        if id_ is None:
            continue
        if byte in never_in_utf8 or (byte < 0x80 and id_ not in _encode(tokenizer, f"a{chr(byte)}")):
            ids.append(id_)
    return ids


def nearest_tokens(
    matrix: Matrix, vocabulary: ExtendedVocabulary, counts_train: Int[Tensor, " new"], of_each: int = 4
) -> list[Neighbours]:
    """The five base tokens nearest to the most seen new words, and to some seen once and never."""
    by_count = torch.argsort(counts_train, descending=True, stable=True)
    seen_once = torch.nonzero(counts_train == 1).flatten()
    unseen = torch.nonzero(counts_train == 0).flatten()
    chosen = list(dict.fromkeys(torch.cat([by_count[: 2 * of_each], seen_once[:of_each], unseen[:of_each]]).tolist()))
    base, new = matrix[: vocabulary.base_size], matrix[vocabulary.base_size :]
    ids, cosines = nearest_rows(read_group(new[chosen]), read_group(base))
    return [
        Neighbours(
            word=vocabulary.words[index],
            seen=int(counts_train[index]),
            tokens=list(map(str, vocabulary.base_tokenizer.convert_ids_to_tokens(near.tolist()))),
            cosines=[round(value, 4) for value in values.tolist()],
        )
        for index, near, values in zip(chosen, ids, cosines, strict=True)
    ]


def _norms(base_norms: Float[Tensor, " base"], new_norms: Float[Tensor, " new"]) -> Measurement:
    numbers: Numbers = {
        "norm_gap_d": norms.cohens_d(base_norms, new_norms),
        "norm_ratio": norms.norm_ratio(base_norms, new_norms),
        "norm_wasserstein": norms.wasserstein_distance(base_norms, new_norms),
        "welch_t": norms.welch_t(base_norms, new_norms),
        "mann_whitney_u": norms.mann_whitney_u(base_norms, new_norms),
    }
    both = torch.cat([base_norms, new_norms])
    for name, group in (("all", both), ("base", base_norms), ("new", new_norms)):
        numbers |= {
            f"norm_{name}_mean": float(group.mean()),
            f"norm_{name}_std": float(group.std(correction=0)),
        }
    return Measurement(numbers, {"norms": _array(both), "base_count": np.array(len(base_norms))})


def _isotropy(whole: Group, groups: dict[str, Group], axes: dict[str, Axes]) -> Measurement:
    numbers: Numbers = {"isotropy_all": isotropy.phase1_isotropy(whole)}
    for name, group in groups.items():
        value, null = isotropy.phase1_isotropy(group), isotropy.phase1_isotropy_null(*group.rows.shape)
        numbers |= {
            f"isotropy_{name}": value,
            f"isotropy_{name}_null": null,
            f"isotropy_{name}_excess": None if value is None else isotropy.isotropy_excess(value, null),
            f"partition_isotropy_{name}": isotropy.partition_isotropy(group, axes[name]),
        }
    return Measurement(numbers, {})


def _cosines(base: Group, new: Group) -> Measurement:
    means = {
        "base_base": cosine.mean_pairwise_cosine(base),
        "new_new": cosine.mean_pairwise_cosine(new),
        "base_new": cosine.mean_cross_cosine(base, new),
    }
    samples = {
        "base_base": cosine.sample_pairwise_cosines(base, base),
        "new_new": cosine.sample_pairwise_cosines(new, new),
        "base_new": cosine.sample_pairwise_cosines(base, new),
    }
    numbers: Numbers = {f"cosine_{pair}_mean": mean for pair, mean in means.items()}
    numbers |= {
        f"cosine_{pair}_std": float(sample.std(correction=0)) if len(sample) else None
        for pair, sample in samples.items()
    }
    numbers["cosine_ks"] = cosine.ks_distance(samples["base_base"], samples["new_new"])
    return Measurement(numbers, {f"cosines_{pair}": _array(sample) for pair, sample in samples.items()})


def _spectra(groups: dict[str, Group], covariances: dict[str, Covariance]) -> Measurement:
    numbers: Numbers = {}
    arrays = {}
    for name, group in groups.items():
        values = spectrum.covariance_spectrum(covariances[name], group.mean)
        numbers |= {
            f"top1_share_{name}": spectrum.top1_share(values),
            f"components_90_{name}": spectrum.components_for(values, 0.9),
            f"components_95_{name}": spectrum.components_for(values, 0.95),
            f"participation_ratio_{name}": spectrum.participation_ratio(values),
            f"effective_rank_{name}": spectrum.effective_rank(values),
        }
        arrays[f"spectrum_{name}"] = _array(values)
    return Measurement(numbers, arrays)


def _collapse(base: Group, new: Group, new_axes: Axes, subject: Subject) -> Measurement:
    reference_ids = torch.tensor(subject.reference_ids, dtype=torch.long)
    references = read_group(base.rows[reference_ids.to(base.rows.device)])
    occurring_cosines = None
    if subject.occurring_ids is not None:
        occurring = subject.occurring_ids[~torch.isin(subject.occurring_ids, reference_ids)]
        occurring_cosines = max_cosine_to(base, references)[occurring]
    census = collapse_census(new, new_axes.vectors, references, occurring_cosines=occurring_cosines)
    split: Numbers = dict.fromkeys(COUNT_CLASSES)
    if subject.new_counts is not None:
        split |= collapse_share_by_count(census.collapsed, subject.new_counts)
    numbers: Numbers = {
        "byte_collapse_share": census.byte_collapse_share,
        "byte_collapse_null": census.byte_collapse_null,
        "mutual_collapse_share": census.mutual_collapse_share,
        "collapse_share": census.collapse_share,
        **{f"collapse_share_{name}": share for name, share in split.items()},
        "reference_coherence": census.reference_coherence,
        "zero_norm_count": census.zero_norm_count,
    }
    curve = census.curve or {}
    arrays = {
        "byte_cosines": _array(census.byte_cosines if census.curve else census.byte_cosines[:0]),
        "curve_taus": np.array(list(curve)),
        "curve_shares": np.array(list(curve.values())),
    }
    return Measurement(numbers, arrays)


def _drift(group: str, before: Tensor | None, after: Tensor) -> Measurement:
    moved = drift(before, after) if before is not None else None
    return Measurement(
        {
            f"drift_{group}_cosine": moved.cosine_mean if moved else None,
            f"drift_{group}_l2": moved.l2_mean if moved else None,
        },
        {
            f"drift_cosine_{group}": _array(moved.cosines) if moved else np.array([]),
            f"drift_top_movers_{group}": np.array(moved.top_movers if moved else []),
        },
    )


def _array(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
