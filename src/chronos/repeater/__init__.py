"""rpr: one command, one terminal, repeated on a schedule."""
