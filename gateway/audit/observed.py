"""What the log says of a call that is only observed: what the policy would have decided, and that the call ran anyway.

Guarantee: nothing of an argument stands here that a contract has not declared fit for the log. Where no contract says
anything, types and keyed digests do, unless settings.yaml asks for values (docs/audit-format.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import orjson

from gateway.audit.encode import clip
from gateway.domain.call import ObservedCall, Released
from gateway.domain.decision import WouldBe, public_code
from gateway.domain.event import CallIntent, Subject

_NOTHING = orjson.Fragment(b"{}")


def observed_intent(
    call: ObservedCall,
    subject: Subject,
    attempt: int,
    *,
    authority: tuple[str, ...],
    sandbox: dict[str, object] | None,
    values: bool,
) -> CallIntent:
    """`values`: record what was sent, where there is no contract to say what in it is secret."""
    contract, shaped, described = call.contract, call.shaped, call.described
    if shaped is not None:
        arguments: object = orjson.Fragment(shaped.masked)
    elif values and contract is None:
        arguments, described = call.parsed.arguments, None
    else:
        arguments = _NOTHING
    return CallIntent(
        call=subject,
        contract=str(contract.source) if contract is not None else "",
        contract_version=contract.version if contract is not None else "",
        contract_digest=contract.digest if contract is not None else "",
        risk=contract.risk if contract is not None else "",
        effect=contract.effect if contract is not None else "",
        grant=call.grant,
        wire_digest=call.parsed.wire_digest,
        effective_digest=shaped.digest if shaped is not None else "",
        arguments=arguments,
        personal=None,
        authority=authority,
        facts=call.facts,
        proofs=(),
        effect_key=None,
        attempt=attempt,
        sandbox=sandbox,
        observed=as_recorded(call.would) | {"arguments": described},
    )


def as_recorded(would: WouldBe) -> dict[str, object]:
    """A decision that was not carried out, as records hold it."""
    refusal = would.refusal
    return {
        "decision": would.decision,
        "step": int(refusal.step) if refusal is not None else None,
        "reason": refusal.reason.value if refusal is not None else None,
        "public": public_code(refusal.reason) if refusal is not None else None,
        "detail": clip(refusal.detail) if refusal is not None else "",
        "rule": str(refusal.rule) if refusal is not None and refusal.rule is not None else None,
        "obligations": [
            asdict(each) | {"rule": str(each.rule) if each.rule is not None else None} for each in would.obligations
        ]
        if refusal is None
        else [],
    }


def observed_outcome(released: Released) -> dict[str, object] | None:
    """Why a result that was handed on would have been withheld."""
    failure = released.let_through
    return None if failure is None else {"code": failure.code, "detail": clip(failure.detail)}


def take_detail(observed: Mapping[str, object] | None) -> tuple[dict[str, object] | None, object]:
    """What may repeat a personal argument, apart from the rest."""
    if not observed or not observed.get("detail"):
        return dict(observed) if observed is not None else None, None
    return dict(observed) | {"detail": ""}, observed["detail"]
