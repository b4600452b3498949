"""Workers from the driver: how many, on which nodes, what each was asked, and what became of it."""
