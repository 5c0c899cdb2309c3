"""Samples: the texts that a trained model writes, and what is counted in them."""

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from wake2vec.config import SampleConfig
from wake2vec.spacing import SpacingCensus, WordStock, count_spacing, excess_interval
from wake2vec.vocabulary import ExtendedVocabulary
from wake2vec.workfolder import Numbers


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
