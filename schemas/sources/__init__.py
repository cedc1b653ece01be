"""Where data come from: the only rooms that know the file names of the IBL."""
