"""`python -m bench.shape`: TinyLlama's shape, whole, on a CPU: plan, two steps, evaluations, export, reload.

The weights are random, the tokenizer has 32,000 pieces, 44,000 words are added. The plan's step is held against the
steps that were then made, in the same process. The model takes 2.1 GB of disk, the trial and its export 4 GB more.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, publish
from bench.trial import inputs
from wake2vec import RunConfig, RunResult, TrialPlan, WorkFolder, export_folder, plan_trial, prepare, run

MEMORY_GB, PLAN_S, STEP_OFF = 24, 60, 0.25
STEPS = 2


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as name:
        folder = Path(name)
        config = on_this_machine(inputs(folder, layers=22, corpus_letters=100_000))
        prepare(config)
        began = time.perf_counter()
        plan = plan_trial(config, observe=lambda what: print(f"{time.perf_counter() - began:6.1f} s  {what}"))
        plan_s = time.perf_counter() - began
        result = run(config, folder / "trials")
        exported = export_folder(result, WorkFolder(folder / "trials" / result.digest), folder / "export", "A card.\n")
        publish("shape", "python -m bench.shape", figures(plan, plan_s, result, exported.loss))


def on_this_machine(config: RunConfig) -> RunConfig:
    train = config.train.model_copy(update={"steps": STEPS, "evaluate_every_steps": STEPS, "precision": "auto"})
    machine = config.machine.model_copy(update={"memory_gb": float(MEMORY_GB), "micro_batch_blocks": 4})
    sample = config.sample.model_copy(update={"count": 2, "new_tokens": 4})
    return config.model_copy(update={"train": train, "machine": machine, "sample": sample})


def figures(plan: TrialPlan, plan_s: float, result: RunResult, reloaded: float) -> list[Figure]:
    step = result.seconds["train"] / STEPS
    evaluation = (result.seconds["validate"] + result.seconds["geometry"]) / 2  # the last measurements are in it
    ratio = plan.step.seconds / step
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    logged = result.numbers["validation.loss"] or 0.0
    return [
        Figure("device", f"{plan.device}, {plan.precision}", ""),
        Figure("trained parameters", plan.trained_parameters, ""),
        Figure("frozen parameters", plan.frozen_parameters, ""),
        Figure("the plan, after loading", plan_s, "s", f"<= {PLAN_S}", plan_s <= PLAN_S),
        Figure("a step, by the plan", plan.step.seconds, "s"),
        Figure("within, by the plan", 100 * plan.step.doubt, "%"),
        Figure(f"a step, of {STEPS}", step, "s"),
        Figure("plan / step", ratio, "", "0.75 to 1.25", abs(ratio - 1) <= STEP_OFF),
        Figure("an evaluation, by the plan", plan.evaluation.seconds, "s"),
        Figure("an evaluation, with its share of the last measurements", evaluation, "s"),
        Figure("what lies in memory at once, by the plan", plan.peak_bytes / 1e9, "GB"),
        Figure("peak memory of the process, export included", peak_gb, "GB", f"<= {MEMORY_GB}", peak_gb <= MEMORY_GB),
        Figure("validation loss logged", logged, "nats a token"),
        Figure("the export's, loaded again by plain transformers", reloaded, "nats a token"),
    ]


if __name__ == "__main__":
    main()
