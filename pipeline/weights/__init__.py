"""Weights on their way: from where they are published to object storage, and from there to a node's disk."""
