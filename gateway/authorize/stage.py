"""Step 2, authorize: may this principal call this tool? Deny by default (I2); forbidden and unknown read alike (I7).

A call the model makes needs both `see` and `call`: what is not in its tool list cannot be called by guessing the name.
A call the gateway makes as a fallback (`ctx.fallback`) needs `call` alone, so a tool granted `call` without `see` is
reachable in no other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never, final

from gateway.authorize.grants import DeniedByRule, Granted, Grants, NotGranted
from gateway.domain.call import AuthorizedCall, ContractRef, ParsedCall
from gateway.domain.decision import TOOL_NOT_AVAILABLE, USE_THE_LIST, Provenance, ReasonCode, Refusal, Step
from gateway.domain.ids import Principal
from gateway.domain.scope import Scope, covered
from gateway.policy.casbin_files import Action


@final
class Authorize:
    """The step, over one frozen policy version."""

    def __init__(self, grants: Grants, contracts: Mapping[str, ContractRef]) -> None:
        self._grants = grants
        self._contracts = dict(contracts)

    def __call__(self, call: ParsedCall) -> AuthorizedCall | Refusal:
        ctx = call.ctx
        contract = self._contracts.get(call.tool)
        if contract is None:
            return _refusal(ReasonCode.UNKNOWN_TOOL, "no contract has this name")
        principal_id = ctx.principal.id
        may_call = self._grants.decide(principal_id, call.tool, "call")
        if not isinstance(may_call, Granted):
            return _refused(may_call, "call")
        if not ctx.fallback:
            may_see = self._grants.decide(principal_id, call.tool, "see")
            if not isinstance(may_see, Granted):
                return _refused(may_see, "see")
        if ctx.scopes and not covered(ctx.scopes, call.tool):
            return _refusal(ReasonCode.OUT_OF_SCOPE, "the session's scope does not have it")
        return AuthorizedCall(ctx, call, contract, may_call.row)

    def regardless(self, call: ParsedCall) -> AuthorizedCall | None:
        """For observe mode: the call under its contract though nothing grants it; None if no contract has the name."""
        contract = self._contracts.get(call.tool)
        return None if contract is None else AuthorizedCall(call.ctx, call, contract, Provenance("", 0))

    def visible(self, principal: Principal, scopes: tuple[Scope, ...] = ()) -> tuple[str, ...]:
        """The tools for this principal's tool list within `scopes`, in a stable order (I7)."""
        names = self._grants.visible(principal.id)
        return tuple(name for name in names if covered(scopes, name)) if scopes else names

    def roles(self, principal: Principal) -> tuple[str, ...]:
        return self._grants.roles_of(principal.id)

    def may_approve(self, voter: str, tool: str) -> bool:
        """Whether `voter` holds `approve` on `tool` under this policy version."""
        return isinstance(self._grants.decide(voter, tool, "approve"), Granted)


def _refused(decision: NotGranted | DeniedByRule, action: Action) -> Refusal:
    match decision:
        case DeniedByRule(row):
            return _refusal(ReasonCode.DENY_RULE, f"a deny row forbids {action}", row)
        case NotGranted():
            return _refusal(ReasonCode.NOT_GRANTED, f"no row grants {action}")
    assert_never(decision)


def _refusal(reason: ReasonCode, detail: str, row: Provenance | None = None) -> Refusal:
    """The reason and the detail are for the record; the model reads the same words whatever they are."""
    return Refusal(Step.AUTHORIZE, reason, TOOL_NOT_AVAILABLE, USE_THE_LIST, detail, row)
