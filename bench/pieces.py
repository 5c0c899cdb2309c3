"""`python -m bench.pieces [PART ...]`: as many new rows for pieces of words as for whole words: which serve better.

Parts: `tiny`, `again` with other seeds, `long` with five times the steps; on the real model `smollm2`, and
`smollm2_means` from the mean of the pieces. Three seeds each, of initialisation and batch order, with 95 % intervals of
their means, at equal steps, which are equal tokens. Forms are compared per byte: a token of each is another thing.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import torch

from bench.figures import Figure, publish_parts
from bench.teaching import OTHER_SEEDS, SEEDS, after_training, shown
from study.config import load_knobs
from wake2vec import RunConfig, learn_pieces, load_tokenizer, prepare

TOLD = {
    "bits per byte": "validation.bits_per_byte",
    "norm gap d": "geometry.norm_gap_d",
    "isotropy": "geometry.isotropy_new",
    "collapse": "geometry.collapse_share",
    "collapse, never seen": "geometry.collapse_share_unseen",
    "loss on new targets seen in training": "validation.loss_new_seen_targets",
    "loss on base tokens": "validation.loss_base_targets",
    "loss behind new": "validation.loss_base_after_new",
}


def compared(
    profile: str, seeds: Sequence[int], starts: dict[str, list[str]], steps: int, folder: Path
) -> Iterator[Figure]:
    """Words in two forms, as many pieces, and a quarter as many.

    A step reads as many tokens in each, and more text where tokens are longer: so pieces are also trained for as many
    steps fewer as they then read no more text than `space`.
    """
    yield Figure("threads", torch.get_num_threads(), "")
    of_space = prepare(load_knobs(profile, ["vocabulary.form=space"]))
    rows = len(of_space.vocabulary.words)
    arms = {form: [f"vocabulary.form={form}"] for form in ("word", "space")}
    for name, count in {"pieces": rows, "pieces, a quarter": rows // 4}.items():
        lexicon = list_of_pieces(load_knobs(profile), count, folder / f"{count}.txt")
        arms[name] = ["vocabulary.form=pieces", f"vocabulary.lexicon={lexicon}"]
    for arm, words in arms.items():
        audit = prepare(load_knobs(profile, words)).audit
        yield Figure(f"{arm}: new rows", audit.words_added, "")
        yield Figure(f"{arm}: tokens of the text, in the base's", audit.tokens / audit.tokens_base, "")
        yield Figure(f"{arm}: rows met 5 times or more", audit.seen_5_up_share, "")
        yield Figure(f"{arm}: rows never met", audit.unseen_share, "")
        lengths = {arm: steps}
        if arm == "pieces":
            lengths[f"{arm}, no more text than space"] = round(steps * audit.tokens / of_space.audit.tokens)
        for (start, settings), (name, length) in product(starts.items(), lengths.items()):
            given = [*words, *settings, f"train.steps={length}"]
            found = [after_training(load_knobs(profile, [*given, f"seed={seed}"])) for seed in seeds]
            yield Figure(f"{name}, {start}: steps", length, "")
            for what, address in TOLD.items():
                yield Figure(f"{name}, {start}: {what}", shown([one[address] for one in found]), "")


def list_of_pieces(config: RunConfig, count: int, path: Path) -> Path:
    """So many pieces of the profile's text."""
    text = Path(config.corpus.path).read_text(encoding="utf-8")
    pieces = learn_pieces(text, load_tokenizer(Path(config.model.path)), count, min_count=1)
    path.write_text("\n".join(pieces.words), encoding="utf-8")
    return path


STARTS = {
    "gaussian": ["init.name=gaussian", "init.noise_scale=1.0", "train.lr=0.01"],
    "piece_mean": ["init.name=piece_mean", "train.lr=0.01"],
}
NEW_ROWS = ["train.rows=new", "train.lr=0.01"]
OF_SMOLLM2 = {"gaussian": ["init.name=gaussian", "init.noise_scale=0.8", *NEW_ROWS]}
OF_SMOLLM2_MEANS = {"piece_mean": ["init.name=piece_mean", *NEW_ROWS]}
PARTS = {
    "tiny": partial(compared, "tiny", SEEDS, STARTS, 120),
    "again": partial(compared, "tiny", OTHER_SEEDS, STARTS, 120),
    "long": partial(compared, "tiny", OTHER_SEEDS, {"piece_mean": STARTS["piece_mean"]}, 600),
    "smollm2": partial(compared, "smollm2", SEEDS, OF_SMOLLM2, 48),
    "smollm2_means": partial(compared, "smollm2", SEEDS, OF_SMOLLM2_MEANS, 48),
}

if __name__ == "__main__":
    publish_parts("pieces", PARTS)
