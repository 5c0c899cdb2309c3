"""The audit of a lexicon on its own, before there is a study: each token form, and what to mind, in plain words."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from wake2vec.config import Capitals, CorpusConfig, Form
from wake2vec.data.audit_record import Audit
from wake2vec.data.corpus import bos_id
from wake2vec.data.forms import WORD_FORMS, extend
from wake2vec.data.lexicon import SPACE, Lexicon, is_unspaced, parse_lexicon, read_text, with_capitals
from wake2vec.data.mending import written_otherwise
from wake2vec.errors import CorpusError, LexiconError, ModelError
from wake2vec.inputs import encode
from wake2vec.training.model import load_tokenizer, resolve_folder

SHOWN = 3
"""How many of the worst the warnings name."""
SHOWN_REFUSED = 10


class LexiconAudit(BaseModel):
    """What a lexicon would do to a text, in each token form that was asked for."""

    model_config = ConfigDict(frozen=True)

    words: int
    """Distinct words that can be added."""
    duplicates: int
    """Lines that repeat a word."""
    refused: list[str]
    """Lines and words that can't be added, with the reasons: a study refuses the lexicon until they are put right."""
    capitals: Capitals
    forms: dict[Form, Audit]
    commented: list[str] = []
    """Lines that begin with `#` and look like words: they are passed over as comments."""
    otherwise: dict[str, tuple[str, str]] = {}
    """Ways in which the text has words that it hasn't as they are listed: such a word, and as the text has it."""
    nulls: int = 0
    """NULs in the text."""
    unspaced: list[str]
    """Words of scripts that are written without spaces between words, such as Chinese."""
    unspaced_met: dict[Form, int]
    """How many of those have their token in the text's blocks, in each of `forms`."""
    unusable: dict[Form, str]
    """Forms that a study refuses for this text, and why: it would be changed, or no new token occurs in it."""
    unavailable: dict[Form, str]
    """Forms that can't be had with this base, or have nothing to add, and why."""


def audit_lexicon(
    lexicon_path: str | Path,
    base: str,
    corpus: CorpusConfig,
    forms: Iterable[Form] | None = None,
    capitals: Capitals = "exact",
) -> LexiconAudit:
    """Audit a lexicon on the tokenizer of the base model's folder; no model is loaded.

    In the forms named; without them in all that take such a list, which is one of words or one of pieces.

    Raises:
        Wake2VecError: an input can't be used at all. What a single line or form is at fault for is in the audit.
    """
    text = read_text(Path(corpus.path), "corpus", CorpusError)
    tokenizer = load_tokenizer(resolve_folder(base))
    written, refused = parse_lexicon(lexicon_path)
    special = set(tokenizer.all_special_tokens) & set(written.words)
    refused += [f"{word!r} is a special token of the base" for word in sorted(special)]
    usable = Lexicon(tuple(word for word in written.words if word not in special), written.duplicates)
    if not usable.words:
        raise LexiconError(f"a lexicon needs at least one word that can be added: {lexicon_path}: {refused[0]}")
    lexicon = with_capitals(usable, text, capitals)
    unspaced = list(filter(is_unspaced, lexicon.words))
    audits: dict[Form, Audit] = {}
    met: dict[Form, int] = {}
    unusable: dict[Form, str] = {}
    unavailable: dict[Form, str] = {}
    if forms is None:
        forms = ("pieces",) if any(word.startswith(SPACE) for word in lexicon.words) else WORD_FORMS
    for form in forms:
        try:
            extended = replace(extend(tokenizer, lexicon, form), bos_id=bos_id(tokenizer, corpus.bos))
            blocks, audits[form] = encode(text, corpus, extended, lexicon)
            counts = blocks.new_counts_train + blocks.new_counts_validation
            met[form] = sum(count > 0 and is_unspaced(word) for word, count in zip(extended.words, counts, strict=True))
        except CorpusError as fault:
            unusable[form] = str(fault)
        except (ModelError, LexiconError) as fault:
            unavailable[form] = str(fault)
    return LexiconAudit(
        words=len(usable.words),
        duplicates=usable.duplicates,
        refused=refused,
        capitals=capitals,
        forms=audits,
        commented=list(written.commented),
        otherwise=written_otherwise(lexicon.words, text),
        nulls=text.count("\0"),
        unspaced=unspaced,
        unspaced_met=met,
        unusable=unusable,
        unavailable=unavailable,
    )


