"""Rebuild the embedded default: base model, corpus and lexicon, from the texts in `scripts/sources`.

    python scripts/build_default.py base_model     # tokenizer and pretraining: about an hour on two cores
    python scripts/build_default.py texts          # corpus, lexicon and retention text: seconds

The results land in `wake2vec/default`. `texts` is deterministic; `base_model` is so for one machine and
thread count.
"""

import argparse
import hashlib
import json
import lzma
import math
import random
import re
import time
from collections import Counter
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, LlamaTokenizer

SOURCES = Path(__file__).parent / "sources"
DEFAULT = Path(__file__).parents[1] / "wake2vec" / "default"
BASE_MODEL = DEFAULT / "base_model"

BASE_VOCABULARY = 4096
BLOCK_TOKENS = 256
BATCH_BLOCKS = 8
HELD_OUT_EVERY = 20  # each 20th block of the base text is held out for validation
RETENTION_PASSAGES = 36  # so many of the held-out blocks are the retention text
PEAK_LR = {"matrices": 0.02, "rows": 2e-3, "norms": 6e-3}
CORPUS_TOKENS = 369_716  # as many as Phase 1 had
NEW_SHARE = 44_500 / 76_500  # new rows / all rows in Phase 1
# How often Phase 1's new tokens occur in its training blocks: never, once, 2-4 times, 5 or more.
EXPOSURE_SHARES = {(0, 0): 0.285, (1, 1): 0.625, (2, 4): 0.071, (5, 10**9): 0.018}
CARD = """---
library_name: transformers
license: apache-2.0
---

# A small base model of modern-spelling English

A Llama of {parameters:,} parameters: 3 layers of 192 dimensions, 6 heads, a tied head, and a byte-fallback BPE
tokenizer of 4,096 pieces. It is the model that the profile `tiny` adds words to; it is of no other use.

| | |
| --- | --- |
| text | King James Bible and Jane Austen's six novels, public domain (`scripts/sources/README.md`) |
| SHA-256 of the text | `{text_sha256}` |
| training | {steps:,} steps of {tokens_a_step:,} tokens, {tokens:,} in all; Muon and AdamW |
| held out | every 20th block of 256 tokens: {held_out_tokens:,} tokens |
| held-out loss | {held_out_loss:.4f} nats a token, {held_out_bits_per_byte:.4f} bits a byte |
| command | `python scripts/build_default.py base_model --steps {steps}` |
| torch | {torch} |

Rows are centred after each step, and AdamW's eps on them is 1e-5: so rows that no text reaches lie near the others, as
they do in large models (docs/log.md).
"""


def read_source(name: str) -> str:
    return lzma.decompress((SOURCES / name).read_bytes()).decode("utf-8")


def train_tokenizer(text: str) -> LlamaTokenizer:
    """Byte-fallback BPE as in Llama: `<unk> <s> </s>`, 256 byte pieces, letters, merges inside words."""
    special = ["<unk>", "<s>", "</s>"]
    byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    learner = Tokenizer(models.BPE())
    # Merges stay inside a run of letters or of other signs, as SentencePiece keeps them inside a script.
    runs = Regex(r"▁?\p{L}+|▁?[^\p{L}▁]+|▁+")
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "removed"),
            pre_tokenizers.Metaspace(prepend_scheme="first", split=True),
            pre_tokenizers.Split(runs, "isolated"),
        ]
    )
    trainer = trainers.BpeTrainer(vocab_size=BASE_VOCABULARY, special_tokens=special + byte_pieces, show_progress=False)
    lines = text.split("\n")
    learner.train_from_iterator(("\n".join(lines[start : start + 50]) for start in range(0, len(lines), 50)), trainer)
    learned = json.loads(learner.to_str())["model"]
    return LlamaTokenizer(vocab=learned["vocab"], merges=[tuple(pair) for pair in learned["merges"]])


def encode_blocks(tokenizer: LlamaTokenizer, text: str) -> torch.Tensor:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    count = len(ids) // BLOCK_TOKENS
    return torch.tensor(ids[: count * BLOCK_TOKENS]).view(count, BLOCK_TOKENS)


def new_model() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=BASE_VOCABULARY,
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


@torch.no_grad()
def validation_loss(model: LlamaForCausalLM, blocks: torch.Tensor) -> float:
    """Mean cross-entropy per predicted token, in nats."""
    model.eval()
    losses = [model(input_ids=part, labels=part).loss.item() * len(part) for part in blocks.split(BATCH_BLOCKS)]
    model.train()
    return sum(losses) / len(blocks)


def lr_share_at(step: int, steps: int) -> float:
    """Warm-up over 2 %, constant, then linear decay over the last 45 %."""
    return min(1.0, (step + 1) / (0.02 * steps), (steps - step) / (0.45 * steps))


def optimizers_of(model: LlamaForCausalLM) -> dict[str, torch.optim.Optimizer]:
    """Muon for the body's matrices, AdamW for the embedding rows and the norms' gains.

    Rows that no text reaches get a tiny, steady push of the softmax, which AdamW would scale up to full steps:
    an eps far above the usual 1e-8 leaves them near the others, as large models' rows are.
    """
    rows = model.get_input_embeddings().weight
    norms = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2 and parameter is not rows]
    return {
        "matrices": torch.optim.Muon(matrices, lr=PEAK_LR["matrices"], weight_decay=0.01),
        "rows": torch.optim.AdamW([rows], lr=PEAK_LR["rows"], betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1),
        "norms": torch.optim.AdamW(norms, lr=PEAK_LR["norms"], betas=(0.9, 0.95), weight_decay=0.0),
    }


