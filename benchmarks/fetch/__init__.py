"""How fast images come from storage, by what they are in; run as `python -m benchmarks.fetch`."""
