"""What a study will take: parameters, memory, time, disk."""

import math
from dataclasses import replace

from study.cli.progress import baseline_steps, companion_runs, mean_steps
from study.config import StudyConfig
from study.engine.worker import share_of_cores
from study.format import duration
from study.runs.run import references
from study.show.table import Table, facts
from wake2vec import TrialPlan, plan_trial, use_threads

CHECKPOINTS_AT_ONCE = 3
"""Two are kept while the next is written."""


def plan_tables(config: StudyConfig) -> list[Table]:
    """Probe this machine with the baseline's configuration, and lay out what the study will take.

    Raises:
        Wake2VecError: an input can't be used, or not even one block fits into the memory.
    """
    use_threads(config.run.machine.threads or share_of_cores(config.study.workers))
    plan = plan_trial(config.run_config(config.study.baseline))
    return [_model_table(plan, config), _memory_table(plan, config), _cost_table(plan, config)]


def study_seconds(plan: TrialPlan, config: StudyConfig) -> float:
    """Time of all runs, if no trial is stopped: the baseline's, and for the others the mean over the space."""
    every = config.run.train.evaluate_every_steps
    like_baseline = config.study.seeds + len(references(config))
    others = config.study.trials - 1 + companion_runs(config) - (like_baseline - 1)
    one_by_one = like_baseline * plan.trial_s(float(baseline_steps(config)), every) + others * plan.trial_s(
        mean_steps(config), every
    )
    return one_by_one / config.study.workers


def size(count: float) -> str:
    """`71.4 MB`, `1.25 GB`: 10^6 and 10^9 bytes."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _model_table(plan: TrialPlan, config: StudyConfig) -> Table:
    train, tokens = config.run.train, config.run.corpus.block_tokens
    count = math.ceil(train.batch_blocks / plan.micro_batch_blocks)
    passes = f"{count} {'pass' if count == 1 else 'passes'} of {plan.micro_batch_blocks}"
    rows = [
        ("device", f"{plan.device}, {plan.precision}"),
        ("parameters trained", f"{plan.trained_parameters:,}"),
        ("parameters frozen", f"{plan.frozen_parameters:,}"),
        ("an optimizer step", f"{train.batch_blocks} x {tokens} tokens in {passes}"),
    ]
    return facts("one trial", rows)


def _memory_table(plan: TrialPlan, config: StudyConfig) -> Table:
    workers = config.study.workers
    title = "memory" if workers == 1 else f"memory of each of {workers} runs at once"
    parts = [(part, size(count)) for part, count in plan.memory.items()]
    return replace(facts(title, [*parts, ("at once, at most", size(plan.peak_bytes))]), strong={len(parts)})


def _cost_table(plan: TrialPlan, config: StudyConfig) -> Table:
    every = config.run.train.evaluate_every_steps
    steps = {"baseline": baseline_steps(config), "average trial": round(mean_steps(config))}
    trials, beside = config.study.trials, companion_runs(config)
    results = f"{size((trials + beside) * plan.result_bytes)} ({size(plan.result_bytes)} a trial)"
    rows = [
        ("a step", duration(plan.step_s)),
        ("an evaluation", duration(plan.evaluation_s)),
        *((f"{name}, {count:,} steps", duration(plan.trial_s(float(count), every))) for name, count in steps.items()),
        (
            f"study, {trials} trials" + (f" and {beside} repeats" if beside else ""),
            duration(study_seconds(plan, config)),
        ),
        ("disk: results", results),
        ("disk: checkpoints", size(CHECKPOINTS_AT_ONCE * plan.checkpoint_bytes)),
    ]
    return replace(facts("time and disk", rows), strong={len(rows) - 3})
