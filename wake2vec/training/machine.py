"""What a machine bears: how many blocks at once fit into its memory, how many threads compute fastest.

On a CPU the memory of a large model's pass is counted without computing it: a few passes would take minutes.

More threads are not always faster. They wait for each other after every operation: where another program takes one of
two cores, two threads can take three times as long as one (docs/log.md).
"""

import contextlib
import copy
import math
import statistics
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import psutil
import torch
from jaxtyping import Float, Int
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wake2vec.config import MachineConfig
from wake2vec.errors import MemoryExhaustedError, in_one_line
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.training.loss import CHUNK_TOKENS
from wake2vec.training.quantized import is_quantized, weight_count

T = TypeVar("T")
COUNTED_FROM = 10**11
"""Multiplications of a pass of some 500 tokens: about a second of two cores."""
CANT_BE_COUNTED = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException)
SHARE_OF_FREE = 0.9
"""What the allocator loses to fragments isn't planned with."""


class Phase(NamedTuple):
    """The most that a part of a pass takes."""

    fixed_bytes: int
    """However many blocks: the workspace of the loss."""
    block_bytes: int
    """For each block: what autograd keeps of it, what the layer at work takes."""


@dataclass(frozen=True)
class PassMemory:
    """Memory of one forward and backward pass, beside the model and its gradient: the most that any phase takes."""

    phases: tuple[Phase, ...]

    def of(self, blocks: int) -> int:
        return max(fixed + blocks * block for fixed, block in self.phases)

    def most_blocks(self, free_bytes: float) -> int:
        """As many as that memory holds; 1 where it doesn't even hold one."""
        return max(1, min(math.floor((free_bytes - fixed) / max(block, 1)) for fixed, block in self.phases))


@contextlib.contextmanager
def memory_faults_told() -> Iterator[None]:
    """Say in one line that the device's memory was exhausted, wherever nothing could be made smaller."""
    try:
        yield
    except torch.OutOfMemoryError as fault:
        raise MemoryExhaustedError(
            f"a trial must fit into the device's memory, and doesn't: {in_one_line(fault)}; free the memory that other "
            "programs take, or choose a smaller model"
        ) from None


def measure_pass(model: EmbeddingModel, block_tokens: int) -> PassMemory:
    """Measure passes over so many blocks that the loss has its full workspace in each; once for each shape."""
    shape = (len(model.operand), len(model.trained_rows), block_tokens, model.has_own_head)
    measured = _MEASURED.setdefault(model.body, {})
    if shape not in measured:
        measured[shape] = _measure_pass(model, block_tokens)
    return measured[shape]


def _measure_pass(model: EmbeddingModel, block_tokens: int) -> PassMemory:
    """Whole passes, and the body's alone: of few blocks the loss takes the most, of many perhaps a layer's backward."""
    if is_large(model, block_tokens) and model.device.type == "cpu" and not is_quantized(model.body):
        try:
            return count_pass(model, block_tokens)
        except CANT_BE_COUNTED:
            pass
    phases = _phases(model, block_tokens, lambda work: peak_bytes(work, model.device))
    for matrix in model.trained.values():
        matrix.gradient.zero_()
    return PassMemory(phases)


def is_large(model: EmbeddingModel, block_tokens: int) -> bool:
    """Whether a few passes of that model would take long on a CPU."""
    return _pass_products(model, _few_blocks(block_tokens) * block_tokens) > COUNTED_FROM


def count_pass(model: EmbeddingModel, block_tokens: int) -> PassMemory:
    """The same without computing anything: shapes alone go through the model, and their storages are counted.

    They go through a few layers, and through one more: each of the others takes as much as that one.
    transformers makes an explicit mask and repeats grouped keys where it meets such shapes: with fused attention it is
    some percent too much, never too little.

    Raises:
        RuntimeError: one of `CANT_BE_COUNTED`: what the model does depends on values.
    """
    mode = FakeTensorMode()
    with FakeCopyMode(mode):
        shapes = copy.deepcopy(model)
    with mode:
        for matrix in shapes.trained.values():
            matrix.trained_rows.grad = torch.zeros_like(matrix.trained_rows)  # it isn't copied
        return pass_of_shapes(shapes, block_tokens)


