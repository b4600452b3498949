"""The driver beside many workers: `python -m benchmarks.driver`."""
