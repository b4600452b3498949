"""One file a format: a function that gives the objects of another tool's file, one after the other."""
