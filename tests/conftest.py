"""Hypothesis profiles, and the one thing that two test processes need of every test: an id that does not change.

`dev` explores, `ci` (chosen by CI=true) is reproducible, `soak` is for the long counts. None of them has a deadline:
this suite asserts nothing about time.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("dev", max_examples=60, deadline=None)
settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("soak", max_examples=5_000, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse ids that hold an object's address: they differ between the processes that share the work."""
    moving = sorted({item.location[2].partition("[")[0] for item in items if " at 0x" in item.nodeid})
    if moving:
        raise pytest.UsageError(f"give these parameters ids of their own (`ids=...`): {', '.join(moving)}")
