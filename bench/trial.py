"""`python -m bench.trial`: a whole trial of TinyLlama's shape on a GPU, with its reports, within a Tesla T4's memory.

The weights are random, the tokenizer has 32,000 pieces, 44,000 words are added: what the plan says beforehand is held
against what the trial took.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import mistral_common
import torch
from transformers import LlamaTokenizer

from bench.figures import Figure, publish
from bench.tinyllama import BASE_ROWS, PHASE1_EVALUATIONS, PHASE1_STEPS, T4_BYTES, llama
from bench.vocabulary import grown_lexicon
from wake2vec import RunConfig, RunResult, TrialPlan, plan_trial, run
from wake2vec.config import (
    DEFAULT_FOLDER,
    CorpusConfig,
    MachineConfig,
    ModelConfig,
    SampleConfig,
    TrainConfig,
    VocabularyConfig,
)

STEPS, EVALUATE_EVERY = 40, 20


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("error: this benchmark needs a GPU that CUDA knows: run it on such a machine")
    torch.cuda.set_per_process_memory_fraction(T4_BYTES / torch.cuda.mem_get_info()[1])
    with tempfile.TemporaryDirectory() as name:
        plan, result = plan_and_run(inputs(Path(name), layers=22), Path(name) / "trials")
    publish("trial-gpu", "python -m bench.trial", figures(plan, result))


def figures(plan: TrialPlan, result: RunResult) -> list[Figure]:
    peak = (result.computed.peak_memory_gb or 0) * 1e9
    seconds = result.seconds
    report = seconds["geometry"] / (STEPS / EVALUATE_EVERY + 2)  # the last one is the neighbours
    step = seconds["train"] / STEPS
    fixed = seconds["load"] + seconds["write"] + seconds.get("checkpoint", 0) + PHASE1_EVALUATIONS * report
    overhead = fixed / (fixed + PHASE1_STEPS * step)
    return [
        Figure("precision", result.computed.precision, ""),
        Figure("blocks in a pass", result.computed.micro_batch_blocks, ""),
        Figure("peak memory of a trial", peak / 1e9, "GB", "<= 14.5", peak <= T4_BYTES),
        Figure("the plan's", plan.peak_bytes / 1e9, "GB"),
        Figure("plan / peak", plan.peak_bytes / peak, "", "0.9 to 1.1", abs(plan.peak_bytes / peak - 1) <= 0.1),
        Figure("a step", step, "s"),
        Figure("the plan's step", plan.step.seconds, "s"),
        Figure("a report", report, "s", "<= 1", report <= 1),
        Figure(f"harness, share of {PHASE1_STEPS:,} steps", overhead, "", "<= 0.01", overhead <= 0.01),
    ]


def inputs(folder: Path, layers: int, corpus_letters: int = 400_000) -> RunConfig:
    """A model folder, a corpus and a lexicon, and a short trial on them with all that a long one does."""
    model = llama(layers, BASE_ROWS).to(torch.bfloat16)
    model.save_pretrained(folder / "model")
    del model
    shutil.copy(Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1", folder / "tokenizer.model")
    LlamaTokenizer.from_pretrained(folder).save_pretrained(folder / "model")
    text = (DEFAULT_FOLDER / "corpus.txt").read_text(encoding="utf-8")
    (folder / "lexicon.txt").write_text("\n".join(grown_lexicon(text)) + "\n", encoding="utf-8")
    (folder / "corpus.txt").write_text(text[:corpus_letters], encoding="utf-8")
    return RunConfig(
        model=ModelConfig(path=str(folder / "model")),
        corpus=CorpusConfig(path=str(folder / "corpus.txt")),
        vocabulary=VocabularyConfig(lexicon=str(folder / "lexicon.txt"), form="word"),
        train=TrainConfig(steps=STEPS, precision="float16", evaluate_every_steps=EVALUATE_EVERY),
        sample=SampleConfig(new_tokens=32),
        machine=MachineConfig(memory_gb=T4_BYTES / 1e9),
    )


def plan_and_run(config: RunConfig, trials_folder: Path) -> tuple[TrialPlan, RunResult]:
    plan = plan_trial(config)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return plan, run(config, trials_folder)


if __name__ == "__main__":
    main()
