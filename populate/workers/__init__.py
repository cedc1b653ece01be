"""Workers: read `queue` first, then `heartbeat`, `worker`, `pool` and `log`."""
