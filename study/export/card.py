"""The model card: an export's README, with what a reader must know before using, citing or repeating it."""

import inspect
import re
from pathlib import Path

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from study.config import StudyConfig
from study.format import figure_name, plain, shown
from study.runs.compare import pair_of, shown_cautions, shown_figures
from study.runs.record import StudyRecord
from study.runs.run import Run
from study.show.sentences import baseline_told, first_sample, head_told, kept_told
from study.show.table import escaped, fenced, in_markdown
from study.show.tables import comparison_table, legend
from wake2vec import (
    ALL_METRICS,
    INITIALISERS,
    READ_FIRST,
    InitialiserName,
    RunConfig,
    RunResult,
    fingerprint_inputs,
    flatten,
    null_of,
    retention_hash,
)

INPUTS = {
    "model.path": "base model",
    "corpus.path": "corpus",
    "vocabulary.lexicon": "lexicon",
    "retention.path": "retention text",
}
DEFAULT_RIGHTS = {
    "model.path": "made for this project from texts in the public domain; Apache-2.0",
    "corpus.path": (
        "First Folio (1623), text in the public domain; its files come from the package `shakespeare` 0.6, CC BY 2.5 "
        "(Open Knowledge Foundation)"
    ),
    "vocabulary.lexicon": "a list of words of that text; Apache-2.0",
    "retention.path": "King James Bible and Jane Austen's novels, public domain",
}
NOT_STATED = "**not stated**"
ALWAYS_SHOWN = ("vocabulary.form", "vocabulary.capitals", "init.name", "train.optimizer", "train.rows")
"""Knobs that a card shows even where the study doesn't vary them."""


def model_card(record: StudyRecord, trial: Run, reason: str, rights: str | None) -> str:
    """The card in Markdown, with the front matter that the model hub reads; the same text every time.

    `rights` is what the user says of base model, corpus and lexicon; None: nothing.

    Raises:
        ConfigError: the result of the trial or of the baseline is gone.
    """
    config, result, baseline_result = record.config, record.result(trial.digest), record.result(record.baseline.digest)
    pair = pair_of(record, record.baseline, trial)
    environment = Environment(loader=PackageLoader("study.export"), autoescape=False, undefined=StrictUndefined)
    environment.filters |= {"escaped": escaped, "fenced": fenced}
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|")
    aimed_at = {figure.result for figure in shown_figures(record)}
    rendered = environment.get_template("model_card.md").render(
        front_matter=yaml.safe_dump(_front_matter(result.config.model.path), sort_keys=False),
        study=config.study.name,
        trial=trial,
        result=result,
        run=result.config,
        reason=reason,
        comparison=in_markdown(comparison_table(record, pair)),
        legend=legend(pair.differences, config.study.seeds),
        baseline=baseline_told(record),
        cautions=shown_cautions(record),
        headline=[
            (figure_name(address), *row)
            for address, *row in _figures(baseline_result, result, READ_FIRST)
            if address not in aimed_at
        ],
        figures=_figures(
            baseline_result, result, [name for name in result.figures if not name.startswith("vocabulary.")]
        ),
        head=head_told(result),
        knobs={**trial.params, **{address: result.config.knobs()[address] for address in ALWAYS_SHOWN}},
        kept=kept_told(record, trial, record.baseline),
        initialiser=_initialiser(result.config.init.name),
        inputs=_inputs(result),
        rights=rights,
        not_stated=NOT_STATED,
        profile=yaml.safe_dump(_profile(config, trial, result), sort_keys=False, allow_unicode=True),
        audit=result.audit.model_dump(),
        sample=first_sample(result),
    )
    return plain(rendered)


def _front_matter(base: str) -> dict[str, object]:
    """What the hub indexes. The licence isn't ours to give: it follows from base model and texts."""
    matter: dict[str, object] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "other",
        "license_name": "see-rights-in-the-model-card",
        "tags": ["wake2vec", "vocabulary-extension"],
    }
    if not Path(base).is_dir() and re.fullmatch(r"[\w.-]+/[\w.-]+", base):
        matter |= {"base_model": base, "base_model_relation": "finetune"}
    return matter


def _interval(result: RunResult, address: str) -> str:
    """The 95 % interval of a figure of this trial; empty where there is none."""
    low, high = (result.numbers.get(f"{address}_{end}") for end in ("low", "high"))
    return "" if low is None or high is None else f"{shown(low)} to {shown(high)}"


def _null(result: RunResult, address: str) -> str:
    null = null_of(address, result.numbers)
    return "" if null is None else shown(null)


def _figures(baseline: RunResult, result: RunResult, names: list[str] | tuple[str, ...]) -> list[tuple[str, ...]]:
    return [
        (
            name,
            ALL_METRICS[name].meaning,
            shown(baseline.numbers.get(name)),
            shown(result.numbers[name]),
            _interval(result, name),
            _null(result, name),
        )
        for name in names
    ]


def _initialiser(name: InitialiserName) -> str:
    """What the initialiser's docstring says of it first: the formula, and where it comes from."""
    paragraphs = (inspect.getdoc(INITIALISERS[name]) or "").split("\n\n")
    return " ".join(" ".join(paragraphs[:2]).split())


def _inputs(result: RunResult) -> list[tuple[str, str, str, str]]:
    """What each input is, its name, its hash, and its rights where they are known."""
    return [
        (INPUTS[address], name, result.fingerprints[address], said or NOT_STATED)
        for address, (name, said) in _known_inputs(result).items()
        if address in result.fingerprints
    ]


def _known_inputs(result: RunResult) -> dict[str, tuple[str, str | None]]:
    """Of each input its name and rights. The embedded default is known by its hashes, wherever it lies."""
    default = RunConfig()
    shipped = {**fingerprint_inputs(default), "retention.path": retention_hash(default)}
    known: dict[str, tuple[str, str | None]] = {}
    for address in INPUTS:
        own, ours = (_leaf(config, address) for config in (result.config, default))
        is_ours = result.fingerprints.get(address, shipped[address]) == shipped[address]
        known[address] = (
            (f"wake2vec/default/{Path(ours).name}", DEFAULT_RIGHTS[address]) if is_ours else (_name(own), None)
        )
    return known


def _leaf(config: RunConfig, address: str) -> str:
    return str(flatten(config.model_dump())[address])


def _name(path: str) -> str:
    """A name on the hub as it is; of a path the last part: a card tells nothing of the machine."""
    return Path(path).name if Path(path).exists() or Path(path).is_absolute() else path


def _profile(config: StudyConfig, trial: Run, result: RunResult) -> dict[str, object]:
    """The study up to this trial as a profile, with the inputs' names in place of their paths."""
    tree: dict[str, dict[str, object]] = config.run.model_dump(mode="json", exclude={"machine"})
    for address, (name, _) in _known_inputs(result).items():
        section, key = address.split(".")
        tree[section][key] = name
    study = config.study.model_dump(mode="json", exclude_defaults=True) | {"trials": trial.number + 1}
    return {"study": study, **tree}
