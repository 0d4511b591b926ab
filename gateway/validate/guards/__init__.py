"""Guards: an argument that names something outside the call becomes a capability, or is checked (C050).

Each is judged by what it would do, not by what it looks like. docs/guards.md says what each protects and what not.
"""

from gateway.validate.guards.fetch import Fetched, FetchFailed, PinnedClient
from gateway.validate.guards.markup import SafeHtml
from gateway.validate.guards.money import Money
from gateway.validate.guards.programs import Argv
from gateway.validate.guards.refusal import GuardRefused
from gateway.validate.guards.registry import Guards, close
from gateway.validate.guards.statement import Statement

__all__ = [
    "Guards", "close", "GuardRefused",
    "Argv", "Fetched", "FetchFailed", "Money", "PinnedClient", "SafeHtml", "Statement",
]  # fmt: skip
