"""Libraries: what grows night by night."""
