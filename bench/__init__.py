"""Benchmarks: each prints a table of figures and writes it to `docs/figures/<name>.json`."""
