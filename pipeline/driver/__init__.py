"""One process a run: plans, feeds the workers, watches them and counts. It never loads torch."""
