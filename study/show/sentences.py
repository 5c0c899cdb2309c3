"""What is said of a study, in sentences: the question, how sure the answer is, the vocabulary, what it cost."""

from datetime import UTC, datetime
from pathlib import Path

from study.format import figure_name, plain, shown, shown_name
from study.runs.judge import BEATS, BETTER, WORSE, beats_baseline, front_runs, verdicts
from study.runs.record import StudyRecord
from study.runs.run import Run
from study.search.importance import ENOUGH_TRIALS, Importances
from study.show.table import Table, facts
from wake2vec import Audit, RunResult

NO_SAMPLES = "No texts were sampled: sample.count is 0."


def title(record: StudyRecord) -> str:
    """The answer in a line: whether the chosen trial beats the baseline, and in how many objectives it is better."""
    chosen = record.choice.trial
    if chosen.number == record.baseline.number:
        return "no trial was chosen before the baseline"
    found = verdicts(record, chosen)
    better = f"{'all' if set(found) == {BETTER} else f'{found.count(BETTER)} of'} {len(found)} objectives"
    if beats_baseline(chosen, record):
        return f"trial {chosen.number} beats the baseline: better in {better}, worse in none"
    worse = f", worse in {found.count(WORSE)}" if WORSE in found else ""
    return f"trial {chosen.number} is better than the baseline in {better}{worse}"


def question(record: StudyRecord) -> str:
    """What the study asks, in a sentence or two."""
    result = record.result(record.baseline.digest)
    words = "pieces of words" if result.config.vocabulary.form == "pieces" else "words"
    return (
        f"How are {result.audit.words_added:,} {words} best added to {_model_name(result)}, a frozen language model of "
        f"{result.audit.base_vocabulary:,} tokens, by training its embedding matrix alone? {record.ended} recipes were "
        f"tried and compared on {len(record.config.study.objectives)} objectives; {baseline_told(record)}."
    )


def baseline_told(record: StudyRecord) -> str:
    if record.baseline.is_baseline:
        return "the baseline is Phase 1's recipe, trial 0"
    return (
        f"Phase 1's recipe, trial 0, has no result, so trial {record.baseline.number}, the first that has one, stands "
        "in its place as the baseline"
    )


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
    count = record.differences(chosen)[0].count
    if count == 1:
        return (
            f"study.seeds is {seeds}, but the repeats have no results yet, so no interval was measured: `make study` "
            "runs them."
        )
    told: dict[str, list[str]] = {}
    for objective, found in zip(record.config.study.objectives, verdicts(record, chosen), strict=True):
        told.setdefault(found, []).append(shown_name(objective))
    parts = [f"{found} in {', '.join(names)}" for found, names in told.items()]
    return (
        f"Over {count} seeds, paired seed by seed, trial {chosen.number} is {'; '.join(parts)}. ± is half the 95 % "
        "interval; “within the noise” means that the interval of the difference holds 0."
    )


def setting(record: StudyRecord) -> Table:
    """What was fixed: names and values."""
    result = record.result(record.choice.trial.digest)
    run, study = result.config, record.config.study
    varying = {
        "train.rows": (
            "trained rows",
            "the whole embedding matrix" if run.train.rows == "all" else "the new rows alone",
        ),
        "train.batch_blocks": ("a step", f"{run.train.batch_blocks} sequences of {run.corpus.block_tokens} tokens"),
        "train.optimizer": ("optimizer", run.train.optimizer),
        **({"model.head": ("head", head_told(result))} if head_told(result) else {}),
        "vocabulary.form": ("token form", run.vocabulary.form),
        "init.name": ("initialiser", run.init.name),
        "seed": ("seed of the trials", str(run.seed)),
    }
    words, tokens = f"{result.audit.corpus_words:,} words", f"{result.audit.tokens:,} tokens"
    pairs = [
        ("base model", f"{_model_name(result)}, {result.audit.base_vocabulary:,} tokens, body frozen"),
        ("text", f"{Path(run.corpus.path).name}: {words}, {tokens}"),
        ("held out", f"the last {run.corpus.validation_share:.0%} of the text"),
        ("words", f"{Path(run.vocabulary.lexicon).name}: {result.audit.words_added:,} new rows"),
        *(pair for address, pair in varying.items() if address not in study.space),
        ("trials", counted(record)),
        ("sampler", f"Optuna's, seed {study.seed}, the first {study.startup_trials} trials at random"),
        ("choice rule", study.choice.rule.replace("_", " ")),
    ]
    if study.choice.bars:
        pairs.append(("bars", "; ".join(bar.told(figure_name) for bar in study.choice.bars)))
    return facts("", pairs)


def kept_told(record: StudyRecord, *runs: Run) -> str:
    """Which step each of these runs is shown at, where it isn't its last; empty where all are."""
    ended = {run.digest: run for run in runs if run.values and record.work_folder(run.digest).result_path.exists()}
    results = [(run.title, record.result(digest)) for digest, run in ended.items()]
    return " ".join(
        f"{title} keeps its best evaluation (train.keep=best, by {figure_name(own.config.train.keep_by)}): rows, "
        f"figures and samples are those of step {own.kept_step:,} of {own.config.train.steps:,}."
        for title, own in results
        if own.kept_step != own.config.train.steps
    )


