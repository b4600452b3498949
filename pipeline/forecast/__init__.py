"""What a run would do and how long it would take, without doing it: for `m2n2 plan`."""
