"""Phase 1's known issues, before and after: what each asks, and what its headline number reads of a trial."""

import math
import re
from dataclasses import dataclass

from study.format import UNDEFINED, shown
from wake2vec import METRICS, PHASE1_PRINTED, Numbers, null_of


@dataclass(frozen=True)
class KnownIssue:
    """What is compared, and how it is told; `{address}` in a sentence stands for that figure of the trial."""

    title: str
    meaning: str
    address: str
    """Of the headline number."""
    base_rows: str = ""
    """What the base rows read."""
    more: str = ""

    @property
    def what(self) -> str:
        """The number in words."""
        return METRICS[self.address].meaning


@dataclass(frozen=True)
class Reading:
    """What a known issue's headline number reads of one trial."""

    value: str
    null: str
    base_rows: str
    """A dash where they read nothing."""
    more: str
    phase1: str
    """What Phase 1's report prints of the number; a dash where it prints nothing."""


KNOWN = (
    KnownIssue(
        "Norm gap",
        "New rows should be about as long as base rows: then the two outlines lie over each other.",
        "geometry.norm_gap_d",
        "mean norm {geometry.norm_base_mean}",
        "mean norm of the new rows {geometry.norm_new_mean}",
    ),
    KnownIssue(
        "Isotropy",
        "Cosines of rows that point everywhere lie around 0; a hump on the right is a direction that they share.",
        "geometry.isotropy_new",
        "{geometry.isotropy_base}",
        "95 % interval {geometry.isotropy_new_low} to {geometry.isotropy_new_high}; mean cosine of two new rows "
        "{geometry.cosine_new_new_mean}",
    ),
    KnownIssue(
        "Collapse",
        "New rows that lie on the byte rows, or on each other, can hardly be told apart by the model.",
        "geometry.collapse_share",
        "{geometry.byte_collapse_null} of those that the text has lie on byte rows",
        "onto byte rows {geometry.byte_collapse_share}, onto each other {geometry.mutual_collapse_share}",
    ),
    KnownIssue(
        "One direction",
        "A curve that begins high says that the new rows differ along one line, and hardly otherwise.",
        "geometry.top1_share_new",
        "{geometry.top1_share_base}",
        "{geometry.components_90_new} directions hold 90 % of their variance",
    ),
    KnownIssue(
        "Spacing",
        "Word boundaries that the samples lose or add, beside those of the held-out text itself.",
        "sample.spacing_rate",
    ),
    KnownIssue(
        "Neighbours",
        "How near a new row lies to its nearest base row: above noise it has a place among them, at 1 it lies on one.",
        "geometry.neighbour_cosine_mean",
        more="of the nearest rows {geometry.neighbour_word_share} are words, {geometry.neighbour_piece_share} pieces "
        "of words, {geometry.neighbour_byte_share} bytes",
    ),
    KnownIssue(
        "Untaught rows",
        "What a new row tells of its word, beside the word's base tokens: at 1 nothing, at 0 all that they tell. The "
        "picture has the loss on the token behind it, by how often training met the new one.",
        "teaching.hidden_gap",
        "0",
        "of words never seen in training {teaching.hidden_gap_unseen}; loss behind new tokens "
        "{validation.loss_base_after_new}, the base reads {validation.loss_base_after_new_null} behind their pieces",
    ),
)
"""The objectives first, then in the order of Phase 1's report, then what was found since."""


def reading(issue: KnownIssue, numbers: Numbers, base_count: int, new_count: int) -> Reading:
    """Of a trial with these figures, and with so many base and new rows."""
    null = shown(null_of(issue.address, numbers), 3)
    if issue.address == "geometry.norm_gap_d":
        null += f" ±{1.96 * math.sqrt(1 / base_count + 1 / new_count):.2f}"
    base_rows = _filled(issue.base_rows, numbers)
    return Reading(
        shown(numbers.get(issue.address)),
        null,
        UNDEFINED if UNDEFINED in base_rows or not base_rows else base_rows,
        _spacing(numbers) if issue.address == "sample.spacing_rate" else _filled(issue.more, numbers),
        shown(PHASE1_PRINTED.get(METRICS[issue.address].phase1)),
    )


def _filled(sentence: str, numbers: Numbers) -> str:
    return re.sub(r"{(.+?)}", lambda address: shown(numbers.get(address[1]), 3), sentence)


def _spacing(numbers: Numbers) -> str:
    """Whether the samples have more spacing artefacts than the held-out text, by more than they were sampled with."""
    low, high = numbers.get("sample.spacing_excess_low"), numbers.get("sample.spacing_excess_high")
    if low is None or high is None:
        return "no boundary in the samples"
    ends = f"{shown(low, 3)} to {shown(high, 3)}"
    if low <= 0 <= high:
        return f"no more than the text itself has: the interval of the excess, {ends}, holds 0"
    return f"{'more' if low > 0 else 'fewer'} than the text itself has: excess {ends}"
