"""Measurements of speed and accuracy; run one as `python -m benchmarks.NAME`."""
