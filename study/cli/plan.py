"""What a study will take: parameters, memory, time, disk."""

import math
from collections.abc import Callable
from dataclasses import replace

from study.cli.progress import baseline_steps, companion_runs, mean_steps
from study.config import StudyConfig
from study.engine.side_by_side import Pace, measure_workers
from study.engine.worker import share_of_cores
from study.format import duration
from study.runs.run import references
from study.show.table import Table, facts
from wake2vec import Estimate, TrialPlan, plan_trial

CHECKPOINTS_AT_ONCE = 3
"""Two are kept while the next is written."""
SURE = "±: spread of the parts that were timed, drawn on to the whole; at today's load"


def plan_tables(config: StudyConfig, observe: Callable[[str], None] = lambda what: None) -> list[Table]:
    """Probe this machine with the baseline's configuration, and lay out what the study will take.

    `observe` is told what is measured now.

    Raises:
        Wake2VecError: an input can't be used, or not even one block fits into the memory.
    """
    plan = plan_trial(
        config.run_config(config.study.baseline), observe=observe, most_threads=share_of_cores(config.study.workers)
    )
    return [
        _model_table(plan, config),
        _memory_table(plan, config),
        _cost_table(plan, config, _pace(plan, config, observe)),
    ]


def _pace(plan: TrialPlan, config: StudyConfig, observe: Callable[[str], None]) -> Pace | None:
    """What several workers do on this machine's cores; None: trials don't run on them."""
    if not plan.device.startswith("CPU"):
        return None
    observe("workers side by side")
    return measure_workers(config.run_config(config.study.baseline), plan.peak_bytes)


def study_time(plan: TrialPlan, config: StudyConfig) -> Estimate:
    """Time of all runs, if no trial is stopped: the baseline's, and for the others the mean over the space.

    Workers share them, but for the finalists' repeats, which begin when all others have ended: in the last of both
    some workers have nothing to do.
    """
    every, workers = config.run.train.evaluate_every_steps, config.study.workers
    like_baseline = config.study.seeds + len(references(config))
    repeats = config.study.finalists * (config.study.seeds - 1)
    first = like_baseline + config.study.trials - 1
    of_baseline, of_others = plan.trial(float(baseline_steps(config)), every), plan.trial(mean_steps(config), every)
    mean = (of_baseline * like_baseline + of_others * (config.study.trials - 1)) * (1 / first)
    return mean * math.ceil(first / workers) + of_others * math.ceil(repeats / workers)


def in_words(time: Estimate) -> str:
    """`57 s ±12 %`."""
    return f"{duration(time.seconds)} ±{math.ceil(100 * time.doubt)} %"


def size(count: float) -> str:
    """`71.4 MB`, `1.25 GB`: 10^6 and 10^9 bytes."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _model_table(plan: TrialPlan, config: StudyConfig) -> Table:
    train, tokens = config.run.train, config.run.corpus.block_tokens
    count = math.ceil(train.batch_blocks / plan.micro_batch_blocks)
    norms = plan.start_norms
    passes = f"{count} {'pass' if count == 1 else 'passes'} of {plan.micro_batch_blocks}"
    rows = [
        ("device", f"{plan.device}, {plan.precision}"),
        ("parameters trained", f"{plan.trained_parameters:,}"),
        ("parameters frozen", f"{plan.frozen_parameters:,}"),
        *([("head", _head_told(plan))] if plan.head != "shared" else []),
        ("norm at step 0", f"new rows {norms.new:.3g}, base rows {norms.base:.3g}"),
        ("new rows lie off", f"the base's mean row by {norms.from_centre:.3g}"),
        ("an optimizer step", f"{train.batch_blocks} x {tokens} tokens in {passes}"),
    ]
    return facts("one trial", rows)


def _head_told(plan: TrialPlan) -> str:
    if plan.start_losses is None:
        return "a matrix of its own, trained beside the input embedding"
    before, after = plan.start_losses
    return (
        "the base's own is thrown away for the input embedding (model.head=tied): loss of some held-out blocks at step "
        f"0 {before:.3f} before, {after:.3f} after; model.head=native keeps it"
    )


def _memory_table(plan: TrialPlan, config: StudyConfig) -> Table:
    workers = config.study.workers
    title = "memory" if workers == 1 else f"memory of each of {workers} runs at once"
    parts = [(part, size(count)) for part, count in plan.memory.items()]
    return replace(facts(title, [*parts, ("at once, at most", size(plan.peak_bytes))]), strong={len(parts)})


def _workers_told(pace: Pace, workers: int) -> str:
    """`2 do 1.52x the work of 1: study.workers=2, as it is`."""
    by_count = pace.passes_a_second
    told = ", ".join(
        f"{count} do {by_count[count] / by_count[1]:.2f}x the work of 1" for count in by_count if count > 1
    )
    return f"{told}: study.workers={pace.best}{', as it is' if pace.best == workers else ' is the quickest'}"


def _cost_table(plan: TrialPlan, config: StudyConfig, pace: Pace | None) -> Table:
    every = config.run.train.evaluate_every_steps
    steps = {"baseline": baseline_steps(config), "average trial": round(mean_steps(config))}
    trials, beside = config.study.trials, companion_runs(config)
    results = f"{size((trials + beside) * plan.result_bytes)} ({size(plan.result_bytes)} a trial)"
    rows = [
        *([("the new rows", in_words(plan.start))] if plan.start.seconds else []),
        ("a step", in_words(plan.step)),
        ("an evaluation", in_words(plan.evaluation)),
        *((f"{name}, {count:,} steps", in_words(plan.trial(float(count), every))) for name, count in steps.items()),
        (
            f"study, {trials} trials" + (f" and {beside} repeats" if beside else ""),
            in_words(study_time(plan, config)),
        ),
        *([("workers", _workers_told(pace, config.study.workers))] if pace else []),
        ("disk: results", results),
        ("disk: checkpoints", size(CHECKPOINTS_AT_ONCE * plan.checkpoint_bytes)),
    ]
    return replace(facts("time and disk", rows), strong={len(rows) - 3 - bool(pace)})
