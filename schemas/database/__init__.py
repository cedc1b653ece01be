"""Database servers: the embedded one, repairs of DataJoint, errors of drivers, counters."""
