"""What people look at after a run or a night: which masks first, and one page about all of it."""
