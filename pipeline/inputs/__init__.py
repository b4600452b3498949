"""What users bring: click files of any number and size, found, read, checked and grouped by image."""
