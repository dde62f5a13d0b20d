"""Search for the largest load that a server carries within its objectives: which load to probe next, and when a probe
is decided. Pure."""
