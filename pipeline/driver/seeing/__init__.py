"""What an operator sees of a run beside its progress line."""
