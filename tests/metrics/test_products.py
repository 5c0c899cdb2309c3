import pytest
import torch

from wake2vec.metrics.rows import row_products


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 700, 5), (256, 33, 2048), (0, 4, 3), (4, 0, 3)])
def test_products_of_rows_are_those_of_float64(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    torch.manual_seed(0)
    left, right = torch.randn(m + 2, k)[1:-1], torch.randn(n, k)
    exact = left.double() @ right.double().T
    for columns in (right, right.T.contiguous().T):  # either order of memory
        found = row_products(left, columns)
        assert found.dtype is torch.float32
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=5e-6 * k**0.5)
    # Other types are multiplied in their own precision, which the tolerance tells.
    torch.testing.assert_close(row_products(left.double(), right.double()), exact, rtol=1e-12, atol=1e-12)
    if k > 1 and exact.numel():
        assert (row_products(left.bfloat16(), right.bfloat16()).double() - exact).abs().max() > 5e-6 * k**0.5
