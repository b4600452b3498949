"""The one place that speaks fsspec: objects created whole or not at all, and requests repeated until they pass."""
