"""The model a newcomer starts without an API key, and the typed loops that talk to it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from examples import typed_loop
from examples.scripted_openai import ScriptedOpenAI
from examples.scripted_openai.pages import HELP, pages_script
from gateway import Session
from tests.architecture.source import ROOT
from tests.support import ANA, gateway_with, tool


def refund(order_id: str, cents: int) -> dict[str, object]:
    return {"order_id": order_id, "paid_cents": cents}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with gateway_with(tmp_path, tool(refund)) as gateway:
        yield gateway.session(ANA)


@pytest.mark.parametrize("loop", [typed_loop.chat, typed_loop.responses])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Refund 40 USD of A-1003.", r"I refunded 40 USD\."),
        ('Please refund {"order_id": "A-1", "cents": 3}', r'The tool said: .*"paid_cents":3.*'),
        ('Please refund {"order_id": "A-1", "cents": "3"}', r'The tool said: .*"invalid_arguments".*'),
        ('drop_tables {"all": true}', r'The tool said: .*"tool_not_available".*'),
        ("Hello", re.escape(HELP)),
    ],
)
def test_the_model_makes_the_call_it_is_told(
    session: Session, loop: Callable[[Session, openai.OpenAI, str], str], text: str, said: str
) -> None:
    with ScriptedOpenAI(pages_script()) as server:
        client = openai.OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0)
        assert re.fullmatch(said, loop(session, client, text))


def test_it_starts_from_a_shell_and_says_what_to_type() -> None:
    argv = [sys.executable, "-m", "examples.scripted_openai"]
    with subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": ""}
    ) as run:
        try:
            assert run.stdout is not None
            lines = [run.stdout.readline() for _ in range(3)]
            named = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines[:2])
            client = openai.OpenAI(base_url=named["OPENAI_BASE_URL"], api_key=named["OPENAI_API_KEY"], max_retries=0)
            answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}])
            assert answer.choices[0].message.content == HELP
        finally:
            run.send_signal(signal.SIGINT)
        assert run.wait() == 0
