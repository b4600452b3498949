"""One file a command: what people type, and what it does."""