def pass_of_shapes(shapes: EmbeddingModel, block_tokens: int) -> PassMemory:
    """The same of a model that was made in a `FakeTensorMode`, within it."""

    def peak(work: Callable[[], Any]) -> int:
        with _Allocations() as allocations:
            work()
        return allocations.peak

    layers = _layers_of(shapes.body)
    if layers <= FEW_LAYERS:
        return PassMemory(_phases(shapes, block_tokens, peak))
    with _first_layers(shapes.body, FEW_LAYERS):
        fewer = _phases(shapes, block_tokens, peak)
    with _first_layers(shapes.body, FEW_LAYERS + 1):
        more = _phases(shapes, block_tokens, peak)
    others = layers - FEW_LAYERS
    return PassMemory(
        tuple(
            Phase(a.fixed_bytes, a.block_bytes + others * (b.block_bytes - a.block_bytes))
            for a, b in zip(fewer, more, strict=True)
        )
    )


def _phases(model: EmbeddingModel, block_tokens: int, peak: Callable[[Callable[[], Any]], int]) -> tuple[Phase, ...]:
    few = _few_blocks(block_tokens)

    def peak_of(work: Callable[[Tensor], Any], blocks: int) -> int:
        ids = torch.zeros(blocks, block_tokens, dtype=torch.long, device=model.device)
        return peak(lambda: work(ids))

    def phase_of(work: Callable[[Tensor], Any]) -> Phase:
        first, second = peak_of(work, few), peak_of(work, few + 1)
        block = max(second - first, 0)
        return Phase(max(first - few * block, 0), block)

    return phase_of(lambda ids: model.gradients_of_pass(ids, scale=1.0)), phase_of(model.pass_body)


def _few_blocks(block_tokens: int) -> int:
    """So many that the loss has its full workspace."""
    return math.ceil(CHUNK_TOKENS / (block_tokens - 1))


def _pass_products(model: EmbeddingModel, tokens: int) -> int:
    """Multiplications of a pass, forward and backward."""
    return tokens * (2 * weight_count(model.body) + 3 * model.operand.numel())


def micro_batch_blocks(model: EmbeddingModel, block_tokens: int, batch_blocks: int, machine: MachineConfig) -> int:
    """Blocks in one pass: the batch in as few passes of like size as the memory and the settings allow."""
    most = min(machine.micro_batch_blocks or batch_blocks, batch_blocks)
    if most > 1:
        free = free_bytes(model.device, machine)
        try:
            most = min(most, measure_pass(model, block_tokens).most_blocks(free))
        except torch.OutOfMemoryError:  # the measurement's own passes, of some blocks, don't fit
            most = 1
    return math.ceil(batch_blocks / math.ceil(batch_blocks / most))


def in_fewer_at_once(work: Callable[[int], T], at_once: int) -> tuple[T, int]:
    """`work(at_once)`, with that halved until the memory holds it: the same mathematics; and what it came to.

    Raises:
        MemoryExhaustedError: the memory doesn't hold one at a time.
    """
    while True:
        try:
            return work(at_once), at_once
        except torch.OutOfMemoryError as fault:
            reason = in_one_line(fault)
        # Only here, out of the handler, is the memory of the failed pass let go.
        if at_once == 1:
            raise MemoryExhaustedError(
                f"one block at a time must fit into the device's memory, and doesn't: {reason}; "
                "lower corpus.block_tokens, or choose a smaller model"
            )
        at_once = (at_once + 1) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def free_bytes(device: torch.device, machine: MachineConfig) -> float:
    """What passes may take on the device: its free memory, or what `machine.memory_gb` leaves, less a margin."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + unused
        taken = torch.cuda.memory_allocated(device)
    else:
        free = psutil.virtual_memory().available
        taken = psutil.Process().memory_info().rss
    limit = math.inf if machine.memory_gb is None else machine.memory_gb * 1e9 - taken
    return SHARE_OF_FREE * min(free, limit)


def peak_bytes(work: Callable[[], Any], device: torch.device) -> int:
    """The most memory that tensors made during `work` take at once."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _Allocations() as allocations:
        work()
    return allocations.peak


_MEASURED: weakref.WeakKeyDictionary[nn.Module, dict[tuple[int, int, int, bool], PassMemory]] = (
    weakref.WeakKeyDictionary()
)


class _Allocations(TorchDispatchMode):
    """Counts the bytes of all storages that operations make, from their making to their end."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        given = {leaf.untyped_storage() for leaf in tree_leaves((arguments, options)) if isinstance(leaf, Tensor)}
        result = operation(*arguments, **(options or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and (storage := leaf.untyped_storage()) not in given:
                self._count(storage)
        return result

    def _count(self, storage: Any) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self._now -= size


AVAILABLE_THREADS = torch.get_num_threads()
"""What torch starts with: the machine's cores, or OMP_NUM_THREADS."""
ROUNDS = 3
LEAST_TOKENS = 16
FEW_LAYERS = 2
PASS_S = 0.5
"""What a pass may take of the measurement of threads, which makes some ten of them."""
THREADS_S = 6.0
"""After so long no further pass is begun: where two threads wait for each other one may take minutes."""
WORTH_A_THREAD = 0.9
"""More threads are taken where they need at most this share of the time."""


