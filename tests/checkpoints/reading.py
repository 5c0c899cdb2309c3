"""Reads exported folders with the transformers that this Python imports: what it reads of each, as JSON.

    python reading.py text.txt folder...

A file of its own, since transformers 4 and 5 can't be in one process. It takes nothing of ours.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessor, LogitsProcessorList
from transformers import __version__ as version

TOKENS = 8
"""As many are written where nothing ends it."""
NO_END = 7
"""No model here ends at this token."""


class Says(LogitsProcessor):  # type: ignore[misc]
    """After two tokens the model says this one."""

    def __init__(self, id_: int, prompt: int) -> None:
        self.id, self.at = id_, prompt + 2

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        said = self.id if ids.shape[1] == self.at else NO_END
        return torch.full_like(scores, -1e9).index_fill(1, torch.tensor([said]), 0.0)


@torch.no_grad()
def read(folder: str, text: str) -> dict[str, Any]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer(text)["input_ids"]
    block = torch.tensor([ids[:64]])
    ends = model.generation_config.eos_token_id
    words = [{"role": "user", "content": "haue vpon"}]
    return {
        "version": version,
        "ids": ids,
        "plain ids": tokenizer(text, add_special_tokens=False)["input_ids"],
        "text": tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]),
        "inputs": sorted(tokenizer(text)),
        "special": sorted(tokenizer.all_special_tokens),
        "padding": tokenizer.padding_side,
        "longest": tokenizer.model_max_length,
        "chat": tokenizer.apply_chat_template(words, tokenize=False) if tokenizer.chat_template else None,
        "batch": tokenizer(["haue", "haue vpon loue"], padding=True)["input_ids"] if tokenizer.pad_token else None,
        "loss": float(model(input_ids=block, labels=block).loss),
        "dtype": str(model.dtype),
        "tied": model.get_input_embeddings().weight is model.get_output_embeddings().weight,
        "ends": ends,
        "pad": model.generation_config.pad_token_id,
        "length": {id_: length(model, block, id_) for id_ in (*(ends if isinstance(ends, list) else [ends]), NO_END)},
    }


def length(model: Any, block: torch.Tensor, id_: int) -> int:
    """Tokens that are written where the third is this one: greedy, so both versions write the same."""
    prompt = block[:, :4]
    says = LogitsProcessorList([Says(id_, prompt.shape[1])])
    written = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=TOKENS,
        do_sample=False,
        logits_processor=says,
    )
    return int(written.shape[1]) - prompt.shape[1]


if __name__ == "__main__":
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    found = {}
    for folder in sys.argv[2:]:
        try:
            found[folder] = read(folder, text)
        except Exception as fault:  # noqa: BLE001 - what another version can't read is the result
            found[folder] = {"version": version, "fault": f"{type(fault).__name__}: {fault}"}
    sys.stdout.write(json.dumps(found))
