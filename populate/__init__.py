"""What runs: registration, workers, status, and the command `bwm`."""
