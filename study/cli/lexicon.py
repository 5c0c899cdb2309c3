"""Commands about vocabularies: `python -m study lexicon build`, `... lexicon audit`."""

import hashlib
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, get_args

import typer

import wake2vec
from study.cli import as_json as in_json
from study.cli.options import named_path, say, show
from study.format import UNDEFINED, plain
from study.runs.faults import NO_SPACE
from study.show.table import WIDTH, Column, Table
from wake2vec import (
    Audit,
    Capitals,
    ConfigError,
    CorpusConfig,
    CorpusError,
    Form,
    ModelError,
    StorageError,
)

FIRST = 10
LONGEST = 24
"""Letters of a word; a longer one is folded."""
Base = Annotated[str, typer.Option("--base", help="Folder of the base model, or its name on the hub.")]


def build(
    corpus: Annotated[Path, typer.Argument(help="A text in UTF-8.")],
    base: Base,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=named_path,
            metavar="PATH",
            help="The word list, <corpus>.lexicon.txt without it; beside it, scores as .csv.",
        ),
    ] = None,
    min_count: Annotated[int, typer.Option(min=1, help="Words that the text has less often are left out.")] = 2,
    max_zipf: Annotated[
        float | None, typer.Option(help="Words commoner in English are left out: 3 is once in a million words.")
    ] = None,
    min_letters: Annotated[int | None, typer.Option(min=1, help="Words of fewer letters are left out.")] = None,
    max_letters: Annotated[int | None, typer.Option(min=1, help="Words of more letters are left out.")] = None,
    pieces: Annotated[
        int | None, typer.Option(min=1, help="Instead of words, so many pieces of words, for vocabulary.form=pieces.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that hold something else.")] = False,
) -> None:
    """Make a lexicon: the words of a text that the base model's tokenizer splits, those that save most first.

    A word is written in lower case if the text has it so at least --min-count times, otherwise as it is written most.
    --pieces N lists parts of words instead: byte-pair merges that go on where the base's end, the commonest first.
    """
    limits = wake2vec.Filters(min_count, max_zipf, min_letters, max_letters)
    of_words = _options({**asdict(limits), "min_count": None})
    if pieces is not None and of_words:
        raise ConfigError(f"pieces have no limits but --min-count: {of_words}; leave it away, or --pieces")
    target = out or Path(f"{corpus.stem}.{'lexicon' if pieces is None else 'pieces'}.txt")
    scores = target.with_suffix(".csv")
    if scores == target:
        raise ConfigError(f"the word list can't be a .csv, its scores are that: {target}; let --out end in .txt")
    text = wake2vec.read_text(corpus, "corpus", CorpusError)
    tokenizer = wake2vec.load_tokenizer(wake2vec.resolve_folder(base))
    asked = f"{_options(asdict(limits))}{'' if pieces is None else f' --pieces {pieces}'}"
    source = [
        f"made by: study lexicon build {corpus.name} --base {Path(base).name} {asked}",
        f"text: {corpus.name}, SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:16]}",
        f"base: {Path(base).name}, {len(tokenizer):,} pieces",
    ]
    if pieces is not None:
        made = wake2vec.learn_pieces(text, tokenizer, pieces, min_count)
        _write_new({scores: wake2vec.pieces_table_file(made), target: wake2vec.pieces_file(made, source)}, force)
        show_pieces(made, pieces, min_count)
        typer.echo(f"\nWritten: {target}\n         {scores}")
        say(f"To use it: vocabulary.form=pieces vocabulary.lexicon={target}")
        return
    found = wake2vec.find_candidates(text, tokenizer, limits)
    _write_new({scores: wake2vec.scores_file(found), target: wake2vec.lexicon_file(found, source)}, force)
    show(words_table(found, corpus.name))
    say(f"\n{_saved(lambda form: wake2vec.tokens_saved(found, text, tokenizer, form))}\n")
    show(first_words_table(found))
    typer.echo(f"\nWritten: {target}\n         {scores}")


