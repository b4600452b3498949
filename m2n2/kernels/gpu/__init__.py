"""Triton kernels: what the torch forms compute, with each large tensor read once. Never run on a GPU yet."""
