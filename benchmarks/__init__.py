"""Benchmarks of the package: `python -m benchmarks` runs them all and writes RESULTS.md."""