def use_threads(threads: int | None) -> None:
    """Compute with so many threads, 1 or more, from now on in PyTorch and NumPy's and SciPy's BLAS; None: as before."""
    if threads is not None:
        torch.set_num_threads(threads)
        threadpool_limits(threads, user_api="blas")


def measure_threads(body: nn.Module, rows: Float[Tensor, "rows dim"], block_tokens: int, most: int) -> dict[int, float]:
    """Seconds of a training pass of that model over some 500 tokens, by number of threads: 1, 2, 4, ... up to `most`.

    Of a large model a few layers and fewer tokens are passed, and what they take is scaled by the multiplications. The
    counts take turns, so that what else the machine does meanwhile meets all of them. Empty where there is nothing to
    choose: on a GPU, or for one thread.
    """
    if next(body.parameters()).device.type != "cpu" or most == 1:
        return {}
    counts = sorted({*powers_of_two(most), most})
    with _short_pass(body, rows, block_tokens) as (pass_s, part):
        began = time.monotonic()
        taken: dict[int, list[float]] = {}
        # The first pass after a change makes the threads.
        for count in counts * (1 + ROUNDS):
            if taken and time.monotonic() - began > THREADS_S:
                break
            taken.setdefault(count, []).append(pass_s(count))
    # The first pass counts only where there was no time for another.
    return {count: statistics.fmean(of[1:] or of) / part for count, of in taken.items()}


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`."""
    return [2**power for power in range(most.bit_length())]


def passes_in(
    seconds: float, body: nn.Module, rows: Float[Tensor, "rows dim"], block_tokens: int, threads: int
) -> float:
    """How many training passes of some 500 tokens such a model makes in so many seconds, the first one not counted."""
    with _short_pass(body, rows, block_tokens) as (pass_s, part):
        pass_s(threads)
        until, count = time.monotonic() + seconds, 0.0
        while (left := until - time.monotonic()) > 0:
            took = pass_s(threads)
            count += part * min(1.0, left / took)
    return count


@contextlib.contextmanager
def _short_pass(
    body: nn.Module, rows: Float[Tensor, "rows dim"], block_tokens: int
) -> Iterator[tuple[Callable[[int], float], float]]:
    """A training pass, timed with a number of threads, and which part of one over some 500 tokens it is.

    Of a large model a few layers and fewer tokens are passed.
    """
    model = EmbeddingModel(body, rows, rows[:1], "all")
    whole = torch.zeros(_few_blocks(block_tokens), block_tokens, dtype=torch.long)
    products = _pass_products(model, whole.numel())
    before = torch.get_num_threads()
    try:
        with _first_layers(body, FEW_LAYERS) if products > COUNTED_FROM else contextlib.nullcontext():
            ids = _few_ids(model, whole)
            yield lambda threads: _pass_s(model, ids, threads), _pass_products(model, ids.numel()) / products
    finally:
        torch.set_num_threads(before)


def _layers_of(body: nn.Module) -> int:
    config: Any = body.config
    return int(config.num_hidden_layers)


@contextlib.contextmanager
def _first_layers(body: nn.Module, count: int) -> Iterator[None]:
    """Without its other layers, for as long as the context lasts: in transformers they are one list in a body."""
    layers = _layers_of(body)
    lists = [
        (module, name, child)
        for module in body.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == layers
    ]
    try:
        for module, name, child in lists:
            setattr(module, name, child[:count])
        yield
    finally:
        for module, name, child in lists:
            setattr(module, name, child)


def _few_ids(model: EmbeddingModel, whole: Int[Tensor, "blocks tokens"]) -> Int[Tensor, "some first"]:
    """As many of them as one thread passes in about `PASS_S`, or some tokens of one block."""
    tokens = LEAST_TOKENS
    while tokens < whole.shape[1]:
        if _pass_s(model, whole[:1, :tokens], 1) > PASS_S / 2:
            return whole[:1, :tokens]
        tokens *= 2
    return whole if _pass_s(model, whole[:1], 1) * len(whole) <= PASS_S else whole[:1]


def quickest(seconds: dict[int, float]) -> int | None:
    """The number of threads to take: more only where they are clearly quicker; None: nothing was measured."""
    best = None
    for count in sorted(seconds):
        if best is None or seconds[count] <= WORTH_A_THREAD * seconds[best]:
            best = count
    return best


def _pass_s(model: EmbeddingModel, ids: Tensor, threads: int) -> float:
    torch.set_num_threads(threads)
    started = time.perf_counter()
    model.add_gradients(ids, scale=1.0)
    return time.perf_counter() - started
