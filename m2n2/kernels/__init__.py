"""Numerics without a meaning of their own: what the stages of the paper are computed with."""
