"""An export that many write: each a piece of it, in ranges of shards, and one joins these in order."""
