"""Commands for whoever is called at night: each says what it would do with `--dry-run`, and leaves a record."""
