"""The `toolgate` command. One file per group; what a command needs is imported when it runs, so `--help` is quick."""

from __future__ import annotations


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 the answer is no (damage found, nothing found), 2 it could not be asked."""
    from gateway.cli.app import run

    run()
