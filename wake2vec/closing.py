"""The closing report: what is measured once, at a trial's end, since it costs products of rows by rows.

What new rows have come to lie near, what is left of cosines and collapse without the direction that all rows share,
the curve of mutual collapse, and the interval of the isotropies.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wake2vec.base_tokens import KINDS
from wake2vec.geometry import cosine, isotropy, spectrum
from wake2vec.geometry.collapse import CURVE_TAUS, collapse_census
from wake2vec.geometry.group import Group, joined, read_group
from wake2vec.geometry.mutual import kth_cosines
from wake2vec.geometry.neighbours import nearest_cosine_null, nearest_rows
from wake2vec.geometry.parts import Part, array, by_exposure
from wake2vec.intervals import sampled_share_interval
from wake2vec.measure import Measurement, Subject, gather, measure
from wake2vec.result import Neighbours
from wake2vec.vocabulary import ExtendedVocabulary
from wake2vec.workfolder import Numbers

PHASE1_WORDS = (
    *("paùpulation", "générations", "deathfête", "cask", "loon"),
    *("grandmère", "brofèsor", "goof", "paco"),
)
"""Words whose neighbours Phase 1's report shows: the last four lay on the byte rows."""


def measure_fully(subject: Subject) -> Measurement:
    """The whole report: `measure`, and the closing figures."""
    measured = measure(subject)
    closing = measure_closing(subject, measured.numbers)
    return Measurement(measured.numbers | closing.numbers, measured.arrays | closing.arrays)


def measure_closing(subject: Subject, measured: Numbers) -> Measurement:
    """The figures that `measure` leaves out; `measured` are those that it gave for this subject."""
    groups = subject.groups()
    base, new = groups.values()
    return gather(
        _intervals(groups, joined(base, new, subject.matrix), measured),
        _centred(groups, subject),
        _mutual_curve(new),
        _neighbours(base, new, subject),
    )


def nearest_tokens(
    arrays: dict[str, np.ndarray], vocabulary: ExtendedVocabulary, counts_train: Int[Tensor, " new"], of_each: int = 4
) -> list[Neighbours]:
    """The nearest base tokens of chosen new words, from the closing report's arrays.

    First the words of Phase 1's table that the vocabulary has, then the most seen ones, and some seen once and never.
    """
    by_count = torch.argsort(counts_train, descending=True, stable=True)
    classes = [by_count[: 2 * of_each], *((counts_train == count).nonzero()[:of_each, 0] for count in (1, 0))]
    index_of = {word: index for index, word in enumerate(vocabulary.words)}
    known = [index_of[word] for word in PHASE1_WORDS if word in index_of]
    tokens = vocabulary.base_tokenizer.convert_ids_to_tokens
    found = []
    for index in dict.fromkeys([*known, *torch.cat(classes).tolist()]):
        ids, cosines = (arrays[f"neighbour_{kind}"][index] for kind in ("ids", "cosines"))
        found.append(
            Neighbours(
                word=vocabulary.words[index],
                seen=int(counts_train[index]),
                tokens=[str(token) for token in tokens(ids[ids >= 0].tolist())],
                cosines=[round(float(value), 3) for value in cosines[ids >= 0]],
            )
        )
    return found


def _intervals(groups: dict[str, Group], whole: Group, measured: Numbers) -> Part:
    numbers: Numbers = {}
    for name, group in {"all": whole, **groups}.items():
        value = measured[f"geometry.isotropy_{name}"]
        low, high = (None, None) if value is None else isotropy.phase1_isotropy_interval(group, value)
        numbers |= {f"isotropy_{name}_low": low, f"isotropy_{name}_high": high}
    return Part(numbers, {})


def _centred(groups: dict[str, Group], subject: Subject) -> Part:
    """Cosines and collapse after the mean of all rows is taken off: a shift of all rows is nothing to the softmax."""
    centre = (groups["base"].total + groups["new"].total) / len(subject.matrix)
    base, new = (read_group(_less(group.rows, centre)) for group in groups.values())
    references = read_group(base.rows[torch.tensor(subject.reference_ids, dtype=torch.long, device=base.rows.device)])
    axes = spectrum.principal_axes(new, spectrum.covariance(new))
    census = collapse_census(new, axes.vectors, references)
    return Part(
        {
            "cosine_base_base_centred_mean": cosine.mean_pairwise_cosine(base),
            "cosine_new_new_centred_mean": cosine.mean_pairwise_cosine(new),
            "cosine_base_new_centred_mean": cosine.mean_cross_cosine(base, new),
            "byte_collapse_centred_share": census.byte_collapse_share,
            "mutual_collapse_centred_share": census.mutual_collapse_share,
            "collapse_centred_share": census.collapse_share,
        },
        {},
    )


def _less(rows: Float[Tensor, "rows dim"], centre: Float[Tensor, " dim"]) -> Float[Tensor, "rows dim"]:
    return rows.detach() - centre.to(rows.dtype)


def _mutual_curve(new: Group) -> Part:
    cosines = kth_cosines(new)
    shares = [float((cosines >= tau).double().mean()) for tau in CURVE_TAUS]
    bounds = [sampled_share_interval(share, len(cosines), len(new)) for share in shares]
    return Part(
        {},
        {
            "mutual_cosines": array(cosines),
            "mutual_curve_shares": np.array(shares),
            "mutual_curve_low": np.array([low for low, _ in bounds]),
            "mutual_curve_high": np.array([high for _, high in bounds]),
        },
    )


def _neighbours(base: Group, new: Group, subject: Subject) -> Part:
    ids, cosines = nearest_rows(new, base)
    nearest = cosines[:, 0] if cosines.shape[1] else torch.full((len(new),), torch.nan)
    known = nearest[~nearest.isnan()].double()
    numbers: Numbers = {
        "neighbour_cosine_mean": float(known.mean()) if len(known) else None,
        "neighbour_cosine_mean_null": nearest_cosine_null(len(base), base.rows.shape[1]),
        **by_exposure("neighbour_cosine_mean", nearest, subject.new_counts),
        **dict.fromkeys(f"neighbour_{kind}_share" for kind in KINDS),
    }
    if subject.base_kinds is not None and ids.shape[1]:
        kinds = subject.base_kinds.to(ids.device)[ids[ids[:, 0] >= 0, 0]]
        counts = torch.bincount(kinds, minlength=len(KINDS)).tolist()
        numbers |= {f"neighbour_{kind}_share": count / len(new) for kind, count in zip(KINDS, counts, strict=True)}
    return Part(
        numbers,
        {"neighbour_ids": ids.int().cpu().numpy(), "neighbour_cosines": cosines.half().cpu().numpy()},
    )
