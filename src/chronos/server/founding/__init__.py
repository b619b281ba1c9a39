"""What `chronos cluster init` makes: an authority, and a folder for every node with all that it starts with."""

from __future__ import annotations
