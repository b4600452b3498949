"""Parts to the formats that people's tools import, one file each."""
