"""Contracts and calls for the tests of steps 1 and 4: the real step 1, the real step 4, hand-made states between."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gateway.domain.call import (
    AuthorizedCall,
    CallContext,
    ContractRef,
    LimitedCall,
    RawCall,
    ShapedCall,
    ValidatedCall,
)
from gateway.domain.decision import Provenance, Refusal
from gateway.domain.ids import Principal
from gateway.domain.instant import Instant
from gateway.domain.keyed import DigestKey
from gateway.domain.session_view import SessionView
from gateway.parse.stage import Parse
from gateway.policy.documents import ArgumentLimits, Contract
from gateway.validate.contract import CompiledContract
from gateway.validate.facts import Facts
from gateway.validate.stage import Validate
from gateway.waiting import Awaited, Blocking, OwnLoop, Workers, drive

KEY = DigestKey(b"k" * 32)
AT = Instant(1_800_000_000 * 10**9, 10**9, "boot-1")
SESSION = SessionView("conv-1", 1, ("agent",))


def context(principal: str = "alice") -> CallContext:
    return CallContext("call_1", "p1", Principal(principal), None, "conv-1", "policy", AT, 0)


def contract(parameters: dict[str, Any], **more: Any) -> Contract:
    given = {"tool": "act", "description": "Acts.", "risk": "low", "effect": "internal", "parameters": parameters}
    return Contract.model_validate_json(json.dumps(given | more))


def properties(required: tuple[str, ...] = (), **named: Any) -> dict[str, Any]:
    return {"type": "object", "properties": named, "required": list(required)}


def compiled(what: Contract, **more: Any) -> CompiledContract:
    ref = ContractRef(what.tool, "1", "digest", what.risk, what.effect, Provenance(f"tools/{what.tool}.yaml", 1))
    return CompiledContract.build(what, ref, **more)


class World:
    """Step 1 and step 4 over one contract."""

    def __init__(self, what: Contract, facts: Facts | None = None, **more: Any) -> None:
        self.compiled = compiled(what, **more)
        self.parse = Parse(ArgumentLimits(), KEY)
        self.validate = Validate({what.tool: self.compiled}, KEY, facts)
        self.tool = what.tool

    def limited(self, arguments: object) -> LimitedCall | Refusal:
        parsed = self.parse(RawCall(context(), self.tool, arguments))
        if isinstance(parsed, Refusal):
            return parsed
        authorized = AuthorizedCall(parsed.ctx, parsed, self.compiled.ref, Provenance("policy.csv", 1))
        return LimitedCall(parsed.ctx, parsed, authorized, 1, ())

    def shape(self, arguments: object) -> ShapedCall | Refusal:
        limited = self.limited(arguments)
        return limited if isinstance(limited, Refusal) else self.validate.shape(limited)

    def shaped(self, arguments: object) -> ShapedCall:
        shaped = self.shape(arguments)
        assert isinstance(shaped, ShapedCall), shaped
        return shaped

    def judge(self, arguments: object, session: SessionView = SESSION) -> ValidatedCall | Refusal:
        """On the blocking side."""
        workers, loop = Workers(2), OwnLoop()
        try:
            return drive(self.validate.judge(self.shaped(arguments), Blocking(workers, loop), session, 7))
        finally:
            workers.close()
            loop.close()

    async def judge_async(self, arguments: object, session: SessionView = SESSION) -> ValidatedCall | Refusal:
        """On the awaited side."""
        workers = Workers(2)
        with ThreadPoolExecutor(1) as own:
            try:
                return await self.validate.judge(self.shaped(arguments), Awaited(workers, own), session, 7)
            finally:
                workers.close()


def refused(what: object) -> Refusal:
    assert isinstance(what, Refusal), what
    return what


def passed(what: object) -> ValidatedCall:
    assert isinstance(what, ValidatedCall), what
    return what
