"""The closing report: what is measured once, at a trial's end, since it costs products of rows by rows.

What new rows have come to lie near, what is left of cosines and collapse without the direction that all rows share,
the curve of mutual collapse, and the interval of the isotropies.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wake2vec.data.tokenizer import KINDS, SPACE
from wake2vec.geometry import cosine, isotropy, spectrum
from wake2vec.geometry.collapse import CURVE_TAUS, collapse_census
from wake2vec.geometry.group import Group, joined, read_group
from wake2vec.geometry.mutual import kth_cosines
from wake2vec.geometry.neighbours import nearest_cosine_null, nearest_rows
from wake2vec.geometry.parts import Part, array, by_exposure
from wake2vec.intervals import sampled_share_interval
from wake2vec.measure import Measurement, Subject, gather, measure
from wake2vec.result import Neighbours
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
    arrays: dict[str, np.ndarray], names: Sequence[str], new_counts: Int[Tensor, " new"] | None, of_each: int = 4
) -> list[Neighbours]:
    """The nearest base tokens of chosen new ones, from the closing report's arrays; `names` are those of all rows.

    First the words of Phase 1's table that are there, then the most seen ones, and some seen once and never; where no
    count is known some at even distances. Cosines have three digits, as much as the arrays hold.
    """
    ids, cosines = arrays["neighbour_ids"], arrays["neighbour_cosines"]
    words = names[len(names) - len(ids) :]
    index_of = {word.removeprefix(SPACE): index for index, word in enumerate(words)}
    known = [index_of[word] for word in PHASE1_WORDS if word in index_of]
    return [
        Neighbours(
            word=words[index],
            seen=None if new_counts is None else int(new_counts[index]),
            tokens=[names[row] for row in ids[index].tolist() if row >= 0],
            cosines=[round(value, 3) for value in cosines[index][ids[index] >= 0].tolist()],
        )
        for index in dict.fromkeys([*known, *_typical(len(ids), new_counts, of_each)])
    ]


def _typical(count: int, new_counts: Int[Tensor, " new"] | None, of_each: int) -> list[int]:
    if new_counts is None:
        return [round(at) for at in np.linspace(0, count - 1, 4 * of_each).tolist()]
    most = torch.argsort(new_counts, descending=True, stable=True)[: 2 * of_each]
    rare = [(new_counts == times).nonzero()[:of_each, 0] for times in (1, 0)]
    return torch.cat([most, *rare]).tolist()


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
