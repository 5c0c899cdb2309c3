"""What a report says of a study, gathered once: HTML and Markdown show the same tables and sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from study.charts.run_charts import Side
from study.commands import make_command, profile_text
from study.record import StudyRecord
from study.report import tables, words
from study.report.issues import Issue, issues_of
from study.report.runs import ShownRun, shown_runs
from study.report.tables import Table
from study.search.importance import Importances, importances
from study.shown import shown_cautions
from wake2vec import Neighbours, RunResult


@dataclass(frozen=True, eq=False)
class Content:
    """Of one study: every table and sentence is plain text, the issues' pictures are markup."""

    record: StudyRecord
    runs: list[ShownRun]
    """In the order of drawing."""
    found: Importances
    sides: list[Side]
    """The baseline and the chosen trial; one where they are the same."""
    issues: list[Issue]
    answer: dict[str, str]
    """The sentences of the first screen, and those above tables."""
    tables: dict[str, Table]
    samples: list[str]
    """One for each side."""
    audits: list[tuple[str, list[str]]]
    """A title, empty where all sides have one audit, and its sentences."""
    to_repeat: list[tuple[str, str]]
    """A command, and what it does."""
    profile: str
    """The whole configuration as YAML."""


def content_of(record: StudyRecord, profile: str, overrides: Sequence[str]) -> Content:
    """Gather it; `profile` and `overrides` are what the report was asked for with.

    Raises:
        ConfigError: no trial has a result, or a result is gone.
    """
    runs, found = shown_runs(record), importances(record.finished, record.config)
    compared = {trial.number: trial for trial in (record.baseline, record.choice.trial)}
    results = {number: record.result(trial.digest) for number, trial in compared.items()}
    sides = [
        Side(
            f"Trial {trial.number}, {'baseline' if trial.number == record.baseline.number else 'chosen'}",
            results[trial.number].numbers,
            record.work_folder(trial.digest).read_arrays("geometry"),
        )
        for trial in compared.values()
    ]
    return Content(
        record,
        runs,
        found,
        sides,
        issues_of(sides),
        _answer(record, runs, found, results[record.choice.trial.number], make_command("export", profile, overrides)),
        _tables(record, runs, found, list(results.values())),
        [result.samples[0] for result in results.values()],
        _audits(sides, list(results.values())),
        _to_repeat(record, profile, overrides),
        profile_text(record.config),
    )


def _answer(
    record: StudyRecord, runs: Sequence[ShownRun], found: Importances, chosen: RunResult, export: str
) -> dict[str, str]:
    reason = record.choice.reason
    return {
        "name": record.config.study.name,
        "title": words.title(record),
        "question": words.question(record),
        "reason": f"{reason[0].upper()}{reason[1:]}.",
        "certainty": words.certainty(record),
        "caution": " ".join(shown_cautions(record)),
        "export": export,
        "front": words.front_told(record),
        "trials": words.trials_sentence(record),
        "saved": words.saved(record),
        "rough": words.rough(found),
        "computed": words.computed(chosen),
        "dates": _dates(record),
    }


def _tables(
    record: StudyRecord, runs: Sequence[ShownRun], found: Importances, results: Sequence[RunResult]
) -> dict[str, Table]:
    return {
        "comparison": tables.comparison(record),
        "recipe": tables.recipe(record),
        "front": tables.front_table(record),
        "references": tables.references_table(record),
        "bounds": tables.bounds_table(record),
        "runs": tables.all_runs(record, runs),
        "stopped": tables.stopped_table(record),
        "failed": tables.failed_table(record),
        "importances": tables.importance_table(found, record),
        "setting": words.setting(record),
        "space": tables.space_table(record),
        "cost": tables.cost_table(record, runs),
        "neighbours": _neighbours(results, record),
        "hashes": Table(
            ["input", "SHA-256, first digits"], [[key, value] for key, value in results[-1].fingerprints.items()]
        ),
        "versions": _versions(results),
        "digests": tables.digests_table(record),
    }


def _neighbours(results: Sequence[RunResult], record: StudyRecord) -> Table:
    """A row a word: how often it was seen, and its nearest base tokens on each side."""
    sides = [{near.word: near for near in result.neighbours} for result in results]
    listed = list(dict.fromkeys(word for side in sides for word in side))
    heads = [f"trial {record.baseline.number}, baseline", f"trial {record.choice.trial.number}, chosen"][: len(results)]
    rows = [
        [
            word,
            str(next(side[word].seen for side in sides if word in side)),
            *(_nearest(side.get(word)) for side in sides),
        ]
        for word in listed
    ]
    return Table(["word", "seen", *heads], rows)


def _nearest(near: Neighbours | None) -> str:
    if near is None:
        return "–"
    return ", ".join(f"{token} {cosine:.2f}" for token, cosine in zip(near.tokens, near.cosines, strict=True))


def _audits(sides: Sequence[Side], results: Sequence[RunResult]) -> list[tuple[str, list[str]]]:
    if len({result.audit.model_dump_json() for result in results}) == 1:
        return [("", words.audit_sentences(results[0].audit))]
    return [(side.title, words.audit_sentences(result.audit)) for side, result in zip(sides, results, strict=True)]


def _versions(results: Sequence[RunResult]) -> Table:
    made = {name: ", ".join(dict.fromkeys(result.versions[name] for result in results)) for name in results[0].versions}
    made |= {"optuna (of this page)": version("optuna"), "result format": str(results[0].format)}
    return Table(["what", "version"], [[name, number] for name, number in made.items()])


def _to_repeat(record: StudyRecord, profile: str, overrides: Sequence[str]) -> list[tuple[str, str]]:
    chosen = record.choice.trial.number
    return [
        (make_command("study", profile, overrides), "runs the study, or goes on with it"),
        (make_command("report", profile, overrides), "makes this page"),
        (make_command("ui", profile, overrides), "opens its trials in MLflow"),
        (f"{make_command('export', profile, overrides)} TRIAL={chosen}", f"writes trial {chosen} as a model folder"),
    ]


def _dates(record: StudyRecord) -> str:
    """From the first to the last day of training, UTC."""
    times = [own.time_s for trial in record.trained for own in record.progress(trial.digest)]
    days = [datetime.fromtimestamp(time_s, UTC).date().isoformat() for time_s in (min(times), max(times))]
    return " to ".join(dict.fromkeys(days))
