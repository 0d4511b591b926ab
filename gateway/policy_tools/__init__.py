"""Tools for the people who write policy: they load and run what a gateway runs, and so stand above it."""
