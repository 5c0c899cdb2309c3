"""Training of the embedding rows: one optimizer step, the state that a checkpoint holds, and the loop."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from wake2vec.config import OptimizerName, RunConfig, TrainConfig
from wake2vec.data.corpus import Corpus
from wake2vec.errors import TrainingDivergedError
from wake2vec.training.checkpoint import State
from wake2vec.training.device import START_LOSS_SCALE
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.training.machine import in_fewer_at_once
from wake2vec.training.optimizer import Adafactor, batch_at, lr_at
from wake2vec.workfolder import Numbers


class Stopwatch:
    """`with watch("train"): ...` adds the time of the block to the part `train`."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._parts: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._parts[part] += time.perf_counter() - started

    @property
    def seconds(self) -> dict[str, float]:
        """Each part's time so far, and `total` since the stopwatch was made."""
        return {**self._parts, "total": time.perf_counter() - self._started}


Optimizer = torch.optim.Optimizer
T = TypeVar("T")

_OPTIMIZER = {"rows": "optimizer", "head_rows": "head_optimizer"}
"""What the optimizer's tensors of each matrix are called in a state, before a dot."""
STEPS_TO_RAISE_SCALE = 500
"""After so many steps the loss scale is doubled: too high a one costs a repeated pass, too low a one lost digits."""
HIGHEST_LOSS_SCALE = 2.0**24


def adafactor(rows: nn.Parameter, config: TrainConfig) -> Optimizer:
    """As transformers' Trainer sets it, with an outside learning rate (Shazeer & Stern 2018)."""
    return Adafactor(rows, lr=config.lr, weight_decay=config.weight_decay)


def adamw(rows: nn.Parameter, config: TrainConfig) -> Optimizer:
    """torch's AdamW with its default moments (Loshchilov & Hutter 2019)."""
    return torch.optim.AdamW([rows], lr=config.lr, weight_decay=config.weight_decay)


OPTIMIZERS: dict[OptimizerName, Callable[[nn.Parameter, TrainConfig], Optimizer]] = {
    "adafactor": adafactor,
    "adamw": adamw,
}


