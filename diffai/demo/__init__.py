"""A throw-away repository with a real training history, to try everything on."""
