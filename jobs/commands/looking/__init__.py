"""What people start to look at a run or a library."""
