"""Registration, workers, status, verification, and the command `bwm`."""
