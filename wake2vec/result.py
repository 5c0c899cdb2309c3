"""What a trial gives: `RunResult`, the one record that study, tracking, report and export read."""

import json
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from wake2vec.config import RESULT_FORMAT, RunConfig
from wake2vec.data.audit_record import COUNT_CLASSES, FIGURES, Audit
from wake2vec.errors import ConfigError
from wake2vec.workfolder import Numbers, WorkFolder


class Neighbours(BaseModel):
    """The base tokens nearest to one new token, nearest first."""

    model_config = ConfigDict(frozen=True)

    word: str
    seen: int | None
    """Times that the word's token occurs in the training blocks; None where the text isn't known."""
    tokens: list[str]
    cosines: list[float]


class Computed(BaseModel):
    """How a trial was computed, in the run that finished it."""

    model_config = ConfigDict(frozen=True)

    device: str
    precision: str
    """Of the frozen body and the head's products."""
    micro_batch_blocks: int
    """Sequences in one forward pass."""
    peak_memory_gb: float | None
    """Most memory that tensors took on a GPU at once, in 10^9 bytes; None on a CPU."""


class RunResult(BaseModel):
    """One finished trial."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    digest: str
    """Of configuration and inputs: the name of the work folder."""
    config: RunConfig
    fingerprints: dict[str, str]
    """Hashes of the base model, corpus and lexicon, under their addresses."""
    numbers: Numbers
    """Figures after the last update, under the addresses that `NUMBERS` lists; None: undefined."""
    audit: Audit
    references: str
    """What the rows are that byte collapse is counted against, or why there are none."""
    neighbours: list[Neighbours]
    samples: list[str]
    """Each begins with the prompt."""
    versions: dict[str, str]
    """Of Python and the libraries that make the numbers."""
    computed: Computed
    seconds: dict[str, float]
    """Wall time by part, of the run that finished the trial: see `wake2vec.trial`."""


def read_result(work: WorkFolder) -> RunResult:
    """The result of a finished trial; `work.result_path` must stand.

    Raises:
        ConfigError: another version of this code made it, whose numbers don't compare.
    """
    content = json.loads(work.result_path.read_text(encoding="utf-8"))
    if content["format"] != RESULT_FORMAT:
        raise ConfigError(
            f"results must have the format {RESULT_FORMAT}: {work.result_path} has {content['format']}, of another "
            "version; use that one, or give study.name=<another name> for a new study"
        )
    return RunResult.model_validate(content)


NUMBERS: dict[str, str] = {
    "training.loss": "loss of the last batch, nats a token",
    "training.lr": "learning rate of the last update",
    "training.grad_norm": "norm of the last gradient before clipping",
    "validation.loss": "validation loss, nats a token",
    "validation.bits_per_byte": "validation loss, bits a byte of text",
    "validation.loss_base_targets": "validation loss on base tokens",
    "validation.loss_new_seen_targets": "validation loss on new tokens seen in training",
    "validation.loss_new_unseen_targets": "validation loss on new tokens never seen",
    **{
        f"validation.loss_seen_{name}_targets": f"validation loss on new tokens seen {times} in training"
        for name, times in (("1", "once"), ("2_4", "2 to 4 times"), ("5_up", "5 times or more"))
    },
    "validation.targets_base": "validation targets that are base tokens",
    **{
        f"validation.targets_{name}": f"validation targets that are new tokens of the class {name}"
        for name in COUNT_CLASSES
    },
    "validation.start_loss": "validation loss at step 0",
    "validation.best_loss": "lowest validation loss of all evaluations",
    "validation.best_step": "its step",
    "geometry.norm_gap_d": "Cohen's d of the norms, base minus new",
    "geometry.norm_ratio": "mean norm, new / base",
    "geometry.norm_wasserstein": "Wasserstein-1 distance of the norms",
    "geometry.norm_ks": "Kolmogorov-Smirnov D of the norms",
    "geometry.norm_ks_null": "the same of two samples of one distribution",
    "geometry.welch_t": "Welch's t of the norms",
    "geometry.mann_whitney_u": "Mann-Whitney's U of the norms",
    **{
        f"geometry.norm_{group}_{moment}": f"{moment} of the norms, {group} rows"
        for group in ("all", "base", "new")
        for moment in ("mean", "std")
    },
    **{
        f"geometry.isotropy_{group}{suffix}": f"{meaning}, {group} rows"
        for group in ("all", "base", "new")
        for suffix, meaning in {
            "": "Phase 1's isotropy",
            "_low": "lower end of its 95 % interval over samples",
            "_high": "upper end of its 95 % interval over samples",
            "_null": "the same of Gaussian noise",
        }.items()
    },
    **{
        f"geometry.{name.format(group)}": f"{meaning}, {group} rows"
        for group in ("base", "new")
        for name, meaning in {
            "isotropy_{}_excess": "(1 - isotropy) / (1 - null)",
            "partition_isotropy_{}": "isotropy of Mu & Viswanath",
            "partition_isotropy_{}_null": "the same of Gaussian noise of those norms",
            "isoscore_{}": "IsoScore",
            "isoscore_{}_null": "the same of Gaussian noise",
            "top1_share_{}": "variance share of the first principal direction",
            "top1_share_{}_null": "the same of Gaussian noise",
            "components_90_{}": "principal directions for 90 % of the variance",
            "components_95_{}": "principal directions for 95 % of the variance",
            "participation_ratio_{}": "participation ratio of the spectrum",
            "participation_ratio_{}_null": "the same of Gaussian noise",
            "effective_rank_{}": "effective rank of the spectrum",
            "effective_rank_{}_null": "the same of Gaussian noise",
            "common_share_{}": "norm of the mean row / mean norm",
            "common_share_{}_null": "the same of Gaussian noise",
        }.items()
    },
    **{
        f"geometry.cosine_{pair}_{name}": f"{meaning}, {pair.replace('_', '-')}"
        for pair in ("base_base", "new_new", "base_new")
        for name, meaning in {
            "mean": "mean of the pairwise cosines",
            "centred_mean": "the same after the mean of all rows is taken off",
            "std": "std of the pairwise cosines",
            "std_low": "lower end of its 95 % interval",
            "std_high": "upper end of its 95 % interval",
            "std_null": "the same of Gaussian noise",
        }.items()
    },
    "geometry.cosine_ks": "Kolmogorov-Smirnov D, base-base to new-new cosines",
    "geometry.cosine_ks_low": "lower end of its 95 % interval",
    "geometry.cosine_ks_high": "upper end of its 95 % interval",
    "geometry.cosine_ks_null": "the same of two samples of one distribution",
    "geometry.byte_collapse_share": "new rows at cosine >= .95 to an unreachable byte row",
    "geometry.byte_collapse_null": "the same share of base rows that occur",
    "geometry.mutual_collapse_share": "new rows with 10 other new rows at cosine >= .95",
    "geometry.collapse_share": "new rows in either collapse",
    "geometry.byte_collapse_centred_share": "byte collapse after the mean of all rows is taken off",
    "geometry.mutual_collapse_centred_share": "mutual collapse after the mean of all rows is taken off",
    "geometry.collapse_centred_share": "new rows in either after the mean of all rows is taken off",
    "geometry.reference_coherence": "mean cosine among the unreachable byte rows",
    "geometry.zero_norm_count": "new rows without a direction",
    **{
        f"geometry.drift_{group}_{kind}": f"{meaning} of {group} rows, before to after"
        for group in ("base", "new")
        for kind, meaning in (("cosine", "mean cosine"), ("cosine_std", "std of the cosines"), ("l2", "mean distance"))
    },
    "geometry.neighbour_cosine_mean": "mean cosine of a new row to its nearest base row",
    "geometry.neighbour_cosine_mean_null": "the same of Gaussian noise",
    **{
        f"geometry.neighbour_{kind}_share": f"new rows whose nearest base row is {meaning}"
        for kind, meaning in {
            "byte": "a byte",
            "special": "a control or reserved token",
            "punctuation": "without letter or digit",
            "piece": "a piece inside a word",
            "word": "a word or its beginning",
        }.items()
    },
    **{
        f"geometry.{name}_{key}": f"{meaning}, {seen}"
        for name, meaning in {
            "norm_new_mean": "mean of the norms",
            "byte_collapse_share": "new rows on unreachable byte rows",
            "mutual_collapse_share": "new rows on each other",
            "collapse_share": "new rows in either collapse",
            "drift_new_cosine": "mean cosine, before to after",
            "drift_new_l2": "mean distance, before to after",
            "neighbour_cosine_mean": "mean cosine to the nearest base row",
        }.items()
        for key, seen in {
            "unseen": "new tokens never seen in training",
            "seen_1": "seen once",
            "seen_2_4": "seen 2 to 4 times",
            "seen_5_up": "seen 5 times or more",
        }.items()
    },
    "sample.words": "words that the model wrote in all samples",
    "sample.fused_share": "word boundaries lost, of all in the samples",
    "sample.split_share": "word boundaries added, of all in the samples",
    "sample.spacing_rate": "fused and split boundaries, of all in the samples",
    "sample.spacing_rate_low": "its 95 % interval, lower end",
    "sample.spacing_rate_high": "its 95 % interval, upper end",
    "sample.spacing_rate_corpus": "the same rate of the held-out text: its null",
    "sample.fused_recall": "share of the held-out text's boundaries found, were they fused",
    "sample.spacing_excess": "spacing rate of the samples less the held-out text's",
    "sample.spacing_excess_low": "its 95 % interval, lower end",
    "sample.spacing_excess_high": "its 95 % interval, upper end",
    **{f"vocabulary.{name}": (Audit.model_fields[name].description or name) for name in FIGURES},
}
"""Every figure of a result, and its meaning in a few words; `docs/metrics.md` has the formulas."""


class Name(NamedTuple):
    """What a figure is called where people read: an address is for YAML and code."""

    words: str
    label: str
    """For the head of a narrow column."""
    symbol: str = ""
    """The letter that both end in, where there is one."""


NAMES: dict[str, Name] = {
    "validation.loss": Name("validation loss", "loss"),
    "geometry.norm_gap_d": Name("norm gap d", "norm gap d", "d"),
    "geometry.isotropy_new": Name("isotropy of new rows", "isotropy"),
    "geometry.collapse_share": Name("collapse", "collapse"),
    "geometry.byte_collapse_share": Name("byte collapse", "byte collapse"),
    "geometry.cosine_new_new_mean": Name("mean cosine of new rows", "cosine"),
    "geometry.mutual_collapse_share": Name("mutual collapse", "mutual collapse"),
    "geometry.norm_ratio": Name("norm ratio, new / base", "norm ratio"),
    "geometry.top1_share_new": Name("top-1 share of new rows", "top-1 share"),
    "geometry.top1_share_base": Name("top-1 share of base rows", "top-1, base"),
    "geometry.isotropy_new_excess": Name("isotropy excess of new rows", "isotropy excess"),
    "validation.bits_per_byte": Name("bits per byte", "bits per byte"),
    "validation.loss_base_targets": Name("loss on base tokens", "loss, base"),
    "validation.loss_new_seen_targets": Name("loss on new tokens seen", "loss, seen"),
    "validation.loss_new_unseen_targets": Name("loss on new tokens never seen", "loss, unseen"),
    "sample.spacing_rate": Name("spacing artefacts", "spacing"),
    "sample.spacing_excess": Name("spacing excess", "spacing excess"),
    **{
        f"geometry.collapse_share_{key}": Name(f"collapse, {seen}", f"collapse, {seen}")
        for key, seen in zip(
            COUNT_CLASSES, ("never seen", "seen once", "seen 2-4 times", "seen 5 times up"), strict=True
        )
    },
}
"""Of the figures that tables and charts begin with, the objectives' first; others go by the words of their address."""
HEADLINE = tuple(NAMES)[:6]
"""The figures that stand first wherever there are several."""
