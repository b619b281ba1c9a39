"""Plug-ins of `rpr`: who decides when to run, how a run is made, and what becomes of its output."""
