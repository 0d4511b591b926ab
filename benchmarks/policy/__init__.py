"""What a policy costs when it is large: loading, deciding, linting, foreseeing."""
