"""`python -m bench.geometry`: the geometry report at Phase 1's size against Phase 1's way, both sides in turn.

32,000 base and 44,500 new rows of 2,048 dimensions. Where there is a GPU our side runs on it; Phase 1's script was
NumPy, SciPy and scikit-learn either way. The rows are drawn, not trained: norms, a strong direction and a clump of new
rows about as in Phase 1.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.figures import Figure, publish
from bench.phase1_report import report_phase1
from bench.tinyllama import BASE_ROWS, DIM, NEW_ROWS
from study.config import load_knobs
from wake2vec import prepare
from wake2vec.metrics import cosine, isotropy, norms, spectrum
from wake2vec.metrics import rows as chunks
from wake2vec.metrics.isotropy import SAMPLE_ROWS
from wake2vec.metrics.measure import measure, measure_end
from wake2vec.metrics.readings import Subject
from wake2vec.metrics.rows import TILE_COLUMNS, TILE_ROWS, joined, read_group, row_products
from wake2vec.metrics.statistics import ks_distance
from wake2vec.recipe import initialise
from wake2vec.training.device import keep_freed_memory

REFERENCES = 100
ROUNDS = 3
WHOLE_LIMIT_S = {"cpu": 15.0, "cuda": 1.0}
T = TypeVar("T")
Pairs = list[tuple[tuple[float, T], tuple[float, T]]]
EXACT_IN_BOTH = (
    *("norm_base_mean", "norm_new_mean", "norm_gap_d", "welch_t", "mann_whitney_u"),
    *("isotropy_all", "isotropy_base", "isotropy_new", "top1_share_base", "top1_share_new"),
)
"""Phase 1's other numbers are sampled, or capped at 100 components."""


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    keep_freed_memory()  # as where a model was loaded
    ours = drawn_rows().to(device)
    subject = drawn_subject(ours)
    _synchronise(device)  # later every clock is read after numbers have come back, so after all work
    # Phase 1's script had a process of its own, which gave freed memory back.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
        same = [(timed(lambda: same_numbers(ours)), other.submit(phase1_numbers).result()) for _ in range(ROUNDS)]
    whole = [timed(lambda: measure(subject).numbers) for _ in range(ROUNDS)]
    seconds, limit = sorted(second for second, _ in whole)[ROUNDS // 2], WHOLE_LIMIT_S[device.type]
    (_, found), (_, phase1) = same[0]
    difference = max(abs(found[name] - phase1[name]) / abs(phase1[name]) for name in EXACT_IN_BOTH)
    faster = speed_up(same)
    possible = median_seconds(same, 1) / least_seconds(ours)
    publish(
        "geometry",
        "python -m bench.geometry",
        [
            Figure(f"Phase 1's numbers, {BASE_ROWS:,} + {NEW_ROWS:,} rows x {DIM:,}", median_seconds(same, 0), "s"),
            Figure("the same, Phase 1's way", median_seconds(same, 1), "s"),
            Figure("speed over Phase 1's way", faster, "x", ">= 5", faster >= 5),
            Figure("speed that the machine allows", possible, "x"),
            Figure("share of it that is reached", faster / possible, ""),
            Figure("largest relative difference of what both compute", difference, "", "<= 1e-4", difference <= 1e-4),
            Figure("whole report, with collapse and drift", seconds, "s", f"<= {limit:g} s", seconds <= limit),
            Figure("collapse share that it reads", whole[0][1]["geometry.collapse_share"] or 0.0, ""),
            Figure("device", _device_name(device), ""),
            *tiny_figures(),
            *device_figures(device),
        ],
    )


def tiny_figures() -> list[Figure]:
    """The same at the size of the profile `tiny`, whose trials measure three times."""
    config = load_knobs("tiny")
    material = prepare(config)
    base, new = material.base_rows, initialise(config, material)
    matrix = torch.cat([base, new])
    subject = material.subject(matrix, new)

    def whole() -> dict[str, float | None]:
        return measure(subject).numbers

    def closing() -> dict[str, float | None]:
        return measure_end(subject, measured).numbers

    def phase1() -> dict[str, float | None]:
        return {**report_phase1(base.cpu().numpy(), new.cpu().numpy())}

    measured = whole()
    rounds = [(timed(whole), timed(phase1)) for _ in range(ROUNDS)]
    at_the_end = statistics.median(timed(closing)[0] for _ in range(ROUNDS))
    return [
        Figure(
            f"tiny, {len(base):,} + {len(new):,} rows x {base.shape[1]}: whole report", median_seconds(rounds, 0), "s"
        ),
        Figure("tiny: the closing report, once a trial", at_the_end, "s"),
        Figure("tiny: Phase 1's numbers, Phase 1's way", median_seconds(rounds, 1), "s"),
    ]


def device_figures(device: torch.device) -> list[Figure]:
    """How far the GPU's numbers are from the CPU's, at a sixteenth of the dimensions and a tenth of the rows."""
    if device.type == "cpu":
        return []
    matrix = drawn_rows()[::10, ::16].contiguous()
    subjects = [
        Subject(rows, BASE_ROWS // 10, reference_ids=range(REFERENCES // 10)) for rows in (matrix, matrix.to(device))
    ]
    here, there = (
        measured | measure_end(subject, measured).numbers
        for subject in subjects
        for measured in [measure(subject).numbers]
    )
    known = [(value, there[name]) for name, value in here.items()]
    apart = max(abs(a - b) / max(abs(a), 1) for a, b in known if a is not None and b is not None)
    return [Figure("largest difference of all numbers, CPU to GPU", apart, "", "<= 1e-5", apart <= 1e-5)]


def drawn_rows() -> Tensor:
    """Base rows of norm .67, then new rows of .47: a tenth in one place with the reference rows, the rest spread."""
    random = torch.Generator().manual_seed(0)

    def about(place: Tensor, shares: Tensor) -> Tensor:
        """Rows of unit norm or so, whose square lies with these shares along a place."""
        own = torch.randn(len(shares), DIM, generator=random) / DIM**0.5
        return shares.sqrt()[:, None] * place + (1 - shares).sqrt()[:, None] * own

    bytes_, common = torch.nn.functional.normalize(torch.randn(2, DIM, generator=random)).split(1)
    base, new = about(common, 0.2 * torch.rand(BASE_ROWS, generator=random)), torch.empty(NEW_ROWS, DIM)
    base[:REFERENCES] = about(bytes_, torch.full((REFERENCES,), 0.99))
    new[: NEW_ROWS // 10] = about(bytes_, torch.full((NEW_ROWS // 10,), 0.98))
    new[NEW_ROWS // 10 :] = about(bytes_, 0.8 * torch.rand(NEW_ROWS - NEW_ROWS // 10, generator=random))
    lengths = torch.cat([torch.full((BASE_ROWS,), 0.67), torch.full((NEW_ROWS,), 0.47)])
    return torch.cat([base, new]) * (lengths * (1 + 0.1 * torch.randn(BASE_ROWS + NEW_ROWS, generator=random)))[:, None]


def drawn_subject(matrix: Tensor) -> Subject:
    """With all that a trial knows: rows before training, the reference rows, which tokens occur."""
    before = matrix + 0.01 * matrix.roll(1, 0)
    return Subject(
        matrix,
        BASE_ROWS,
        base_before=before[:BASE_ROWS],
        new_before=before[BASE_ROWS:].cpu(),
        reference_ids=range(REFERENCES),
        occurring_ids=torch.arange(REFERENCES, BASE_ROWS, 2),
        new_counts=torch.arange(NEW_ROWS) % 7,
    )


def same_numbers(matrix: Tensor) -> dict[str, float]:
    """The numbers of Phase 1's script, by the library."""
    base, new = read_group(matrix[:BASE_ROWS]), read_group(matrix[BASE_ROWS:])
    numbers: dict[str, float | None] = {
        "norm_base_mean": float(base.norms.mean()),
        "norm_new_mean": float(new.norms.mean()),
        "norm_gap_d": norms.cohens_d(base.norms, new.norms),
        "welch_t": norms.welch_t(base.norms, new.norms),
        "mann_whitney_u": norms.mann_whitney_u(base.norms, new.norms),
        "isotropy_all": isotropy.phase1_isotropy(joined(base, new, matrix)),
    }
    for name, group in (("base", base), ("new", new)):
        values = spectrum.covariance_spectrum(chunks.covariance(group), group.mean)
        numbers |= {
            f"isotropy_{name}": isotropy.phase1_isotropy(group),
            f"top1_share_{name}": spectrum.top1_share(values),
        }
        numbers |= {f"components_{at}_{name}": spectrum.components_for(values, at / 100) for at in (90, 95)}
    samples = {
        "base_base": cosine.sample_pairwise_cosines(base, base),
        "new_new": cosine.sample_pairwise_cosines(new, new),
        "base_new": cosine.sample_pairwise_cosines(base, new),
    }
    numbers |= {f"cosine_{name}_std": float(sample.std(correction=0)) for name, sample in samples.items()}
    numbers |= {
        "cosine_base_base_mean": cosine.mean_pairwise_cosine(base),
        "cosine_new_new_mean": cosine.mean_pairwise_cosine(new),
        "cosine_base_new_mean": cosine.mean_cross_cosine(base, new),
        "cosine_ks": ks_distance(samples["base_base"], samples["new_new"]),
    }
    return {name: value for name, value in numbers.items() if value is not None}


@cache
def phase1_rows() -> tuple[np.ndarray, np.ndarray]:
    """Base and new rows, in the process that computes Phase 1's way."""
    matrix = drawn_rows().numpy()
    return matrix[:BASE_ROWS], matrix[BASE_ROWS:]


def phase1_numbers() -> tuple[float, dict[str, float]]:
    base, new = phase1_rows()
    return timed(lambda: report_phase1(base, new))


def least_seconds(matrix: Tensor) -> float:
    """What the same numbers would take if all but products and eigenvalues took no time, and each product was as fast
    as the fastest: the upper half of two covariances, the products of the pairs of three samples of 5,000 rows."""
    tile = matrix[:TILE_ROWS], matrix[:TILE_COLUMNS]
    tile_s = min(timed(lambda: float(row_products(*tile)[0, 0]))[0] for _ in range(20))
    tiles = ((BASE_ROWS + NEW_ROWS) * DIM**2 + 3 * SAMPLE_ROWS**2 * DIM) / 2 / (TILE_ROWS * TILE_COLUMNS * DIM)
    square = chunks.covariance(read_group(matrix[:BASE_ROWS]))
    eigenvalues_s = min(timed(lambda: float(torch.linalg.eigvalsh(square)[0]))[0] for _ in range(ROUNDS))
    return tiles * tile_s + 2 * eigenvalues_s


def timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def median_seconds(pairs: Pairs[T], side: int) -> float:
    return statistics.median(pair[side][0] for pair in pairs)


def speed_up(pairs: Pairs[T]) -> float:
    """Median over the rounds of the other side's time by ours."""
    return statistics.median(theirs[0] / ours[0] for ours, theirs in pairs)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
