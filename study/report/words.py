"""The report's sentences: the question, how sure the answer is, the vocabulary, what was stopped, what it cost."""

from pathlib import Path

from study.charts.study_charts import MOST_ROWS
from study.names import figure_name, shown_name
from study.record import StudyRecord
from study.report.tables import Table, verdict
from study.search.importance import ENOUGH_TRIALS, Importances
from study.shown import front_rows
from wake2vec import Audit, RunResult


def title(record: StudyRecord) -> str:
    """The answer in a line: in how many objectives the chosen trial is better, and not within the noise."""
    chosen, objectives = record.choice.trial, record.config.study.objectives
    if chosen.number == record.baseline.number:
        return "no trial was chosen before the baseline"
    verdicts = [verdict(o, less) for o, less in zip(objectives, record.differences(chosen), strict=True)]
    count = "all" if set(verdicts) == {"better"} else f"{verdicts.count('better')} of {len(verdicts)}"
    return f"trial {chosen.number} beats the baseline in {count} objectives"


def question(record: StudyRecord) -> str:
    """What the study asks, in a sentence or two."""
    result = record.result(record.baseline.digest)
    audit = result.audit
    return (
        f"How are {audit.words_added:,} words best added to {model_name(result)}, a frozen language model of "
        f"{audit.base_vocabulary:,} tokens, by training its embedding matrix alone? {record.ended} recipes were tried "
        f"and compared on {len(record.config.study.objectives)} objectives; {_baseline_told(record)}."
    )


def _baseline_told(record: StudyRecord) -> str:
    if record.baseline.is_baseline:
        return "the baseline is Phase 1's recipe, trial 0"
    return (
        f"Phase 1's recipe, trial 0, has no result, so trial {record.baseline.number}, the first that has one, stands "
        "in its place as the baseline"
    )


def model_name(result: RunResult) -> str:
    """Of the base model, without the folders that it lies in."""
    path = Path(result.config.model.path)
    return path.name if path.is_absolute() else str(path)


def certainty(record: StudyRecord) -> str:
    """How sure the comparison with the baseline is, in words."""
    chosen, seeds = record.choice.trial, record.config.study.seeds
    if chosen.number == record.baseline.number:
        return "No trial was chosen before the baseline, so there is no difference to be sure of."
    if seeds == 1:
        return (
            "Every recipe was run with one seed, so no interval was measured: a small difference may be the seed's "
            "luck. study.seeds=3 runs the baseline and the finalists with three."
        )
    differences = record.differences(chosen)
    if differences[0].count == 1:
        return (
            f"study.seeds is {seeds}, but the repeats have no results yet, so no interval was measured: `make study` "
            "runs them."
        )
    told: dict[str, list[str]] = {}
    for objective, less in zip(record.config.study.objectives, differences, strict=True):
        told.setdefault(verdict(objective, less), []).append(shown_name(objective))
    parts = [f"{what} in {', '.join(names)}" for what, names in told.items()]
    return (
        f"Over {differences[0].count} seeds, paired seed by seed, trial {chosen.number} is {'; '.join(parts)}. The "
        "intervals are of 95 %. “Within the noise” means that the interval of the difference holds 0."
    )


def setting(record: StudyRecord) -> Table:
    """What was fixed: names and values."""
    result = record.result(record.choice.trial.digest)
    run, study = result.config, record.config.study
    varied = set(study.space)
    rows = [
        ["base model", f"{model_name(result)}, {result.audit.base_vocabulary:,} tokens, body frozen"],
        ["text", f"{Path(run.corpus.path).name}: {result.audit.corpus_words:,} words, {result.audit.tokens:,} tokens"],
        ["held out", f"the last {run.corpus.validation_share:.0%} of the text"],
        ["words", f"{Path(run.vocabulary.lexicon).name}: {result.audit.words_added:,} new rows"],
        ["trained rows", "the whole embedding matrix" if run.train.rows == "all" else "the new rows alone"],
        ["a step", f"{run.train.batch_blocks} sequences of {run.corpus.block_tokens} tokens"],
        ["optimizer", run.train.optimizer],
        ["token form", run.vocabulary.form],
        ["initialiser", run.init.name],
        ["seed of the trials", str(run.seed)],
    ]
    addresses = {"trained rows": "train.rows", "optimizer": "train.optimizer", "token form": "vocabulary.form"}
    addresses |= {"initialiser": "init.name", "a step": "train.batch_blocks", "seed of the trials": "seed"}
    rows = [row for row in rows if addresses.get(row[0]) not in varied]
    rows.append(["trials", trials_told(record)])
    rows.append(["sampler", f"Optuna's, seed {study.seed}, the first {study.startup_trials} trials at random"])
    rows.append(["choice rule", study.choice.rule.replace("_", " ")])
    if study.choice.bars:
        rows.append(["bars", "; ".join(bar.told(figure_name) for bar in study.choice.bars)])
    return Table(["", ""], rows)


