"""Samples: the texts that a trained model writes."""

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from wake2vec.config import SampleConfig
from wake2vec.data.forms import ExtendedVocabulary


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
    if vocabulary.bos_id is not None:  # as the blocks began
        ids = F.pad(ids, (1, 0), value=vocabulary.bos_id)
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
