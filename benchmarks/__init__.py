"""Measurements, as ratios within one run. ``python -m benchmarks``, or ``nox -s bench``."""
