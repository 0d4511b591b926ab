"""Toolgate's sandbox: model-written code in single-use, hardened containers, or not at all (I8).

A leaf package: it knows containers and knows no principals and no policy. Importing it does not import
the Docker SDK.
"""

from __future__ import annotations

from sandbox.box import Sandbox
from sandbox.docker import DockerEngine
from sandbox.failure import (
    ImageBuildError,
    ImageNotPinned,
    InputRefused,
    ProfileError,
    RunCancelled,
    SandboxError,
    SandboxOverloaded,
    SandboxRefused,
    SandboxUnavailable,
    SessionMoved,
)
from sandbox.image.lock import default_lock, pinned
from sandbox.outputs import Artifact
from sandbox.pool import Pool
from sandbox.queue import FairQueue
from sandbox.result import Hear, SandboxResult, Verdict, shown
from sandbox.session import FRESH, Mark, Sessions
from sandbox.spec import SandboxProfile, SandboxSpec

__all__ = [
    "Sandbox",
    "SandboxProfile",
    "SandboxSpec",
    "SandboxResult",
    "Verdict",
    "Artifact",
    "Hear",
    "shown",
    "DockerEngine",
    "Pool",
    "Sessions",
    "Mark",
    "FRESH",
    "FairQueue",
    "pinned",
    "default_lock",
    "SandboxError",
    "SandboxUnavailable",
    "SandboxRefused",
    "SandboxOverloaded",
    "ImageNotPinned",
    "ProfileError",
    "InputRefused",
    "SessionMoved",
    "RunCancelled",
    "ImageBuildError",
]
