"""The geometry of an embedding matrix: pure functions of tensors, one noun per file.

A group of rows is a matrix of finite numbers, one token a row; `read_group` reads it once for all numbers. Every
number is exact over all rows unless its docstring says how it samples; sums and moments are float64, only the
products behind single cosines (good to about 1e-6) and of centred rows are float32. Nothing of size rows x rows is
ever held at once. A number that has no meaning for the rows given is `None`, never 0 or NaN; a row of norm zero has
no direction and is left out of every cosine. The rows may lie on any device that has float64.

`docs/metrics.md` says what each number means and what it reads on noise.
"""