def trials_told(record: StudyRecord) -> str:
    """`13 with a result, 5 stopped early, 1 failed`."""
    counts = {
        "with a result": len(record.finished),
        "stopped early": len(record.stopped),
        "failed": len(record.failed),
        "not ended": len(record.running),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def rough(found: Importances) -> str:
    """What importances are, and how far to trust them."""
    few = f", which is few: under about {ENOUGH_TRIALS} they are rough, and change with the next trials"
    return (
        "The share of an objective's variance over the trials that each knob explains (functional ANOVA on a random "
        f"forest, with a fixed seed), computed from {found.trials} trials{few if found.trials < ENOUGH_TRIALS else ''}."
    )


def front_told(record: StudyRecord) -> str:
    """What the front is, and which runs have intervals."""
    most = f" {MOST_ROWS} are drawn, all are in the table." if len(front_rows(record)) > MOST_ROWS else ""
    front = (
        f"{len(record.front)} of {len(record.finished)} trials with a result lie on the front: no other is at least as "
        f"good in every objective, and better in one.{most}"
    )
    if record.config.study.seeds == 1:
        return f"{front} Values are of one seed: no intervals."
    return (
        f"{front} The baseline and {len(record.finalists)} finalists were run with {record.config.study.seeds} seeds: "
        "a bar is the 95 % interval of their mean (Student's t)."
    )


def trials_sentence(record: StudyRecord) -> str:
    """How many trials there are, and what became of them."""
    return f"{trials_told(record)}."


def saved(record: StudyRecord) -> str:
    """How many steps early stopping left undone; empty where nothing was stopped."""
    if not record.stopped:
        return ""
    planned = [record.config.run_config(trial.params).train.steps for trial in record.stopped]
    left = sum(planned) - sum(trial.step for trial in record.stopped)
    return f"Of the {sum(planned):,} steps of those that were stopped early {left:,} were not trained."


def computed(result: RunResult) -> str:
    """Device, precision and memory of a trial."""
    peak = result.computed.peak_memory_gb
    memory = f"tensors took at most {peak:.1f} GB" if peak is not None else "memory isn't measured on a CPU"
    parts = {"train": "training", "validate": "validation", "geometry": "geometry", "sample": "samples"}
    total = result.seconds.get("total", 0.0) or 1.0
    shares = ", ".join(f"{words} {result.seconds.get(key, 0.0) / total:.0%}" for key, words in parts.items())
    return (
        f"{result.computed.device}, {result.computed.precision}, {result.computed.micro_batch_blocks} sequences at "
        f"once; {memory}. Of the time: {shares}"
    )


def audit_sentences(audit: Audit) -> list[str]:
    """What the extension does to the text, in plain words."""
    longer = audit.tokens / max(audit.tokens_base, 1) - 1
    sentences = [
        f"The lexicon lists {audit.words_read:,} words; {audit.words_added:,} have a row of their own "
        f"({audit.words_in_base:,} were in the base already, {audit.words_duplicate:,} stood there twice, "
        f"{audit.words_capitalised:,} capitalised spellings were added). They are {audit.new_share:.1%} of the "
        "vocabulary.",
        f"{audit.unseen_share:.1%} of the new tokens never occur in the training text, so their rows learn nothing "
        f"from it; {audit.seen_1_share:.1%} occur once, {audit.seen_2_4_share:.1%} two to four times, "
        f"{audit.seen_5_up_share:.1%} five times or more. {audit.seen_validation_share:.1%} occur in the held-out "
        f"text, {audit.validation_only:,} of them only there.",
        f"The text of {audit.corpus_words:,} words takes {audit.tokens:,} tokens, {abs(longer):.1%} "
        f"{'more' if longer > 0 else 'fewer'} than the {audit.tokens_base:,} before.",
        f"New tokens cut {audit.words_cut_share:.1%} of the text's words inside; {audit.known_words_cut_share:.1%} of "
        f"all words are ones that the base knows whole.{_examples(_cuts(audit))}",
        "Encoding and decoding gives the text back, letter by letter."
        if audit.round_trip
        else f"Encoding and decoding doesn't give the text back: {audit.boundaries_fused_share:.2%} of its spaces are "
        f"lost, {audit.boundaries_split_share:.2%} are added.",
    ]
    if audit.unseen_written:
        sentences.append(
            f"{audit.unseen_written:,} words stand in the text but never as a token to train on: in other capitals, "
            f"inside other tokens, or in what is held out.{_examples(_unseen(audit))}"
        )
    return sentences


def _cuts(audit: Audit) -> list[str]:
    return [f"“{cut.new}” in “{cut.word}” ({cut.places:,} places)" for cut in audit.worst_cuts[:4]]


def _unseen(audit: Audit) -> list[str]:
    return [f"“{word.word}” ({word.written:,} times)" for word in audit.worst_unseen[:4]]


def _examples(listed: list[str]) -> str:
    return f" The most frequent: {', '.join(listed)}." if listed else ""
