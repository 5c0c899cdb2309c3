"""`python -m bench.cluster`: studies on a real Ray, whose trials sleep: docs/scale.md."""
