"""Errors of the sandbox itself, as opposed to errors of the code that ran inside it.

An exception from this tree means **nothing ran**: the container was refused or never started. What
goes wrong after the start is a `Verdict` of the result, because the code may have run by then.
"""

from __future__ import annotations


class SandboxError(Exception):
    """Root of the tree. The message tells an operator what to do next and never reaches a model."""


class ProfileError(SandboxError):
    """A sandbox profile is not acceptable. `field` names the part."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"sandbox profile: {field}: {reason}")
        self.field = field
        self.reason = reason


class InputRefused(SandboxError):
    """The code or an input file of a run has no acceptable name or size."""


class SandboxUnavailable(SandboxError):
    """No Docker daemon answers, or it answered a request with a fault."""


class ImageNotPinned(SandboxError):
    """The image is missing, or is another than the lock file pins. It is never pulled."""

    def __init__(self, image: str, reason: str) -> None:
        super().__init__(f"sandbox image {image!r}: {reason}; build it with `python -m sandbox.image.build`")
        self.image = image
        self.reason = reason


class SandboxRefused(SandboxError):
    """The daemon created something other than what was asked for; it was removed unstarted.

    `differences` maps each field to `(asked, got)`.
    """

    def __init__(self, differences: dict[str, tuple[object, object]]) -> None:
        rows = "; ".join(f"{key}: asked {asked!r}, got {got!r}" for key, (asked, got) in differences.items())
        super().__init__(f"the Docker daemon did not grant the requested container ({rows}); see `docker info`")
        self.differences = differences


class SessionMoved(SandboxError):
    """The session is not in the state in which this run was wanted: another run came first."""


class RunCancelled(SandboxError):
    """The caller cancelled before the container started."""


class ImageBuildError(SandboxError):
    """The sandbox image could not be built."""


class SandboxOverloaded(SandboxError):
    """No room for another run or session now. `reason` says which bound was met."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the sandbox is full: {reason}; try again later, or allow more")
        self.reason = reason
