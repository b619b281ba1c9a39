"""Backups: one file that holds a moment of a data folder, and the way back from it."""
