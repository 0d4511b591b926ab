"""`make demo`: a support-desk agent governed by `policies/`, every part real but the model.

With OPENAI_API_KEY (and, if wanted, OPENAI_BASE_URL and MODEL) the model is real too; then what is shown depends on
what it does, and what did not come up is said at the end.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import openai
import structlog

from examples.scripted_openai import ScriptedOpenAI
from examples.support_desk.agent import open_gateway
from examples.support_desk.demo import Demo
from examples.support_desk.script import script
from examples.support_desk.services import services
from examples.support_desk.timeline import wrap

POLICIES = Path(__file__).resolve().parents[2] / "policies"


async def demonstrate(folder: Path) -> int:
    policies = folder / "policies"
    shutil.copytree(POLICIES, policies)
    with ExitStack() as stack:
        stack.enter_context(services(folder / "desk"))
        key = os.environ.get("OPENAI_API_KEY")
        if key:
            model = os.environ.get("MODEL", "gpt-4.1-mini")
            client = openai.AsyncOpenAI(api_key=key, base_url=os.environ.get("OPENAI_BASE_URL") or None)
            print(f"model: {model}, real, through the openai client")
        else:
            server = stack.enter_context(ScriptedOpenAI(script()))
            model, client = "scripted", openai.AsyncOpenAI(api_key=server.api_key, base_url=server.base_url)
            print("model: SCRIPTED: a small server on loopback; the openai client and HTTP are real")
        print("shop:  a SQLite database, an SMTP server and two weather services, all real")
        demo = Demo(folder, policies, client, model, scripted=not key)
        demo.enrol_approvers()
        gateway = stack.enter_context(open_gateway(policies, folder / "toolgate", origin="desk"))
        await demo.converse(gateway)
        stack.pop_all().close()
        demo.verify()
        demo.hand_over()
        return demo.summary()


def plain(_: object, __: str, event: structlog.typing.EventDict) -> str:
    """The gateway's own notices as one line, instead of the JSON that a service would want."""
    return wrap(f"{event.pop('event')}: {event.get('production') or event.get('fault') or ''}", 8, "notice:")


def main() -> int:
    structlog.configure(processors=[plain], logger_factory=structlog.PrintLoggerFactory())
    folder = Path(tempfile.mkdtemp(prefix="toolgate-demo-"))
    try:
        return asyncio.run(demonstrate(folder))
    finally:
        if os.environ.get("TOOLGATE_KEEP_DEMO"):
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
