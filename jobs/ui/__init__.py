"""The local page of `m2n2 ui`: what it knows and does is in pipeline/page, here is how a browser gets at it."""
