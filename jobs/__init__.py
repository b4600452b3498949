"""What people start: the command line, the nightly job, manifests and example jobs."""
