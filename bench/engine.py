"""`python -m bench.engine`: a training step against Phase 1's, through transformers' Trainer, both sides in turn.

Phase 1's settings: float32, activation checkpointing, 16 passes of one sequence, Adafactor, the body frozen. On the
profile `tiny` both sides see the same batches, so that their losses compare. TinyLlama's shape has random weights and
76,500 rows; on a CPU it has two layers, on a GPU all 22, within 14.5 GB and without bfloat16, as on a Tesla T4.

On a CPU nearly all of a step is products, so that no ratio to Phase 1's way beyond Phase 1's time x rate / operations
can be had there. What is asked is a share of that rate, that of torch's `@` in the same run; the ratio stands beside
the one that the rate allows.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from bench.figures import Figure, publish
from bench.tinyllama import (
    BASE_ROWS,
    NEW_ROWS,
    PHASE1_EVALUATIONS,
    PHASE1_STEPS,
    T4_BYTES,
    llama,
    random_corpus,
    random_training,
    step_flops,
)
from study.config import load_knobs
from wake2vec import RunConfig, prepare
from wake2vec.config import CorpusConfig, MachineConfig, Precision, TrainConfig
from wake2vec.data.corpus import Corpus
from wake2vec.metrics.measure import measure
from wake2vec.metrics.readings import Subject
from wake2vec.metrics.rows import row_products
from wake2vec.recipe import start_training
from wake2vec.training.device import compute_dtype, device_for
from wake2vec.training.machine import measure_pass, peak_bytes
from wake2vec.training.model import merged_model
from wake2vec.training.optimizer import batch_at
from wake2vec.training.train import Training

CHECKPOINT_EVERY_S = 300
ROUNDS = 3


def main() -> None:
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_per_process_memory_fraction(T4_BYTES / torch.cuda.mem_get_info()[1])
        figures = shape_figures(layers=22, precision="float16", steps=5, least_share=0.5, bar=12)
    else:
        figures = tiny_figures(steps=20) + shape_figures(layers=2, precision="auto", steps=1, least_share=0.8)
    publish("engine-gpu" if on_gpu else "engine", "python -m bench.engine", figures)


def tiny_figures(steps: int) -> list[Figure]:
    config = load_knobs("tiny", [f"train.steps={steps}"])
    exact = load_knobs("tiny", [f"train.steps={steps}", "train.precision=float32"])  # as Phase 1's way is
    material = prepare(config)

    def ours() -> tuple[list[float], list[float]]:
        return timed_updates(start_training(config, material), steps)

    def theirs() -> tuple[list[float], list[float]]:
        matrix = start_training(config, material).model.matrix
        blocks = [index for step in range(steps) for index in _batch(config, material.corpus, step)]
        return timed_trainer(merged_model(material.base.folder, matrix), material.corpus.train.select(blocks), config)

    pairs = [(ours(), theirs()) for _ in range(ROUNDS)]
    _, our_losses = timed_updates(start_training(exact, prepare(exact)), steps)
    _, (_, their_losses) = pairs[0]
    difference = max(abs(a - b) / b for a, b in zip(our_losses, their_losses, strict=True))
    training = start_training(config, material)
    memory = pass_memory(training, config.corpus.block_tokens)
    return [
        Figure("tiny: precision", str(compute_dtype(config.train.precision, device_for())).removeprefix("torch."), ""),
        *_speed("tiny", "16 x 64 tokens", pairs, bar=3),
        Figure(
            f"tiny: largest difference of {steps} losses, in float32", difference, "", "<= 1e-5", difference <= 1e-5
        ),
        _memory("tiny", *memory),
    ]


def shape_figures(
    layers: int, precision: Precision, steps: int, least_share: float, bar: float | None = None
) -> list[Figure]:
    """One optimizer step of 16 x 256 tokens is timed after one that warms up; on a CPU twice, for it takes minutes."""
    config = RunConfig(
        corpus=CorpusConfig(block_tokens=256),
        train=TrainConfig(steps=steps + 1, precision=precision, warmup_share=0),
        machine=MachineConfig(memory_gb=T4_BYTES / 1e9 if torch.cuda.is_available() else None),
    )
    name = f"TinyLlama's shape, {layers} layers"
    dtype = compute_dtype(precision, device_for())
    pairs, rates = [], [product_rate(dtype)]
    for _ in range(ROUNDS if torch.cuda.is_available() else 2):
        training = random_training(layers, config)
        memory = pass_memory(training, 256)
        training.update()
        ours = timed_updates(training, steps)
        rates.append(product_rate(dtype))
        blocks = training.micro_batch_blocks
        share_of_harness = harness_share(training, statistics.median(ours[0]))
        del training
        model = llama(layers, BASE_ROWS + NEW_ROWS).float()
        pairs.append((ours, timed_trainer(model, random_corpus().train, config, skip=1)))
        del model
    rate = max(rates)
    least_s = step_flops(layers) / rate
    share = least_s / _median_step(pairs, 0)
    return [
        Figure(f"{name}: precision", str(dtype).removeprefix("torch."), ""),
        Figure(f"{name}: blocks in a pass", blocks, ""),
        *_speed(name, "16 x 256 tokens", pairs, bar),
        Figure(f"{name}: the speed that the product rate allows", _median_step(pairs, 1) / least_s, "x"),
        Figure(f"{name}: share of the measured product rate", share, "", f">= {least_share:g}", share >= least_share),
        Figure("the product rate: torch's @", rate / 1e12, "TFLOP/s"),
        Figure("the same by oneDNN where it can be had", product_rate(dtype, row_products) / 1e12, "TFLOP/s"),
        Figure("the same in float32", product_rate(torch.float32) / 1e12, "TFLOP/s"),
        _memory(name, *memory),
        Figure(
            f"{name}: harness, share of {PHASE1_STEPS:,} steps",
            share_of_harness,
            "",
            "<= 0.01",
            share_of_harness <= 0.01,
        ),
    ]


def pass_memory(training: Training, block_tokens: int) -> tuple[int, int]:
    """Bytes of one pass as foreseen from a few blocks, and as taken by a whole micro-batch."""
    model, blocks = training.model, training.micro_batch_blocks
    foreseen = measure_pass(model, block_tokens).of(blocks)
    ids = training.corpus.train[list(range(blocks))]["input_ids"].to(model.device)
    return foreseen, peak_bytes(lambda: model.add_gradients(ids, scale=1.0), model.device)


def harness_share(training: Training, step_s: float) -> float:
    """Reports and copies of the state, in a trial of Phase 1's length with a checkpoint every five minutes."""
    model = training.model
    reference_ids = list(range(3, 150))
    started = time.perf_counter()
    corpus = training.corpus
    measure(
        Subject(
            model.matrix,
            BASE_ROWS,
            base_before=model.matrix[:BASE_ROWS],
            reference_ids=reference_ids,
            occurring_ids=corpus.base_ids_seen,
            new_counts=corpus.new_counts_train,
        )
    )
    measured = time.perf_counter()
    training.state()
    report_s, copy_s = measured - started, time.perf_counter() - measured
    training_s = PHASE1_STEPS * step_s
    harness_s = PHASE1_EVALUATIONS * report_s + training_s / CHECKPOINT_EVERY_S * copy_s
    return harness_s / (training_s + harness_s)


