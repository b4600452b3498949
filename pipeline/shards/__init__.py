"""The formats of a plan's files: the table of its shards, and what stands in one shard."""
