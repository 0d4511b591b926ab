"""`python -m gateway.cli`: the same as `toolgate`, for an environment whose scripts are not on the path."""

from gateway.cli import main

main()
