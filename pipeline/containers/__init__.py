"""Where images are: files below a root, or members of tars. A file a kind of container, chosen in source.py."""
