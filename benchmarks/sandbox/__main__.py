"""What a sandboxed run costs, beside `docker run` with the same hardening and the package `llm-sandbox`, turn about.

    make boxbench
    scripts/with_docker.sh .venv/bin/python -m benchmarks.sandbox --steps    # where the time of one container goes

Medians of the same small program. A missed target is printed and is not an error: absolute figures belong to the
reference configuration of docs/architecture.md and to a machine that does nothing else. `--json` prints the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import asdict

from benchmarks.sandbox.measure import measure, steps
from benchmarks.speed.table import show


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each contestant (default: %(default)s)")
    parser.add_argument("--no-rivals", action="store_true", help="leave llm-sandbox out")
    parser.add_argument("--steps", action="store_true", help="where the time of one container goes, instead")
    asked = parser.parse_args()
    docker_version, sections = steps(asked.rounds) if asked.steps else measure(asked.rounds, rivals=not asked.no_rivals)
    if asked.json:
        print(json.dumps({name: [asdict(row) for row in rows] for name, rows in sections.items()}, indent=2))
        return
    show(
        f"CPython {platform.python_version()}, {os.cpu_count()} CPUs, {platform.release()}, Docker {docker_version}",
        sections,
    )
    if asked.steps:
        return
    print(
        "Not the same work. `docker run` has the same limits and says nothing of OOM in a child, values or files.\n"
        "llm-sandbox copies the code into a writable root as user root, so it runs without the read-only root, under\n"
        "Docker's own seccomp profile and as its own user; its second run in an open session is a new interpreter in\n"
        "a used container."
    )


if __name__ == "__main__":
    main()
