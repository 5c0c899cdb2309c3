"""Vocabularies in tables of 80 columns: what became of a text's words, and what an extension does to the text."""

from collections.abc import Callable
from typing import get_args

from rich.table import Table

from wake2vec import Audit, Candidates, Form, LexiconAudit

FIRST = 10
ABSENT = "–"


def words_table(found: Candidates, name: str) -> Table:
    """Words found, dropped by each filter and kept, with the places of the text where they stand."""
    table = Table(title=f"The words of {name}", box=None, header_style="bold", width=80)
    for header, width in (("", 42), ("words", 10), ("places", 10), ("of all", 8)):
        table.add_column(header, width=width, justify="right" if header else "left")
    places = max(found.found.places, 1)

    def row(label: str, words: int, stands: int) -> None:
        table.add_row(label, f"{words:,}", f"{stands:,}", f"{stands / places:.1%}")

    row("found", found.found.words, found.found.places)
    for reason, tally in found.dropped.items():
        row(f"  dropped: {reason}", tally.words, tally.places)
    dropped = sum(tally.places for tally in found.dropped.values())
    spelled = sum(1 for one in found.kept if one.count < one.lower + one.capitalised + one.other)
    row("  kept words, where spelled otherwise", spelled, found.found.places - dropped - found.places)
    row("[bold]kept, as listed", len(found.kept), found.places)
    return table


def first_words_table(found: Candidates) -> Table:
    """The first ten words of the list."""
    title = f"The first {min(FIRST, len(found.kept))} of {len(found.kept):,} by score: novelty x times x (pieces - 1)"
    table = Table(title=title, box=None, header_style="bold", width=80)
    table.add_column("word", overflow="ellipsis", no_wrap=True, ratio=1)
    for header in ("score", "novelty", "zipf", "pieces", "times", "lower", "Capital", "other"):
        table.add_column(header, justify="right", no_wrap=True)
    for one in found.kept[:FIRST]:
        counts = (one.pieces, one.count, one.lower, one.capitalised, one.other)
        numbers = (f"{one.score:,.1f}", f"{one.novelty:.2f}", f"{one.zipf:.2f}", *(f"{count:,}" for count in counts))
        table.add_row(one.word, *numbers)
    return table


def audit_table(found: LexiconAudit, lexicon: str, corpus: str) -> Table:
    """Forms as columns; a form that can't be had or used has none of the numbers."""
    table = Table(title=f"{lexicon} on {corpus}, capitals {found.capitals}", box=None, header_style="bold", width=80)
    table.add_column("", width=40, no_wrap=True)
    asked = {*found.forms, *found.unusable, *found.unavailable}
    forms = [form for form in get_args(Form) if form in asked]
    for form in forms:
        table.add_column(form, justify="right", width=11)
    for label, shown in ROWS.items():
        if shown is None:
            table.add_row(f"[bold]{label}")
            continue
        audits = [found.forms.get(form) for form in forms]
        table.add_row(f"  {label}", *(ABSENT if one is None else shown(one) for one in audits))
    return table


def _whole(name: str) -> Callable[[Audit], str]:
    return lambda audited: f"{getattr(audited, name):,}"


def _share(name: str) -> Callable[[Audit], str]:
    return lambda audited: f"{getattr(audited, name):.2%}"


ROWS: dict[str, Callable[[Audit], str] | None] = {
    "the words": None,
    "read": _whole("words_read"),
    "lines that repeat a word": _whole("words_duplicate"),
    "capitalised spellings added": _whole("words_capitalised"),
    "in the base already": _whole("words_in_base"),
    "new tokens": _whole("words_added"),
    "share of the whole vocabulary": _share("new_share"),
    "the text": None,
    "tokens in the base": _whole("tokens_base"),
    "tokens with the new words": _whole("tokens"),
    "more or fewer": lambda audited: f"{audited.tokens / audited.tokens_base - 1:+.2%}",
    "decoding gives the text back": lambda audited: "yes" if audited.round_trip else "no",
    "spaces lost": _share("boundaries_fused_share"),
    "spaces added": _share("boundaries_split_share"),
    "words cut inside by a new token": _share("words_cut_share"),
    "cut, though the base knows them whole": _share("known_words_cut_share"),
    "new tokens in the training blocks": None,
    "never": _whole("train_unseen"),
    "never, of all": _share("unseen_share"),
    "never, though the text has the word": _whole("unseen_written"),
    "once": _whole("train_seen_1"),
    "2 to 4 times": _whole("train_seen_2_4"),
    "5 times or more": _whole("train_seen_5_up"),
    "new tokens in the validation blocks": None,
    "never ": _whole("validation_unseen"),
    "once ": _whole("validation_seen_1"),
    "2 to 4 times ": _whole("validation_seen_2_4"),
    "5 times or more ": _whole("validation_seen_5_up"),
    "here, but never in training": _whole("validation_only"),
}
"""A row's label and what it shows; None heads a group."""
