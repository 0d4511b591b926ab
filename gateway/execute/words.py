"""What the model reads when a tool, or the code it wrote, did not finish. Codes are stable (docs/errors.md).

Nothing in here comes from a tool: what a failure says of itself is for the record, or is marked as untrusted data.
"""

from __future__ import annotations

from gateway.domain.call import Failure

_SAID: dict[str, tuple[str, str]] = {
    "tool_failed": ("The tool failed.", "Try something else, or tell the user."),
    "approval_invalid": ("The approval does not fit this call any more.", "Ask again: make the call anew."),
    "sandbox_unavailable": ("Code cannot be run at the moment.", "Go on without it, or tell the user."),
    "sandbox_overloaded": ("There is no room to run this code now; it was not run.", "Try again in a moment."),
    "input_refused": ("The code or a file for it is too large, or the file cannot be read.", "Use a smaller file."),
    "code_failed": ("The code ended with an error.", "Read what it printed and correct the code."),
    "code_timeout": ("The code ran too long and was stopped.", "Do less at a time."),
    "code_oom": ("The code used more memory than it may.", "Work on less data at a time."),
    "code_killed": ("The code was stopped.", "Do less at a time, and do not end the interpreter from inside."),
    "code_output_capped": ("The code printed more than it may.", "Print less: a summary, or the first lines."),
    "code_sandbox_failed": ("The sandbox failed while the code ran.", "Try again once; then go on without it."),
}


def failure(code: str, detail: str, *, may_have_run: bool = False) -> Failure:
    """`detail` is for the record only."""
    message, suggestion = _SAID.get(code, _SAID["tool_failed"])
    return Failure(code, message, suggestion, detail, may_have_run)
