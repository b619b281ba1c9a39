"""The fold's rules, one file a subject. Pure: no clock, no chance, no IO, no scan; every look-up is by key."""
