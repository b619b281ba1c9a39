"""Chronos: a distributed cron that fires jobs when they are due and can prove afterwards what happened."""

__version__ = "0.1.0"
