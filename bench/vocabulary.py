"""`python -m bench.vocabulary`: the audit of 45,000 words on a tokenizer of 32,000 pieces and a text of 1.3 MB.

Each token form is audited in a process of its own, as `study lexicon audit` does it from the files: reading and
checking them, extending the tokenizer, encoding the text, the audit itself. The peak of its memory is all that the
process took, libraries included.
"""

import json
import lzma
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mistral_common
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

from bench.figures import ROOT, Figure, publish
from wake2vec import CorpusConfig, Filters, Form, audit_lexicon, find_candidates
from wake2vec.data.forms import WORD_FORMS

WORDS = 44_000
AUDITED_WORDS = 45_000
TEXT_BYTES = 1_300_000
LIMIT_S, LIMIT_GB = 60, 2


def main() -> None:
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder)
        for form in WORD_FORMS:
            command = [sys.executable, "-m", "bench.vocabulary", form, name]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            figures += figures_of(form, json.loads(done.stdout.splitlines()[-1]))
    publish("vocabulary", "python -m bench.vocabulary", figures)


def write_inputs(folder: Path) -> None:
    """`base/`, `lexicon.txt` and `corpus.txt`: a part of the Folio that is longer than the embedded one."""
    shutil.copy(Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1", folder / "tokenizer.model")
    base = LlamaTokenizer.from_pretrained(folder)
    base.save_pretrained(folder / "base")
    folio = lzma.decompress((ROOT / "scripts" / "sources" / "first_folio.txt.xz").read_bytes())
    text = folio[:TEXT_BYTES].decode("utf-8", "ignore")
    (folder / "corpus.txt").write_text(text, encoding="utf-8")
    (folder / "lexicon.txt").write_text("\n".join(split_lexicon(text, base)) + "\n", encoding="utf-8")


def measure(form: Form, folder: Path) -> dict[str, Any]:
    """Time and peak memory of one form's audit, in this process, and what the audit found."""
    start = time.perf_counter()
    found = audit_lexicon(
        folder / "lexicon.txt", str(folder / "base"), CorpusConfig(path=str(folder / "corpus.txt")), [form]
    ).forms[form]
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": seconds, "peak_gb": peak / 1e9, **found.model_dump()}


def figures_of(form: Form, found: dict[str, Any]) -> list[Figure]:
    seconds, peak, kept = found["seconds"], found["peak_gb"], bool(found["round_trip"])
    return [
        Figure(f"form {form}: whole audit, 45,000 words, 1.3 MB", seconds, "s", f"<= {LIMIT_S} s", seconds <= LIMIT_S),
        Figure(f"form {form}: peak memory of its process", peak, "GB", f"<= {LIMIT_GB} GB", peak <= LIMIT_GB),
        Figure(f"form {form}: decode(encode(text)) == text", str(kept), "", "True", kept),
        Figure(f"form {form}: tokens of the text, of the base's", found["tokens"] / found["tokens_base"], ""),
        Figure(f"form {form}: words cut though known whole", found["known_words_cut_share"], ""),
    ]


def split_lexicon(text: str, base: PreTrainedTokenizerFast) -> list[str]:
    """The text's words that the base splits, in lower case as Phase 1's, filled up by pairs of them."""
    kept = find_candidates(text, base, Filters(min_count=1)).kept
    return filled([one.word for one in kept if one.word.islower()], AUDITED_WORDS)


def grown_lexicon(text: str) -> list[str]:
    """The words of the text, filled up by pairs of them."""
    return filled(sorted(set(re.findall(r"[^\W\d_]{3,}", text))), WORDS)


def filled(known: list[str], count: int) -> list[str]:
    """The words, and random pairs of them up to a count."""
    words = dict.fromkeys(known)
    chooser = random.Random(0)
    while len(words) < count:
        words[chooser.choice(known).lower() + chooser.choice(known).lower()] = None
    return list(words)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))  # type: ignore[arg-type]
    else:
        main()
