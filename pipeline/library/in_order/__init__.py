"""Any number of rows in order, with memory that does not grow with them: what databases in memory cannot join."""
