"""The form of a sandbox profile, for those who may not open the sandbox: editors, by `toolgate policy schema`."""

from __future__ import annotations

from sandbox import SandboxProfile


def profile_schema() -> dict[str, object]:
    """JSON Schema 2020-12 of `sandbox/*.yaml`."""
    return SandboxProfile.json_schema()