class Training:
    """A trial's training at some step: everything that the next step depends on, and nothing else.

    Learning rate and batch are pure functions of the step; rows, optimizer, loss scale and micro-batch are `state`.
    """

    def __init__(self, model: EmbeddingModel, corpus: Corpus, config: RunConfig, micro_batch_blocks: int) -> None:
        self.model = model
        self.step = 0
        """Updates done."""
        self.micro_batch_blocks = micro_batch_blocks
        self.corpus = corpus
        self._config = config.train
        self._seed = config.seed
        make = OPTIMIZERS[config.train.optimizer]
        # One for each matrix: no optimizer here lets one matrix's numbers decide another's.
        self._optimizers = {name: make(matrix.trained_rows, config.train) for name, matrix in model.trained.items()}
        self._dtype = model.operand.dtype
        self._loss_scale = START_LOSS_SCALE[self._dtype]

    @property
    def is_done(self) -> bool:
        return self.step >= self._config.steps

    @property
    def is_evaluation_due(self) -> bool:
        return self.is_done or self.step % self._config.evaluate_every_steps == 0

    def update(self) -> Numbers:
        """One optimizer step; the loss is the mean over the batch's targets, before the step.

        Raises:
            TrainingDivergedError: a loss or gradient isn't finite.
            MemoryExhaustedError: not even one block at a time fits into the memory.
        """
        lr = self._lr
        loss, grad_norm = self.next_token_gradient(self.step)
        for optimizer in self._optimizers.values():
            optimizer.param_groups[0]["lr"] = lr
        self.optimizer_step()
        self.step += 1
        if self._dtype is torch.float16 and self.step % STEPS_TO_RAISE_SCALE == 0:
            self._loss_scale = min(2 * self._loss_scale, HIGHEST_LOSS_SCALE)
        return {"training.lr": lr, "training.loss": loss, "training.grad_norm": grad_norm}

    def next_token_gradient(self, step: int) -> tuple[float, float]:
        """Put the gradient of that step's batch, clipped, where the optimizers look; give its loss and norm."""
        config = self._config
        batch = batch_at(step, blocks=len(self.corpus.train), batch_blocks=config.batch_blocks, seed=self._seed)
        ids = self.corpus.train[batch]["input_ids"].to(self.model.device)
        return self._fitting(lambda: self._finite_gradient(ids))

    def optimizer_step(self) -> None:
        """Move the rows by the gradient that stands there."""
        for optimizer in self._optimizers.values():
            optimizer.step()
        self.model.refresh()

    @torch.no_grad()
    def pass_over_rows(self) -> None:
        """What a step does beside its passes, with a gradient of zeros: what it takes is measured."""
        for matrix in self.model.trained.values():
            matrix.gradient.zero_()
            torch.linalg.vector_norm(matrix.gradient).item()
            matrix.gradient.mul_(1.0)
        self.optimizer_step()

    def evaluate(self, measure: Callable[[int], T]) -> T:
        """`measure(micro_batch_blocks)`, with a smaller micro-batch where the memory doesn't hold this one."""
        return self._fitting(lambda: measure(self.micro_batch_blocks))

    def state(self) -> State:
        """A copy on the CPU: training may go on while it is written."""
        tensors: dict[str, Tensor] = {}
        numbers: dict[str, Any] = {}  # counts of steps: the same for both matrices
        for name, matrix in self.model.trained.items():
            of_matrix = self._optimizers[name].state[matrix.trained_rows].items()
            numbers |= {key: value for key, value in of_matrix if not isinstance(value, Tensor)}
            tensors[name] = matrix.trained_rows
            tensors |= {f"{_OPTIMIZER[name]}.{key}": value for key, value in of_matrix if isinstance(value, Tensor)}
        return State(
            step=self.step,
            loss_scale=self._loss_scale,
            micro_batch_blocks=self.micro_batch_blocks,
            threads=torch.get_num_threads() if self.model.device.type == "cpu" else None,
            optimizer=numbers,
            tensors={name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()},
        )

    @torch.no_grad()
    def restore(self, state: State) -> None:
        """Go on from a state as if training had never stopped."""
        if state.threads is not None:
            torch.set_num_threads(state.threads)
        self.step = state.step
        self.micro_batch_blocks = state.micro_batch_blocks
        self._loss_scale = state.loss_scale
        self.model.take({name: state.tensors[name] for name in self.model.trained})
        for name, matrix in self.model.trained.items():
            rows, prefix = matrix.trained_rows, f"{_OPTIMIZER[name]}."
            tensors = {  # optimizers keep their numbers on the CPU
                key.removeprefix(prefix): tensor.to(rows.device) if tensor.ndim else tensor
                for key, tensor in state.tensors.items()
                if key.startswith(prefix)
            }
            self._optimizers[name].state[rows] = {**state.optimizer, **tensors}

    @property
    def _lr(self) -> float:
        """Of the update that is next."""
        config = self._config
        return lr_at(self.step, steps=config.steps, peak=config.lr, warmup_share=config.warmup_share)

    def _finite_gradient(self, ids: Tensor) -> tuple[float, float]:
        """Loss, and norm of the clipped gradient before clipping; a loss scale that overflows is halved."""
        while True:
            loss, grad_norm = self._gradient(ids)
            finite = torch.isfinite(torch.tensor([loss, grad_norm]))
            if finite.all():
                return loss, grad_norm
            if not finite[0] or self._loss_scale <= 1:
                raise self.diverged(
                    f"loss {loss}, gradient norm {grad_norm} at learning rate {self._lr:.3g}", "train.lr"
                )
            self._loss_scale /= 2

    def diverged(self, what: str, lower: str) -> TrainingDivergedError:
        """The error of a number that isn't finite, and which setting is to be lowered."""
        return TrainingDivergedError(
            f"losses and gradients must be finite: {what}, step {self.step}; lower {lower}"
            + ("" if self._dtype is torch.float32 else ", or give train.precision=float32")
        )

    @torch.no_grad()
    def _gradient(self, ids: Tensor) -> tuple[float, float]:
        gradients = [matrix.gradient for matrix in self.model.trained.values()]
        for gradient in gradients:
            gradient.zero_()
        targets = ids[:, 1:].numel()
        with torch.enable_grad():
            losses = [
                self.model.add_gradients(part, self._loss_scale / targets)
                for part in ids.split(self.micro_batch_blocks)
            ]
        norm = _norm_of(gradients) / self._loss_scale
        clipped = (self._config.max_grad_norm / (norm + 1e-6)).clamp(max=1.0) / self._loss_scale
        loss, grad_norm, factor = torch.stack([torch.stack(losses).sum() / targets, norm, clipped]).tolist()
        if factor != 1:  # a pass over all rows
            for gradient in gradients:
                gradient.mul_(factor)
        return loss, grad_norm

    def _fitting(self, work: Callable[[], T]) -> T:
        """`work()`, with the micro-batch halved until the memory holds it: the same mathematics."""

        def with_blocks(blocks: int) -> T:
            self.micro_batch_blocks = blocks
            return work()

        return in_fewer_at_once(with_blocks, self.micro_batch_blocks)[0]


def _norm_of(gradients: list[Tensor]) -> Tensor:
    """Euclidean norm of all of them together."""
    norms = [torch.linalg.vector_norm(gradient) for gradient in gradients]
    # The root of a square isn't always the number itself.
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))


def train(
    training: Training, evaluate: Callable[[], Numbers], finish: Callable[[], None], watch: Stopwatch
) -> Iterator[tuple[int, Numbers]]:
    """Train to the end, and yield (updates done, figures): `evaluate()` when it is due, `training.*` after each update.

    Evaluation is due at step 0, every `evaluate_every_steps`, and after the last update. Before that one `finish()` is
    called, again where a trial goes on that had ended with it: it is idempotent.
    """
    while True:
        if training.is_done:
            with watch("finish"):
                finish()
        if training.is_evaluation_due:
            yield training.step, evaluate()
        if training.is_done:
            return
        with watch("train"):
            numbers = training.update()
        yield training.step, numbers
