"""When the next run starts: one module a family of modes, each with its formulae as functions of numbers alone."""
