"""`python -m bench.census`: what Phase 1's 20 printed tokens can tell of byte collapse, beside a census of all rows.

Rows with a byte collapse of 52 % are planted. Phase 1's procedure, to look at 20 new rows, is repeated 1,000 times; the
law that it follows is hypergeometric, and the census reads the share itself.
"""

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from bench.figures import Figure, publish
from wake2vec.metrics.collapse import max_cosine_to
from wake2vec.metrics.measure import measure
from wake2vec.metrics.readings import Subject
from wake2vec.metrics.rows import read_group

BASE, NEW, DIM, REFERENCES = 1_000, 5_000, 64, 100
PLANTED, TAU = 0.52, 0.95
SAMPLE, REPEATS, READ = 20, 1_000, 0.6


def main() -> None:
    matrix = planted_rows()
    subject = Subject(matrix, BASE, reference_ids=range(REFERENCES))
    census = measure(subject).numbers["geometry.byte_collapse_share"]
    assert census is not None, "the planted reference rows are coherent"
    shares = sampled_shares(matrix)
    low, high = np.quantile(shares, [0.025, 0.975])
    law = stats.hypergeom(NEW, round(PLANTED * NEW), SAMPLE)
    expected = float(law.sf(np.ceil(READ * SAMPLE) - 1))
    error = float(np.sqrt(expected * (1 - expected) / REPEATS))
    often = float((shares >= READ - 1e-9).mean())
    publish(
        "census",
        "python -m bench.census",
        [
            Figure(f"byte collapse planted, of {NEW:,} new rows", PLANTED, ""),
            Figure("what the census reads", census, "", f"{PLANTED}", census == PLANTED),
            Figure(f"{SAMPLE} rows read {READ:.0%} or more, of {REPEATS:,} times", often, ""),
            Figure(
                "the same by the hypergeometric law",
                expected,
                "",
                "3 standard errors",
                abs(often - expected) <= 3 * error,
            ),
            Figure(f"{SAMPLE} rows read, 2.5 % quantile", float(low), ""),
            Figure(f"{SAMPLE} rows read, 97.5 % quantile", float(high), ""),
            Figure(f"rows for +-.02 in 95 % of samples, of {NEW:,}", rows_for(0.02), ""),
        ],
    )


def planted_rows() -> Tensor:
    """Base rows, the first of them around one place, and new rows, the planted share of them there too."""
    random = torch.Generator().manual_seed(0)
    place = torch.nn.functional.normalize(torch.randn(1, DIM, generator=random))
    matrix = torch.randn(BASE + NEW, DIM, generator=random) / DIM**0.5
    on_bytes = torch.zeros(BASE + NEW, dtype=torch.bool)
    on_bytes[:REFERENCES] = True
    on_bytes[BASE + torch.randperm(NEW, generator=random)[: round(PLANTED * NEW)]] = True
    matrix[on_bytes] = place + 0.1 * matrix[on_bytes]
    return matrix


def sampled_shares(matrix: Tensor) -> np.ndarray:
    """The share that Phase 1's procedure reads each time: rows drawn anew, looked at one by one."""
    random = np.random.default_rng(42)
    references, shares = read_group(matrix[:REFERENCES]), []
    for _ in range(REPEATS):
        chosen = torch.from_numpy(BASE + random.choice(NEW, SAMPLE, replace=False))
        shares.append(float((max_cosine_to(read_group(matrix[chosen]), references) >= TAU).double().mean()))
    return np.array(shares)


def rows_for(reach: float) -> int:
    """How many rows a sample needs to read the planted share to within `reach` in 95 % of the times."""
    z = stats.norm.ppf(0.975)
    with_replacement = z**2 * PLANTED * (1 - PLANTED) / reach**2
    return round(with_replacement / (1 + (with_replacement - 1) / NEW))


if __name__ == "__main__":
    main()
