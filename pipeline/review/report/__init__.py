"""The report: one page about a run or a library that needs nothing but a browser."""
