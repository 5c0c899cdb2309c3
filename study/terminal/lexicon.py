"""Commands about vocabularies: `python -m study lexicon build`, `... lexicon audit`."""

import hashlib
import json
import textwrap
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console

import wake2vec
from wake2vec import Capitals, ConfigError, CorpusConfig, CorpusError, Form, ModelError, StorageError

WIDTH = 80
Base = Annotated[str, typer.Option("--base", help="Folder of the base model, or its name on the hub.")]


def build(
    corpus: Annotated[Path, typer.Argument(help="A text in UTF-8.")],
    base: Base,
    out: Annotated[
        Path | None,
        typer.Option(help="The word list, <corpus>.lexicon.txt without it; beside it, scores as .csv."),
    ] = None,
    min_count: Annotated[int, typer.Option(min=1, help="Words that the text has less often are left out.")] = 2,
    max_zipf: Annotated[
        float | None, typer.Option(help="Words commoner in English are left out: 3 is once in a million words.")
    ] = None,
    min_letters: Annotated[int | None, typer.Option(min=1, help="Words of fewer letters are left out.")] = None,
    max_letters: Annotated[int | None, typer.Option(min=1, help="Words of more letters are left out.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that hold something else.")] = False,
) -> None:
    """Make a lexicon: the words of a text that the base model's tokenizer splits, those that save most first.

    A word is written in lower case if the text has it so at least --min-count times, otherwise as it is written most.
    """
    target = out or Path(f"{corpus.stem}.lexicon.txt")
    scores = target.with_suffix(".csv")
    if scores == target:
        raise ConfigError(f"the word list can't be a .csv, its scores are that: {target}; let --out end in .txt")
    text = wake2vec.read_text(corpus, "corpus", CorpusError)
    tokenizer = wake2vec.load_tokenizer(wake2vec.resolve_folder(base))
    limits = wake2vec.Filters(min_count, max_zipf, min_letters, max_letters)
    found = wake2vec.find_candidates(text, tokenizer, limits)
    source = [
        f"made by: study lexicon build {corpus.name} --base {Path(base).name} {_options(limits)}",
        f"text: {corpus.name}, SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:16]}",
        f"base: {Path(base).name}, {len(tokenizer):,} pieces",
    ]
    _write_new({scores: wake2vec.scores_file(found), target: wake2vec.lexicon_file(found, source)}, force)
    from study.terminal.lexicon_table import first_words_table, words_table

    console = _console()
    console.print(words_table(found, corpus.name))
    try:
        before, after = wake2vec.tokens_saved(found, text, tokenizer)
        saved = f"{before - after:,} saved ({1 - after / before:.1%})"
        typer.echo(f"\nTokens of the text, form space: {before:,} -> {after:,}, {saved}.")
    except ModelError as fault:
        typer.echo()
        typer.echo(textwrap.fill(f"Tokens of the text, form space: {fault}", WIDTH))
    console.print()
    console.print(first_words_table(found))
    typer.echo(f"\nWritten: {target}\n         {scores}")


def audit(
    lexicon: Annotated[Path, typer.Argument(help="A word list, one word a line.")],
    base: Base,
    corpus: Annotated[Path, typer.Option("--corpus", help="The text to adapt to, in UTF-8.")],
    form: Annotated[Form | None, typer.Option(help="One token form; all of them side by side without it.")] = None,
    capitals: Annotated[Capitals, typer.Option(help="How words in capitals match: vocabulary.capitals.")] = "exact",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Say what a lexicon does to a text, form by form, before anything is trained."""
    forms = [form] if form else get_args(Form)
    found = wake2vec.audit_lexicon(lexicon, base, CorpusConfig(path=str(corpus)), forms, capitals)
    warnings = wake2vec.warnings_of(found)
    if as_json:
        typer.echo(json.dumps({**found.model_dump(), "warnings": warnings}, indent=2, ensure_ascii=False))
    else:
        if found.forms:
            from study.terminal.lexicon_table import audit_table

            _console().print(audit_table(found, lexicon.name, corpus.name))
        typer.echo("\nTo mind" if warnings else "\nNothing to mind.")
        for name, lines in warnings.items():
            typer.echo(f" {name}")
            for line in lines:
                typer.echo(textwrap.fill(line, WIDTH, initial_indent="   - ", subsequent_indent="     "))
    if found.unusable:
        raise CorpusError(_told(found.unusable))
    if not found.forms:
        raise ModelError(_told(found.unavailable))


def _told(faults: dict[Form, str]) -> str:
    """Each fault once, with the forms that have it."""
    forms = {fault: ", ".join(form for form in faults if faults[form] == fault) for fault in faults.values()}
    return "; ".join(f"{names}: {fault}" for fault, names in forms.items())


def _options(limits: "wake2vec.Filters") -> str:
    """The limits as they are typed."""
    options = {
        "--min-count": limits.min_count,
        "--max-zipf": limits.max_zipf,
        "--min-letters": limits.min_letters,
        "--max-letters": limits.max_letters,
    }
    return " ".join(f"{name} {value:g}" for name, value in options.items() if value is not None)


def _write_new(files: dict[Path, bytes], force: bool) -> None:
    """Write all files or none; one that holds something else is replaced only by consent."""
    others = [str(path) for path, data in files.items() if path.exists() and not _holds(path, data)]
    folders = [path for path in files if path.is_dir()]
    if folders:
        raise ConfigError(f"a word list is a file: {folders[0]} is a folder; give --out another name")
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
            raise StorageError(f"the word list can't be written: {path}: {fault.strerror}; give --out") from None


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def _console() -> Console:
    return Console(width=WIDTH, highlight=False)
