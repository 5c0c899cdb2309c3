"""Retention: what the training costs the model on text of the kind that it knew before."""

import math

import torch
from datasets import Dataset

from wake2vec.metrics.registry import Metric, Shown, When, with_null
from wake2vec.metrics.validation import LanguageModel, token_losses_of
from wake2vec.workfolder import Numbers

METRICS = (
    *with_null(
        Metric(
            "retention.bits_per_byte",
            "loss on the retention text, bits a byte of text",
            unit="bits a byte",
            better="lower",
            shown=Shown("retention, bits per byte", "retention", first=21),
        ),
        meaning="the same of the base model, without new rows",
        address="retention.base_bits_per_byte",
        when=When.END,
    ),
    Metric(
        "retention.bits_per_byte_change",
        "its change since step 0",
        unit="bits a byte",
        better="lower",
        null=0.0,
        shown=Shown("change of retention, bits per byte", "retention change", first=22),
    ),
    Metric(
        "retention.start_bits_per_byte",
        "loss on the retention text at step 0, bits a byte of text",
        unit="bits a byte",
        when=When.END,
    ),
)


@torch.no_grad()
def retention_bits(model: LanguageModel, text: Dataset, blocks_at_once: int) -> float:
    """Bits a byte of the retention text's blocks, each block's first token given; lower is better.

    `text` is what `wake2vec.data.corpus.retention_blocks` gives: words as the *base* tokenizer cuts them, so that the
    targets are the same before and after the extension, in every token form. But the softmax runs over all rows of the
    model: what new rows take of the probability of a base token is a part of the cost. Total nats / ln 2 / UTF-8 bytes
    of the text that the targets stand for, in float64; so many blocks in one forward pass. No random number is drawn.
    """
    nats = token_losses_of(model, text["input_ids"][:], blocks_at_once).sum().item()
    return nats / math.log(2) / int(text["target_bytes"][:].sum())


def retention_numbers(bits: float, start: float) -> Numbers:
    """What an evaluation tells of the retention; `start` is what was read at step 0, where the change is 0."""
    return {"retention.bits_per_byte": bits, "retention.bits_per_byte_change": bits - start}
