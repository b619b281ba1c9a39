"""`chronos service`: the server as a service of systemd or launchd."""
