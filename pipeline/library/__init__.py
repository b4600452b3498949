"""A library of labels that grows night by night: what is new, one night at a time, the newest mask of every object."""
