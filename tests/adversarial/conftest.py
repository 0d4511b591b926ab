"""Fixtures of the approval tests: a world of real parts around step 5."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.clear.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def approved(world: World) -> str:
    """A request with its one approval, ready to be redeemed."""
    request_id = world.park()
    world.vote(request_id)
    return request_id
