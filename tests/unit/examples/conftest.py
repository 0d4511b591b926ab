"""Running servers for the tests of the examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import openai
import pytest

from examples.scripted_openai import Script, ScriptedOpenAI
from examples.support_desk.services import Services, services

Serve = Callable[[Script], tuple[ScriptedOpenAI, openai.OpenAI]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a scripted server and give it with a real client for it."""
    with ExitStack() as stack:

        def start(script: Script) -> tuple[ScriptedOpenAI, openai.OpenAI]:
            server = stack.enter_context(ScriptedOpenAI(script))
            client = openai.OpenAI(base_url=server.base_url, api_key=server.api_key)
            return server, stack.enter_context(client)

        yield start


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Services]:
    with services(tmp_path / "desk") as running:
        yield running
