"""Where images are: files below a root, members of tars, rows of Parquet. A file a kind, chosen in source.py."""
