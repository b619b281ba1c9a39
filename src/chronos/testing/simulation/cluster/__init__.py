"""Several whole nodes over the simulated engine: what is added to the world of one."""
