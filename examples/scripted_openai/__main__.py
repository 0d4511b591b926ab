"""`python -m examples.scripted_openai`: a model for trying things out, without an API key and without a network."""

from __future__ import annotations

import contextlib
import threading

from examples.scripted_openai.pages import pages_script
from examples.scripted_openai.server import ScriptedOpenAI


def main() -> None:
    with ScriptedOpenAI(pages_script()) as server:
        print(f"export OPENAI_BASE_URL={server.base_url}")
        print(f"export OPENAI_API_KEY={server.api_key}")
        print("# type these lines where your agent runs; Ctrl-C ends the model", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
