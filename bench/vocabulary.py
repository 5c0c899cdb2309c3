"""`make bench`: 44,000 words into a tokenizer of 32,000 pieces, in each token form, with the audit of a whole text."""

import random
import re
import shutil
import tempfile
import time
from pathlib import Path

import mistral_common
from transformers import LlamaTokenizer

from bench.figures import Figure, publish
from wake2vec.audit import audit
from wake2vec.config import DEFAULT_FOLDER
from wake2vec.corpus import build_corpus, split_text
from wake2vec.lexicon import Lexicon
from wake2vec.vocabulary import FORMS, extend

WORDS = 44_000


def main() -> None:
    text = (DEFAULT_FOLDER / "corpus.txt").read_text(encoding="utf-8")
    lexicon = Lexicon(tuple(grown_lexicon(text)), duplicates=0)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1"
        shutil.copy(source, Path(folder) / "tokenizer.model")
        base = LlamaTokenizer.from_pretrained(folder)
    figures = []
    for form in FORMS:
        start = time.perf_counter()
        extended = extend(base, lexicon, form)
        seconds = time.perf_counter() - start
        blocks = build_corpus(*split_text(text, 0.1), extended, 256)
        counts = blocks.new_counts_train.numpy(), blocks.new_counts_validation.numpy()
        start = time.perf_counter()
        found = audit(extended, text, 0, *counts)
        figures += [
            Figure(f"form {form}: extension by {WORDS:,} words", seconds, "s", "seconds", seconds < 60),
            Figure(f"form {form}: audit of {len(text):,} letters", time.perf_counter() - start, "s"),
            Figure(f"form {form}: decode(encode(text)) == text", str(found.round_trip), "", "True", found.round_trip),
            Figure(f"form {form}: tokens of the text, of the base's", found.tokens / found.tokens_base, ""),
        ]
    publish("vocabulary", "make bench", figures)


def grown_lexicon(text: str) -> list[str]:
    """The words of the text, filled up by pairs of them."""
    words = dict.fromkeys(sorted(set(re.findall(r"[^\W\d_]{3,}", text))))
    known = list(words)
    chooser = random.Random(0)
    while len(words) < WORDS:
        words[chooser.choice(known).lower() + chooser.choice(known).lower()] = None
    return list(words)


if __name__ == "__main__":
    main()