def head_told(result: RunResult) -> str:
    """What became of a head that is a matrix of its own; empty where there is none."""
    if result.head == "own":
        return "a matrix of its own, trained beside the input embedding"
    before, after = (result.numbers.get(f"validation.{name}") for name in ("start_loss_own_head", "start_loss"))
    return tying_told(before, after) if result.head == "replaced" else ""


def tying_told(before: float | None, after: float | None) -> str:
    """What is lost where the base's own head is thrown away, by the two losses at step 0."""
    return (
        "the base's own is thrown away for the input embedding (model.head=tied): validation loss at step 0 "
        f"{shown(before)} before, {shown(after)} after"
    )


def counted(record: StudyRecord) -> str:
    """`13 with a result, 5 stopped early, 1 failed`."""
    counts = {
        "with a result": len(record.finished),
        "stopped early": len(record.stopped),
        "failed": len(record.failed),
        "damaged": len(record.damaged),
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


def front_told(record: StudyRecord, drawn: int) -> str:
    """What the front is, what beats the baseline, which runs have intervals; `drawn` is the most that charts draw."""
    most = f" {drawn} are drawn, all are in the table." if len(front_runs(record)) > drawn else ""
    seeds = record.config.study.seeds
    return (
        f"{len(record.front)} of {len(record.finished)} trials with a result lie on the front: no other is at least as "
        f"good in every objective, and better in one.{most} “Beats the baseline”: {BEATS}. "
    ) + (
        "Values are of one seed: no intervals."
        if seeds == 1
        else f"The baseline and {len(record.finalists)} finalists were run with {seeds} seeds: ± is half the 95 % "
        "interval of their mean (Student's t), a bar in a chart the whole of it."
    )


def saved(record: StudyRecord) -> str:
    """How many steps early stopping left undone; empty where nothing was stopped."""
    if not record.stopped:
        return ""
    planned = sum(map(record.steps, record.stopped))
    left = planned - sum(trial.step for trial in record.stopped)
    return f"Of the {planned:,} steps of those that were stopped early {left:,} were not trained."


def computed(record: StudyRecord) -> str:
    """Device, precision and memory of the chosen trial, and the first and last day of training, UTC."""
    result = record.result(record.choice.trial.digest)
    peak = result.computed.peak_memory_gb
    memory = f"tensors took at most {peak:.1f} GB" if peak is not None else "memory isn't measured on a CPU"
    parts = {"train": "training", "validate": "validation", "geometry": "geometry", "sample": "samples"}
    if result.config.init.name == "distilled":
        parts = {"start": "new rows", **parts}
    if result.config.train.finish_steps:
        parts["finish"] = "the finish"
    total = result.seconds.get("total", 0.0) or 1.0
    shares = ", ".join(f"{words} {result.seconds.get(key, 0.0) / total:.0%}" for key, words in parts.items())
    times = [own.time_s for trial in record.trained for own in record.progress(trial.digest)]
    days = [datetime.fromtimestamp(time_s, UTC).date().isoformat() for time_s in (min(times), max(times))]
    return (
        f"{result.computed.device}, {result.computed.precision}, {result.computed.micro_batch_blocks} sequences at "
        f"once; {memory}. Of the time: {shares}. Trained on {' to '.join(dict.fromkeys(days))}."
    )


def first_sample(result: RunResult) -> str:
    """The first text that a trial wrote, or that it wrote none."""
    return result.samples[0] if result.samples else NO_SAMPLES


def sample_text(result: RunResult) -> str:
    """Of the file that shows a trial's samples."""
    return plain("\n\n---\n\n".join(result.samples) + "\n")


def audit_told(audit: Audit) -> list[str]:
    """What the extension does to the text, in plain words."""
    longer = audit.tokens / max(audit.tokens_base, 1) - 1
    cuts = [f"“{cut.new}” in “{cut.word}” ({cut.places:,} places)" for cut in audit.worst_cuts[:4]]
    unseen = [f"“{word.word}” ({word.written:,} times)" for word in audit.worst_unseen[:4]]
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
        f"all words are ones that the base knows whole.{_examples(cuts)}",
        "Encoding and decoding gives the text back, letter by letter."
        if audit.round_trip
        else f"Encoding and decoding doesn't give the text back: {audit.boundaries_fused_share:.2%} of its spaces are "
        f"lost, {audit.boundaries_split_share:.2%} are added.",
    ]
    if audit.unseen_written:
        sentences.append(
            f"{audit.unseen_written:,} words stand in the text but never as a token to train on: in other capitals, "
            f"inside other tokens, or in what is held out.{_examples(unseen)}"
        )
    return sentences


def _model_name(result: RunResult) -> str:
    """Of the base model, without the folders that it lies in."""
    path = Path(result.config.model.path)
    return path.name if path.is_absolute() else str(path)


def _examples(listed: list[str]) -> str:
    return f" The most frequent: {', '.join(listed)}." if listed else ""