def audit(
    lexicon: Annotated[Path, typer.Argument(help="A word list, one word a line.")],
    base: Base,
    corpus: Annotated[Path, typer.Option("--corpus", help="The text to adapt to, in UTF-8.")],
    form: Annotated[
        Form | None, typer.Option(help="One token form; all that take such a list side by side without it.")
    ] = None,
    capitals: Annotated[Capitals, typer.Option(help="How words in capitals match: vocabulary.capitals.")] = "exact",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Say what a lexicon does to a text, form by form, before anything is trained."""
    found = wake2vec.audit_lexicon(lexicon, base, CorpusConfig(path=str(corpus)), [form] if form else None, capitals)
    warnings = wake2vec.warnings_of(found)
    if as_json:
        typer.echo(in_json.as_json({**found.model_dump(), "warnings": warnings}))
    else:
        if found.forms:
            show(audit_table(found, lexicon.name, corpus.name))
        typer.echo("\nTo mind" if warnings else "\nNothing to mind.")
        for name, lines in warnings.items():
            typer.echo(f" {name}")
            for line in lines:
                typer.echo(textwrap.fill(plain(line), WIDTH, initial_indent="   - ", subsequent_indent="     "))
    if found.unusable:
        raise CorpusError(_told(found.unusable))
    if not found.forms:
        raise ModelError(_told(found.unavailable))


def mend(
    source: Annotated[
        Path, typer.Argument(metavar="LIST", help="A list of words, or a table that a program exported.")
    ],
    out: Annotated[Path, typer.Option("--out", parser=named_path, metavar="PATH", help="The lexicon that is written.")],
    column: Annotated[int | None, typer.Option(min=1, help="Of a table; without it, the one of words.")] = None,
    corpus: Annotated[
        Path | None, typer.Option("--corpus", help="The text to adapt to: each word is written as it has it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that holds something else.")] = False,
) -> None:
    """Make a lexicon of a list as programs write it: tables, quotes, capitals, other encodings and Unicode forms."""
    if out.resolve() == source.resolve():
        raise ConfigError(f"the list is kept as it is: {out} is the list itself; give --out another name")
    text = None if corpus is None else wake2vec.read_text(corpus, "corpus", CorpusError)
    mended = wake2vec.mend(source, column, text)
    _write_new({out: ("\n".join(mended.words) + "\n").encode()}, force)
    for note in mended.notes:
        say(f"{note}.")
    say(f"Written: {out}, {len(mended.words):,} words.")


def _saved(tokens: Callable[[Form], tuple[int, int]]) -> str:
    """Tokens of the text before and after, in the shortest form that this base has."""
    form: Form = "space"
    refusal = ""
    try:
        before, after = tokens(form)
    except ModelError as fault:
        form, refusal = "word", f"\nThe form space, which is the shortest, can't be had: {fault}."
        before, after = tokens(form)
    change = f"{abs(before - after):,} {'more' if after > before else 'saved'} ({abs(1 - after / before):.1%})"
    return f"Tokens of the text, form {form}: {before:,} -> {after:,}, {change}.{refusal}"


def _told(faults: dict[Form, str]) -> str:
    """Each fault once, with the forms that have it."""
    forms = {fault: ", ".join(form for form in faults if faults[form] == fault) for fault in faults.values()}
    return "; ".join(f"{names}: {fault}" for fault, names in forms.items())


def _options(limits: Mapping[str, float | None]) -> str:
    """The limits as they are typed."""
    given = {name: value for name, value in limits.items() if value is not None}
    return " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in given.items())


def _write_new(files: dict[Path, bytes], force: bool) -> None:
    """Write all files or none; one that holds something else is replaced only by consent."""
    try:
        others = [str(path) for path, data in files.items() if path.exists() and not _holds(path, data)]
        folders = [path for path in files if path.exists() and not path.is_file()]
    except OSError as fault:
        raise ConfigError(
            f"a word list must be a file that can be made: {fault.strerror}; give another --out"
        ) from None
    if folders:
        raise ConfigError(f"a word list is a file: {folders[0]} is none; give --out another name")
    if others and not force:
        verb = "holds" if len(others) == 1 else "hold"
        raise ConfigError(
            f"files that hold something else aren't replaced: {' and '.join(others)} {verb} other words or "
            "scores; give --out another name, or --force"
        )
    for path, data in files.items():
        try:
            wake2vec.write_atomic(path, data)
        except OSError as fault:
            kind = StorageError if fault.errno in NO_SPACE else ConfigError
            raise kind(f"the word list can't be written: {path}: {fault.strerror}; give another --out") from None


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def show_pieces(made: "wake2vec.Pieces", asked: int, min_count: int) -> None:
    """How many there are, what they do to the text, and the first ten."""
    count, saved = len(made.words), made.tokens_base - made.tokens
    often, never = sum(times >= 5 for times in made.counts), sum(times == 0 for times in made.counts)
    if count < asked:
        say(f"{count:,} pieces, not {asked:,}: no other neighbours stand side by side in words {min_count:,} times.")
    share = f"{saved:,} saved ({saved / made.tokens_base:.1%})"
    say(f"Tokens of the text: {made.tokens_base:,} -> {made.tokens:,}, {share}.")
    say(f"It has {often:,} of the {count:,} pieces 5 times or more ({often / count:.1%}).")
    say(f"It has {never:,} only inside longer pieces, which are made of them.\n")
    first = slice(FIRST)
    columns = [
        Column("joined", [f"{times:,}" for times in made.pairs[first]]),
        Column("times", [f"{times:,}" for times in made.counts[first]]),
    ]
    title = f"The first {min(FIRST, count)}"
    show(Table(title, Column("piece", list(made.words[first]), "left", LONGEST), [columns]))


def words_table(found: "wake2vec.Candidates", name: str) -> Table:
    """Words found, dropped by each filter and kept, with the places of the text where they stand."""
    dropped = sum(tally.places for tally in found.dropped.values())
    spelled = sum(1 for one in found.kept if one.count < one.lower + one.capitalised + one.other)
    rows = [
        ("found", found.found.words, found.found.places),
        *((f"  dropped: {reason}", tally.words, tally.places) for reason, tally in found.dropped.items()),
        ("  kept words, where spelled otherwise", spelled, found.found.places - dropped - found.places),
        ("kept, as listed", len(found.kept), found.places),
    ]
    labels, words, places = zip(*rows, strict=True)
    columns = [
        Column("words", [f"{count:,}" for count in words]),
        Column("places", [f"{count:,}" for count in places]),
        Column("of all", [f"{count / max(found.found.places, 1):.1%}" for count in places]),
    ]
    return Table(f"The words of {name}", Column("", labels, "left"), [columns], strong={len(rows) - 1})


def first_words_table(found: "wake2vec.Candidates") -> Table:
    """The first ten words of the list."""
    first = found.kept[:FIRST]
    columns = [
        Column("score", [f"{one.score:,.1f}" for one in first]),
        Column("novelty", [f"{one.novelty:.2f}" for one in first]),
        Column("zipf", [f"{one.zipf:.2f}" for one in first]),
        Column("pieces", [f"{one.pieces:,}" for one in first]),
        Column("times", [f"{one.count:,}" for one in first]),
        Column("lower", [f"{one.lower:,}" for one in first]),
        Column("Capital", [f"{one.capitalised:,}" for one in first]),
        Column("other", [f"{one.other:,}" for one in first]),
    ]
    title = f"The first {len(first)} of {len(found.kept):,} by score: novelty x times x (pieces - 1)"
    return Table(title, Column("word", [one.word for one in first], "left", LONGEST), [columns])


def audit_table(found: "wake2vec.LexiconAudit", lexicon: str, corpus: str) -> Table:
    """Forms as columns; a form that can't be had or used has none of the numbers."""
    asked = {*found.forms, *found.unusable, *found.unavailable}

    def cells(form: Form) -> list[str]:
        audited = found.forms.get(form)
        return ["" if told is None else UNDEFINED if audited is None else told(audited) for told in ROWS.values()]

    labels = [label if told is None else f"  {label}" for label, told in ROWS.items()]
    heads = {place for place, told in enumerate(ROWS.values()) if told is None}
    columns = [Column(form, cells(form)) for form in get_args(Form) if form in asked]
    title = f"{lexicon} on {corpus}, capitals {found.capitals}"
    return Table(title, Column("", labels, "left"), [columns], strong=heads)


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