def timed_updates(training: Training, steps: int) -> tuple[list[float], list[float]]:
    """Seconds and losses of the steps."""
    seconds, losses = [], []
    for _ in range(steps):
        started = time.perf_counter()
        losses.append(training.update()["training.loss"] or 0.0)
        _synchronise()
        seconds.append(time.perf_counter() - started)
    return seconds, losses


class StepClock(TrainerCallback):  # type: ignore[misc]
    """Notes the time of each optimizer step of a Trainer, and its loss."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self._started = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        _synchronise()
        self.seconds.append(time.perf_counter() - self._started)

    def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))


def timed_trainer(
    model: PreTrainedModel, blocks: Dataset, config: RunConfig, skip: int = 0
) -> tuple[list[float], list[float]]:
    """Phase 1's training of the model's embedding, over the blocks in their order; the first steps may be skipped."""
    model.requires_grad_(False)
    model.get_input_embeddings().weight.requires_grad_(True)
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=config.train.steps,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=config.train.batch_blocks,
            learning_rate=config.train.lr,
            optim="adafactor",
            lr_scheduler_type="linear",
            warmup_steps=config.train.warmup_share,
            max_grad_norm=config.train.max_grad_norm,
            activation_checkpointing=True,
            train_sampling_strategy="sequential",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        columns = blocks.remove_columns([name for name in blocks.column_names if name != "input_ids"])
        labelled = columns.with_format("torch").map(lambda row: {"labels": row["input_ids"]})
        trainer = Trainer(model=model, args=arguments, train_dataset=labelled, callbacks=[clock])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.seconds[skip:], clock.losses[skip:]


def product_rate(dtype: torch.dtype, product: Callable[[Tensor, Tensor], Tensor] = torch.matmul) -> float:
    """FLOP/s of a large matrix product on the device, the best of some, by torch's `@` or what is given."""
    size = 8192 if torch.cuda.is_available() else 2048
    left, right = (torch.randn(size, size, device=device_for()).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(12):
        started = time.perf_counter()
        product(left, right)
        _synchronise()
        seconds.append(time.perf_counter() - started)
    return 2.0 * size**3 / min(seconds)


Steps = tuple[list[float], list[float]]
Pairs = Sequence[tuple[Steps, Steps]]


def _speed(name: str, step: str, pairs: Pairs, bar: float | None) -> list[Figure]:
    ratio = statistics.median(statistics.median(theirs[0]) / statistics.median(ours[0]) for ours, theirs in pairs)
    return [
        Figure(f"{name}: a step of {step}", _median_step(pairs, 0), "s"),
        Figure(f"{name}: the same, Phase 1's way", _median_step(pairs, 1), "s"),
        Figure(f"{name}: speed over Phase 1's way", ratio, "x", *((f">= {bar}", ratio >= bar) if bar else ())),
    ]


def _memory(name: str, predicted: int, measured: int) -> Figure:
    near = abs(predicted / measured - 1) <= 0.1
    return Figure(f"{name}: memory of a pass, planned / measured", predicted / measured, "", "0.9 to 1.1", near)


def _median_step(pairs: Pairs, side: int) -> float:
    return statistics.median(statistics.median(pair[side][0]) for pair in pairs)


def _batch(config: RunConfig, corpus: Corpus, step: int) -> list[int]:
    return batch_at(step, blocks=len(corpus.train), batch_blocks=config.train.batch_blocks, seed=config.seed)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
