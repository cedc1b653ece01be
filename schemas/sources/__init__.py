"""Sources of data: the only modules that contain file names of the IBL."""
