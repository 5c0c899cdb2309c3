"""What a study will take, as tables in 80 columns: parameters, memory, time, disk."""

import math

from rich.table import Table

from study.companions import references
from study.config import StudyConfig
from study.format import duration
from study.settings import Value
from study.terminal.pace import baseline_steps, companion_runs, mean_steps
from study.worker import share_of_cores
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
    passes = math.ceil(train.batch_blocks / plan.micro_batch_blocks)
    table = _table("one trial")
    table.add_row("device", f"{plan.device}, {plan.precision}")
    table.add_row("parameters trained", f"{plan.trained_parameters:,}")
    table.add_row("parameters frozen", f"{plan.frozen_parameters:,}")
    table.add_row(
        "an optimizer step",
        f"{train.batch_blocks} x {tokens} tokens in {passes} {'pass' if passes == 1 else 'passes'} of "
        f"{plan.micro_batch_blocks}",
    )
    return table


def _memory_table(plan: TrialPlan, config: StudyConfig) -> Table:
    workers = config.study.workers
    table = _table("memory" if workers == 1 else f"memory of each of {workers} runs at once")
    for part, count in plan.memory.items():
        table.add_row(part, size(count))
    table.add_row("[bold]at once, at most", f"[bold]{size(plan.peak_bytes)}")
    return table


def _cost_table(plan: TrialPlan, config: StudyConfig) -> Table:
    every = config.run.train.evaluate_every_steps
    steps: dict[str, Value] = {"baseline": baseline_steps(config), "average trial": round(mean_steps(config))}
    table = _table("time and disk")
    table.add_row("a step", duration(plan.step_s))
    table.add_row("an evaluation", duration(plan.evaluation_s))
    for name, count in steps.items():
        table.add_row(f"{name}, {count:,} steps", duration(plan.trial_s(float(count), every)))
    trials, beside = config.study.trials, companion_runs(config)
    name = f"study, {trials} trials" + (f" and {beside} repeats" if beside else "")
    table.add_row(f"[bold]{name}", f"[bold]{duration(study_seconds(plan, config))}")
    runs = trials + beside
    table.add_row("disk: results", f"{size(runs * plan.result_bytes)} ({size(plan.result_bytes)} a trial)")
    table.add_row("disk: checkpoints", size(CHECKPOINTS_AT_ONCE * plan.checkpoint_bytes))
    return table


def _table(title: str) -> Table:
    table = Table(box=None, show_header=False, title=title, title_justify="left", title_style="bold", min_width=60)
    table.add_column(style="dim", min_width=32)
    table.add_column()
    return table
