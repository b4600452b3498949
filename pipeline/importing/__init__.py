"""Clicks from other tools: one file a format, streamed into Parquet by the contract of `pipeline/clicks.py`."""
