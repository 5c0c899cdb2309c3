"""Samples: the text that a trained model writes."""

import torch
from transformers import PreTrainedModel

from wake2vec.config import SampleConfig
from wake2vec.vocabulary import ExtendedVocabulary


@torch.no_grad()
def sample_text(model: PreTrainedModel, vocabulary: ExtendedVocabulary, config: SampleConfig, seed: int) -> str:
    """What the model writes after the prompt, which stands at its beginning; one seed, one text."""
    ids = vocabulary.tokenizer(config.prompt, add_special_tokens=False, return_tensors="pt")["input_ids"].to(
        model.device
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        written = model.generate(
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
    return str(vocabulary.tokenizer.decode(written[0], skip_special_tokens=True))
