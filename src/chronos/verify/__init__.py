"""The second opinion: was every instant that was owed accounted for, as far as exported files show?

It works from files alone and shares no code with what it judges: it reads zones with the standard library, matches
cron fields as sets of numbers, and hashes lines as they stand. Slow and obvious, on purpose.
"""