def pretrain(train: torch.Tensor, held_out: torch.Tensor, steps: int) -> tuple[LlamaForCausalLM, float]:
    torch.manual_seed(0)
    model = new_model()
    optimizers = optimizers_of(model)
    rows = model.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(0)
    epochs = math.ceil(steps * BATCH_BLOCKS / len(train))
    order = torch.cat([torch.randperm(len(train), generator=generator) for _ in range(epochs)])
    start = time.monotonic()
    for step in range(steps):
        batch = train[order[step * BATCH_BLOCKS : (step + 1) * BATCH_BLOCKS]]
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for name, optimizer in optimizers.items():
            optimizer.param_groups[0]["lr"] = PEAK_LR[name] * lr_share_at(step, steps)
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():  # the head doesn't see a shift of all rows, so they may as well be centred
            rows -= rows.mean(0)
        if step % 250 == 0 or step == steps - 1:
            held_out_loss = validation_loss(model, held_out)
            elapsed = time.monotonic() - start
            print(f"step {step} loss {loss.item():.4f} held-out {held_out_loss:.4f} ({elapsed:.0f} s)", flush=True)
    return model, held_out_loss


def build_base_model(steps: int) -> None:
    text = read_source("base_english.txt.xz")
    tokenizer = train_tokenizer(text)
    blocks = encode_blocks(tokenizer, text)
    is_held_out = torch.arange(len(blocks)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    train, held_out = blocks[~is_held_out], blocks[is_held_out]
    print(
        f"{len(train)} blocks to train on, {len(held_out)} held out; {len(text) / blocks.numel():.2f} letters a token"
    )
    model, loss = pretrain(train, held_out, steps)
    bits_per_byte = loss / math.log(2) * blocks.numel() / len(text.encode())
    model.save_pretrained(BASE_MODEL)
    tokenizer.save_pretrained(BASE_MODEL)
    facts = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "held_out_loss": loss,
        "held_out_bits_per_byte": bits_per_byte,
        "train_tokens": train.numel(),
        "held_out_tokens": held_out.numel(),
        "steps": steps,
        "tokens_a_step": BATCH_BLOCKS * BLOCK_TOKENS,
        "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "torch": torch.__version__,
    }
    (BASE_MODEL / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    (BASE_MODEL / "model.safetensors").chmod(0o644)
    (BASE_MODEL / "README.md").write_text(CARD.format(**facts, tokens=steps * BATCH_BLOCKS * BLOCK_TOKENS))
    print(json.dumps(facts, indent=2))


def cut_at_line(text: str, tokenizer: LlamaTokenizer, tokens: int) -> str:
    """The shortest run of whole lines from the start of `text` that holds at least `tokens` tokens."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    end = text.index("\n", offsets[tokens - 1][1])
    return text[: end + 1]


def choose_words(folio: str, train: str, tokenizer: LlamaTokenizer, count: int) -> list[str]:
    """Lower-case Folio words that the base tokenizer splits, with Phase 1's exposure in the training text.

    Words of each stratum of `EXPOSURE_SHARES` are a seeded sample of the Folio's, so that rare ones are as
    rare as the Wake's; the most frequent stratum is taken from its top.
    """
    pattern = re.compile(r"(?<![^\W\d_])[a-zà-ÿ]{3,}(?![^\W\d_])")
    seen = Counter(pattern.findall(train))
    vocabulary = tokenizer.get_vocab()
    split = sorted(
        word for word in set(pattern.findall(folio)) if word not in vocabulary and "▁" + word not in vocabulary
    )
    chooser = random.Random(0)
    chosen: list[str] = []
    for (low, high), share in EXPOSURE_SHARES.items():
        stratum = [word for word in split if low <= seen[word] <= high]
        chooser.shuffle(stratum)
        if low >= 5:
            stratum.sort(key=lambda word: -seen[word])
        wanted = round(share * count) if low < 5 else count - len(chosen)
        print(f"seen {low}-{high}: {len(stratum)} words, {wanted} wanted")
        chosen += stratum[:wanted]
    return sorted(chosen)


def held_out_passages(text: str, tokenizer: LlamaTokenizer, count: int) -> list[str]:
    """So many blocks that the base model was not trained on, spread evenly, each cut to whole words."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    held_out = range(HELD_OUT_EVERY - 1, len(offsets) // BLOCK_TOKENS, HELD_OUT_EVERY)
    chosen = [held_out[place * len(held_out) // count] * BLOCK_TOKENS for place in range(count)]
    blocks = [text[offsets[first][0] : offsets[first + BLOCK_TOKENS - 1][1]] for first in chosen]
    return [re.sub(r"^\S*\s+|\s+\S*$", "", block) for block in blocks]


def build_texts() -> None:
    tokenizer = AutoTokenizer.from_pretrained(BASE_MODEL)
    passages = held_out_passages(read_source("base_english.txt.xz"), tokenizer, RETENTION_PASSAGES)
    (DEFAULT / "retention.txt").write_text("\n".join(passages) + "\n", encoding="utf-8")
    folio = read_source("first_folio.txt.xz")
    corpus = cut_at_line(folio, tokenizer, CORPUS_TOKENS)
    train = corpus[: corpus.index("\n", round(0.9 * len(corpus)))]
    new_rows = round(NEW_SHARE / (1 - NEW_SHARE) * len(tokenizer))
    words = choose_words(folio, train, tokenizer, new_rows)
    (DEFAULT / "corpus.txt").write_text(corpus, encoding="utf-8")
    (DEFAULT / "lexicon.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    print(f"corpus: {len(corpus)} letters; lexicon: {len(words)} words")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["base_model", "texts"])
    parser.add_argument("--steps", type=int, default=5000, help="pretraining steps of 8 x 256 tokens")
    arguments = parser.parse_args()
    if arguments.part == "base_model":
        build_base_model(arguments.steps)
    else:
        build_texts()


if __name__ == "__main__":
    main()
