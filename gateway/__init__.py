"""Toolgate: a security gateway between AI agents and their tools.

The public names, nothing else. They are loaded when first used, so that `toolgate --help` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.domain.call import Denied, Outcome, Parked, Released, ToolCall, Unknown
    from gateway.domain.errors import (
        AuditUnavailable,
        ComponentFault,
        ContractMismatch,
        PolicyError,
        SettingsError,
        StateUnavailable,
        ToolgateError,
        UsageError,
    )
    from gateway.domain.ids import Principal
    from gateway.domain.scope import Scope
    from gateway.execute.registry import ToolRef
    from gateway.execute.watch import CodeOutput
    from gateway.gateway import Gateway
    from gateway.integrations.openai import wrap as openai
    from gateway.loop import Finished, Stopped
    from gateway.paused import Paused
    from gateway.session import Session
    from gateway.shapes.incoming import ResponseRefused
    from gateway.shapes.outgoing import RequestRefused
    from gateway.validate.beneath import OpenedFile
    from gateway.validate.facts import FactContext

__all__ = [
    "Gateway",
    "Principal",
    "Session",
    "Scope",
    "ToolRef",
    "ToolCall",
    "openai",
    "RequestRefused",
    "ResponseRefused",
    "CodeOutput",
    "FactContext",
    "OpenedFile",
    "Outcome",
    "Released",
    "Denied",
    "Parked",
    "Unknown",
    "Finished",
    "Paused",
    "Stopped",
    "ToolgateError",
    "UsageError",
    "SettingsError",
    "PolicyError",
    "ContractMismatch",
    "ComponentFault",
    "AuditUnavailable",
    "StateUnavailable",
]

_HOMES = {
    "gateway.gateway": ("Gateway",),
    "gateway.session": ("Session",),
    "gateway.shapes.outgoing": ("RequestRefused",),
    "gateway.shapes.incoming": ("ResponseRefused",),
    "gateway.domain.ids": ("Principal",),
    "gateway.domain.scope": ("Scope",),
    "gateway.domain.call": ("ToolCall", "Outcome", "Released", "Denied", "Parked", "Unknown"),
    "gateway.execute.registry": ("ToolRef",),
    "gateway.execute.watch": ("CodeOutput",),
    "gateway.validate.facts": ("FactContext",),
    "gateway.validate.beneath": ("OpenedFile",),
    "gateway.integrations.openai": ("openai",),
    "gateway.loop": ("Finished", "Stopped"),
    "gateway.paused": ("Paused",),
    "gateway.domain.errors": (
        "ToolgateError",
        "UsageError",
        "SettingsError",
        "PolicyError",
        "ContractMismatch",
        "ComponentFault",
        "AuditUnavailable",
        "StateUnavailable",
    ),
}
_CALLED = {"openai": "wrap"}  # where it is written under another name
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'gateway' has no attribute {name!r}")
    value: object = getattr(import_module(module), _CALLED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
