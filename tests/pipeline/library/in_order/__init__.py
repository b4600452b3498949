"""Any number of rows in order."""
