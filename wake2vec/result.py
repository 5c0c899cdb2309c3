"""What a trial gives: `RunResult`, the one record that study, tracking, report and export read."""

from pydantic import BaseModel, ConfigDict

from wake2vec.audit import Audit
from wake2vec.config import RunConfig
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
    neighbours: list[Neighbours]
    sample: str
    versions: dict[str, str]
    """Of Python and the libraries that make the numbers."""
    computed: Computed
    seconds: dict[str, float]
    """Wall time by part, of the run that finished the trial: see `wake2vec.run`."""


def read_result(work: WorkFolder) -> RunResult:
    """The result of a finished trial; `work.result_path` must stand."""
    return RunResult.model_validate_json(work.result_path.read_text(encoding="utf-8"))


NUMBERS: dict[str, str] = {
    "training.loss": "loss of the last batch, nats a token",
    "training.lr": "learning rate of the last update",
    "training.grad_norm": "norm of the last gradient before clipping",
    "validation.loss": "validation loss, nats a token",
    "validation.bits_per_byte": "validation loss, bits a byte of text",
    "validation.loss_base_targets": "validation loss on base tokens",
    "validation.loss_new_seen_targets": "validation loss on new tokens seen in training",
    "validation.loss_new_unseen_targets": "validation loss on new tokens never seen",
    "validation.start_loss": "validation loss at step 0",
    "validation.best_loss": "lowest validation loss of all evaluations",
    "validation.best_step": "its step",
    "geometry.norm_gap_d": "Cohen's d of the norms, base minus new",
    "geometry.norm_ratio": "mean norm, new / base",
    "geometry.norm_wasserstein": "Wasserstein-1 distance of the norms",
    "geometry.welch_t": "Welch's t of the norms",
    "geometry.mann_whitney_u": "Mann-Whitney's U of the norms",
    **{
        f"geometry.norm_{group}_{moment}": f"{moment} of the norms, {group} rows"
        for group in ("all", "base", "new")
        for moment in ("mean", "std")
    },
    "geometry.isotropy_all": "Phase 1's isotropy, all rows",
    **{
        f"geometry.{name.format(group)}": f"{meaning}, {group} rows"
        for group in ("base", "new")
        for name, meaning in {
            "isotropy_{}": "Phase 1's isotropy",
            "isotropy_{}_null": "the same of Gaussian noise",
            "isotropy_{}_excess": "(1 - isotropy) / (1 - null)",
            "partition_isotropy_{}": "isotropy of Mu & Viswanath",
            "top1_share_{}": "variance share of the first principal direction",
            "components_90_{}": "principal directions for 90 % of the variance",
            "components_95_{}": "principal directions for 95 % of the variance",
            "participation_ratio_{}": "participation ratio of the spectrum",
            "effective_rank_{}": "effective rank of the spectrum",
        }.items()
    },
    **{
        f"geometry.cosine_{pair}_{moment}": f"{moment} of the pairwise cosines, {pair.replace('_', '-')}"
        for pair in ("base_base", "new_new", "base_new")
        for moment in ("mean", "std")
    },
    "geometry.cosine_ks": "Kolmogorov-Smirnov D, base-base to new-new cosines",
    "geometry.byte_collapse_share": "new rows at cosine >= .95 to an unreachable byte row",
    "geometry.byte_collapse_null": "the same share of base rows that occur",
    "geometry.mutual_collapse_share": "new rows with 10 other new rows at cosine >= .95",
    "geometry.collapse_share": "new rows in either collapse",
    "geometry.collapse_share_unseen": "the same, new tokens never seen in training",
    "geometry.collapse_share_seen_1": "the same, seen once",
    "geometry.collapse_share_seen_2_4": "the same, seen 2 to 4 times",
    "geometry.collapse_share_seen_5_up": "the same, seen 5 times or more",
    "geometry.reference_coherence": "mean cosine among the unreachable byte rows",
    "geometry.zero_norm_count": "new rows without a direction",
    **{
        f"geometry.drift_{group}_{kind}": f"mean {meaning} of {group} rows, before to after"
        for group in ("base", "new")
        for kind, meaning in (("cosine", "cosine"), ("l2", "distance"))
    },
    **{f"vocabulary.{name}": (field.description or name) for name, field in Audit.model_fields.items()},
}
"""Every figure of a result, and its meaning in a few words; `docs/metrics.md` has the formulas."""
