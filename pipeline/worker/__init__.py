"""What runs on every GPU: one actor, one model, a shard at a time. It knows nothing of the driver."""
