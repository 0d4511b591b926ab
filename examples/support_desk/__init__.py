"""A support desk: a shop's database, its mail and its weather, and the plain Python tools of its agent."""
