"""Measuring masks on images with ground truth: `m2n2 evaluate`. The protocol itself is m2n2/evaluation."""
