"""Who belongs to the cluster while it runs: known from the log, changed by people, carried out on the engine."""
