"""A world of real parts around step 5, fresh for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.clear.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
