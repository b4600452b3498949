"""What goes beyond the paper, one idea a file: `Settings.refined()`; measured in docs/quality.md."""