def warnings_of(found: LexiconAudit) -> dict[str, list[str]]:
    """What to mind, in plain words: of the `lexicon`, and under each form's name; what gives no cause isn't there."""
    warnings = {"lexicon": list(_of_lexicon(found))}
    warnings |= {form: [reason] for form, reason in (found.unusable | found.unavailable).items()}
    warnings |= {form: list(_of_form(audited)) for form, audited in found.forms.items()}
    return {name: lines for name, lines in warnings.items() if lines}


def _of_lexicon(found: LexiconAudit) -> Iterator[str]:
    if found.refused:
        faults = _count(len(found.refused), "fault is", "faults are")
        yield f"{faults} in it, and a study refuses it until they are put right"
        yield from found.refused[:SHOWN_REFUSED]
    if len(found.refused) > SHOWN_REFUSED:
        yield f"{len(found.refused) - SHOWN_REFUSED:,} faults more are in the list that --json prints"
    if found.duplicates:
        yield f"{_count(found.duplicates, 'line repeats', 'lines repeat')} a word"
    if found.commented:
        lines = _count(len(found.commented), "line is", "lines are")
        yield f"{lines} passed over as comments, such as `{found.commented[0]}`: a word can't begin with #"
    for way, (word, written) in found.otherwise.items():
        if "capital" in way:
            continue  # told below, with what a study can do
        yield (
            f"the text has words of the list only {way}, such as {word!a} as {written!a}: "
            "`python -m study lexicon mend LEXICON --corpus CORPUS --out mended.txt` writes them so"
        )
    if found.nulls:
        yield f"the text has {_count(found.nulls, 'NUL')}: what made it may have lost letters there"
    if found.unspaced:
        met = ", ".join(f"{count:,} in {form}" for form, count in found.unspaced_met.items()) or "none"
        yield (
            f"{_count(len(found.unspaced), 'word is', 'words are')} of a script without spaces between words, such as "
            f"`{found.unspaced[0]}`: a form that matches whole words finds it only where the text parts it from others "
            f"(tokens met: {met})"
        )
    if found.capitals == "exact" and any(audited.unseen_written for audited in found.forms.values()):
        yield "a token doesn't match its word in capitals: try --capitals added (vocabulary.capitals=added)"


def _of_form(found: Audit) -> Iterator[str]:
    if found.words_in_base:
        yield f"{_count(found.words_in_base, 'word is in the base and gets', 'words are in the base and get')} no row"
    if found.tokens > found.tokens_base:
        yield (
            f"the text gets longer: {found.tokens_base:,} tokens in the base, {found.tokens:,} with the new words "
            f"({found.tokens / found.tokens_base - 1:+.1%})"
        )
    if not found.round_trip:
        yield "decoding doesn't give the text back, nor does it with the base alone"
    if found.boundaries_fused_share:
        yield f"decoding loses {found.boundaries_fused_share:.2%} of the text's spaces"
    if found.boundaries_split_share:
        yield f"decoding adds spaces, {found.boundaries_split_share:.2%} of the text's"
    if found.known_words_cut_share:
        yield f"{found.known_words_cut_share:.1%} of the text's words are cut though the base knows them whole"
    for cut in found.worst_cuts[:SHOWN]:
        yield f"`{cut.new}` cuts `{cut.word}`, a word that the base knows whole: {_count(cut.places, 'place')}"
    if found.train_unseen:
        yield (
            f"{_count(found.train_unseen, 'new token never occurs', 'new tokens never occur')} in training "
            f"({found.unseen_share:.1%}), {found.validation_only:,} of them in validation: nothing teaches these"
        )
    if found.worst_unseen:
        worst = ", ".join(f"`{unseen.word}` {_count(unseen.written, 'time')}" for unseen in found.worst_unseen[:SHOWN])
        yield f"the text has {found.unseen_written:,} of these words where training doesn't meet their token: {worst}"


def _count(count: int, one: str, many: str = "") -> str:
    """`1 place`, `31 places`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
