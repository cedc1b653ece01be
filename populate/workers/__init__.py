"""Workers: the queue of jobs, a worker, a pool of workers, heartbeat and log."""
