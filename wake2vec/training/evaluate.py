"""What is read of a trained model: its validation loss by kind of target, and the texts that it writes."""

import math

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedModel

from wake2vec.config import SampleConfig
from wake2vec.data.corpus import Corpus
from wake2vec.data.tokenizer import ExtendedVocabulary
from wake2vec.exposure import exposure_classes
from wake2vec.spacing import SpacingCensus, WordStock, count_spacing, excess_interval
from wake2vec.training.model import EmbeddingModel
from wake2vec.workfolder import Numbers


@torch.no_grad()
def validate(model: EmbeddingModel, corpus: Corpus, base_size: int, blocks_at_once: int) -> dict[str, float | None]:
    """Losses over all validation blocks, each block's first token given, so many blocks in one forward pass.

    `loss`: nats per target, lower is better; a uniform guess gives ln(vocabulary). Not comparable between
    token forms. `bits_per_byte`: total nats / ln 2 / UTF-8 bytes of the text that the targets stand for: comparable.
    `loss_*_targets`: nats per target of one kind; None where no target is of that kind. Base tokens, new tokens that
    the training blocks hold (`new_seen`) and new tokens that they don't (`new_unseen`) partition the targets; the
    seen ones are split again by how often the training blocks hold them.
    """
    ids = corpus.validation["input_ids"][:]
    losses = torch.cat([model.losses(part.to(model.device)) for part in ids.split(blocks_at_once)]).double().cpu()
    kinds = _kinds_of_targets(ids[:, 1:], base_size, corpus)
    nats = losses.sum().item()
    return {
        "validation.loss": nats / losses.numel(),
        "validation.bits_per_byte": nats / math.log(2) / int(corpus.validation["target_bytes"][:].sum()),
        **{
            f"validation.loss_{name}_targets": losses[members].mean().item() if members.any() else None
            for name, members in kinds.items()
        },
    }


def losses_without_targets(corpus: Corpus, base_size: int) -> list[str]:
    """Addresses of the losses that `validate` can't give, for any model: no target is of that kind."""
    kinds = _kinds_of_targets(corpus.validation["input_ids"][:][:, 1:], base_size, corpus)
    return [f"validation.loss_{name}_targets" for name, members in kinds.items() if not members.any()]


def target_counts(corpus: Corpus, base_size: int) -> Numbers:
    """Targets of each class in the validation blocks: the weights of their losses, the same for a whole study."""
    targets = corpus.validation["input_ids"][:][:, 1:]
    classes = target_classes(targets, base_size, corpus.new_counts_train)
    return {f"validation.targets_{name}": float(members.sum()) for name, members in classes.items()}


def target_classes(
    targets: Int[Tensor, "blocks targets"], base_size: int, counts_train: Int[Tensor, " new"]
) -> dict[str, Bool[Tensor, "blocks targets"]]:
    """Which targets are base tokens, and which are new tokens of each class of exposure: a partition."""
    nothing = torch.zeros(base_size, dtype=torch.bool)
    of_new = exposure_classes(counts_train).items()
    return {"base": targets < base_size, **{name: torch.cat([nothing, ids])[targets] for name, ids in of_new}}


def _kinds_of_targets(
    targets: Int[Tensor, "blocks targets"], base_size: int, corpus: Corpus
) -> dict[str, Bool[Tensor, "blocks targets"]]:
    """Which targets each loss is the mean of."""
    classes = target_classes(targets, base_size, corpus.new_counts_train)
    base, unseen = classes.pop("base"), classes.pop("unseen")
    return {"base": base, "new_seen": ~(base | unseen), "new_unseen": unseen, **classes}


def sample_texts(model: PreTrainedModel, vocabulary: ExtendedVocabulary, config: SampleConfig, seed: int) -> list[str]:
    """What the model writes after the prompt, which stands at each text's beginning; one seed, the same texts."""
    if not config.count:
        return []
    written = sample_ids(model, vocabulary, config, seed)
    return [str(vocabulary.tokenizer.decode(ids, skip_special_tokens=True)) for ids in written]


@torch.no_grad()
def sample_ids(
    model: PreTrainedModel, vocabulary: ExtendedVocabulary, config: SampleConfig, seed: int
) -> Int[Tensor, "count tokens"]:
    """The same texts as tokens, all in one batch."""
    encoded = vocabulary.tokenizer([config.prompt] * config.count, add_special_tokens=False, return_tensors="pt")
    ids = encoded["input_ids"].to(model.device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        written: Tensor = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=config.new_tokens,
            do_sample=True,
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            repetition_penalty=config.repetition_penalty,
            eos_token_id=None,
            pad_token_id=0,
        )
    return written


def sample_numbers(samples: list[str], prompt: str, stock: WordStock, corpus: SpacingCensus) -> Numbers:
    """Spacing artefacts of what was written, without the prompt, beside those of the corpus's own text."""
    census = count_spacing([text.removeprefix(prompt) for text in samples], stock)
    low, high = census.interval or (None, None)
    excess, excess_low, excess_high = excess_interval(census, corpus) or (None, None, None)
    return {
        "sample.words": float(census.words),
        "sample.fused_share": census.fused / census.boundaries if census.boundaries else None,
        "sample.split_share": census.split / census.boundaries if census.boundaries else None,
        "sample.spacing_rate": census.rate,
        "sample.spacing_rate_low": low,
        "sample.spacing_rate_high": high,
        "sample.spacing_rate_corpus": corpus.rate,
        "sample.spacing_excess": excess,
        "sample.spacing_excess_low": excess_low,
        "sample.spacing_excess_high": excess_high,
    }
