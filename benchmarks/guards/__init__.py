"""Argument guards, measured by effect: what harm they stop, what harmless values they refuse, what they cost."""
