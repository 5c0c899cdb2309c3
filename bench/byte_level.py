"""`python -m bench.byte_level FOLDER`: the form `space` with 44,990 words on a byte-level tokenizer, as SmolLM2's is.

As many words as Phase 1 added, on as much text: the Folio's words that the tokenizer splits, and pairs of them to fill
the list up. With Finnegans Wake's own words the form saves 18.3 % of SmolLM2's tokens of that book, and as many here.
"""

import lzma
import statistics
import sys
import tempfile
import time

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from bench.figures import ROOT, Figure, publish
from bench.vocabulary import filled
from wake2vec.data.forms import extend, known_whole
from wake2vec.data.lexicon import WORD, Lexicon

WORDS = 44_990
TEXT_BYTES = 1_300_000
PASSES = 7


def main() -> None:
    base = AutoTokenizer.from_pretrained(sys.argv[1])
    text, lexicon = inputs(base)
    made = extend(base, lexicon, "space")
    with tempfile.TemporaryDirectory() as folder:
        made.tokenizer.save_pretrained(folder)
        loaded = AutoTokenizer.from_pretrained(folder)
    before, after = ids_of(base, text), ids_of(loaded, text)
    new = [id_ for id_ in after if id_ >= made.base_size]
    saved = len(after) / len(before) - 1
    kept = loaded.decode(after, clean_up_tokenization_spaces=False) == text
    alike = after == ids_of(made.tokenizer, text)
    slower = encoding_time(base, loaded, text)
    publish(
        "byte_level",
        "python -m bench.byte_level FOLDER",
        [
            Figure("words of the lexicon that get a row", len(made.words), ""),
            Figure("of those that occur in the text", len(set(new)) / len(made.words), ""),
            Figure("new tokens, of the text's words", len(new) / len(WORD.findall(text)), ""),
            Figure("tokens of the text against the base's", saved, "", "<= -.15", saved <= -0.15),
            Figure("decode(encode(text)) == text", str(kept), "", "True", kept),
            Figure("the saved folder gives the same ids", str(alike), "", "True", alike),
            Figure("encoding time over the base's, median of 7", slower, "", "<= 1.3", slower <= 1.3),
        ],
    )


def inputs(base: PreTrainedTokenizerFast) -> tuple[str, Lexicon]:
    """A text, and the words of it that the base splits, filled up by pairs of them."""
    folio = lzma.decompress((ROOT / "scripts" / "sources" / "first_folio.txt.xz").read_bytes())
    text = folio[:TEXT_BYTES].decode("utf-8", "ignore")
    words = tuple(dict.fromkeys(WORD.findall(text)))
    split = sorted(set(words) - known_whole(base, words))
    return text, Lexicon(tuple(filled(split, WORDS)), 0)


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def encoding_time(base: PreTrainedTokenizerFast, other: PreTrainedTokenizerFast, text: str) -> float:
    """Median over passes of one's processor time over the other's, side by side, since a machine's load changes."""
    ratios = []
    for _ in range(PASSES):
        spent = []
        for tokenizer in (base, other):
            start = time.process_time()
            tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
            spent.append(time.process_time() - start)
        ratios.append(spent[1] / spent[0])
    return statistics.median(ratios)


if __name__ == "__main__":
    main()
