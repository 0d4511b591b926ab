"""Step 4, validate: do these arguments mean something, and may that be done? (I1, I13)

Two calls, because the pipeline takes a lock between them. `shape` looks at nothing but the call: normalise, check the
schema, give the effective bytes their digest. `judge` looks at the world: facts, guards, rules, in that order; a rule
that is false denies, or adds an obligation where the contract says `escalate`. An error denies. What a guard opened is
closed on every way out but success, and then by `close`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, final

from gateway.domain.call import LimitedCall, ParsedCall, ShapedCall, ValidatedCall
from gateway.domain.canonical import canonical
from gateway.domain.charge import PLACES, Charge
from gateway.domain.decision import Obligation, ReasonCode, Refusal, Step
from gateway.domain.errors import PolicyError, StateUnavailable, UsageError
from gateway.domain.keyed import Digests, Spellings
from gateway.domain.scope import Scope as TaskScope
from gateway.domain.session_view import SessionView
from gateway.domain.waits import Waits
from gateway.validate import guards
from gateway.validate.charges import CannotCharge, Ledger
from gateway.validate.contract import CompiledContract, ContractRule
from gateway.validate.described import described
from gateway.validate.facts import FactContext, Facts, FactSource, FactUnavailable
from gateway.validate.guards import GuardRefused
from gateway.validate.problems import MISSING, Problem
from gateway.validate.rules import CompiledRule, RuleError, Scope, check_names, compiled_bound

MAX_EFFECTIVE_BYTES = 2 << 20  # twice what may be sent; with its facts it still fits into one record
NOT_NOW = "This call could not be checked, so it was not made."
TELL_USER = "Do not look for a way around it; tell the user."
MAX_CANDIDATES = 10

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@/#-]{0,63}\Z")  # no blanks: a sentence is no name


@final
class Validate:
    """The step. `compiled` holds every contract of one policy version by tool name (I6)."""

    def __init__(
        self,
        compiled: Mapping[str, CompiledContract],
        key: Digests,
        facts: FactSource | None = None,
        *,
        spell: Spellings | None = None,
        ledger: Ledger | None = None,
        lines: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """`spell` gives digests under every key of the deployment, `ledger` what is left; without one none can say.

        `lines` gives for a tool that replaces others it and them: a scope that bounds one version bounds them all.
        """
        self._compiled = compiled
        self._key = key
        self._facts: FactSource = facts if facts is not None else Facts()
        self._spell = spell if spell is not None else lambda data, *, domain: (key.digest(data, domain=domain),)
        self._ledger = ledger
        self._versions = _families(lines or {})

    def shape(self, call: LimitedCall) -> ShapedCall | Refusal:
        """Pure. The arguments as they will be judged, shown, executed and logged, or what is wrong with them."""
        ref = call.authorized.contract
        contract = self._compiled[ref.name]
        parsed = call.parsed
        if contract.schema.grows and parsed.wire.count(b"{") * contract.schema.grows > MAX_EFFECTIVE_BYTES:
            return _TOO_LARGE
        value, simple = contract.schema.effective(parsed.arguments, simple=parsed.simple)
        if not contract.schema.accepts(value):
            return _misfit(contract, value)
        if contract.grammar is not None and (why := contract.grammar.refuse(value["input"])) is not None:
            return _not_in_grammar(why)
        effective = canonical(value, simple=simple)
        if len(effective) > MAX_EFFECTIVE_BYTES:
            return _TOO_LARGE
        return ShapedCall(
            call.ctx,
            call,
            ref,
            effective,
            self._key.digest(effective, domain=b"effective"),
            self._masked(contract, value, effective, simple=simple),
            self._session(call, contract.shares)
            if contract.shares is not None
            else self._key.digest(_named(contract.serialize_by, value, simple=simple), domain=b"serialize")
            if contract.serialize_by
            else None,
            self._spell(_named(contract.effect_key, value, simple=simple), domain=b"effect")
            if contract.effect_key
            else (),
        )

    def _session(self, call: LimitedCall, shares: str) -> str:
        """Runs in one session take turns from here to release, so that none comes between a check and its use (I13)."""
        ctx = call.ctx
        whose: list[object] = [shares, ctx.principal.id, ctx.on_behalf_of and ctx.on_behalf_of.id, ctx.conversation]
        return self._key.digest(canonical(whose), domain=b"session")

    async def judge(
        self, call: ShapedCall, waits: Waits, session: SessionView, effect_generation: int
    ) -> ValidatedCall | Refusal:
        """Facts, guards, rules. The caller closes the capabilities of what it gets (`close`)."""
        contract = self._compiled[call.contract.name]
        bounds = self._bounds(call)
        found: dict[str, object] = {}
        if contract.facts:
            ctx = FactContext(call.ctx.principal, call.ctx.on_behalf_of, call.ctx.conversation)
            try:
                found = await self._facts.look_up(contract.facts, lambda: contract.fresh(call.effective), ctx, waits)
            except FactUnavailable as fault:
                detail = f"fact `{fault.name}`: {contract.quotable(fault.why)}"
                return Refusal(Step.VALIDATE, ReasonCode.FACT_UNAVAILABLE, NOT_NOW, "Try again later.", detail)
        told = contract.tellable(found, call.effective)
        charges: tuple[Charge, ...] = ()
        left: dict[str, float] | None = {}
        uncountable: Refusal | None = None  # told only to whom no rule says no: what is nobody's is not yours (C131)
        if contract.charges:
            try:
                charges = contract.charges.of(call.ctx, session, contract.fresh(call.effective), found, self._account)
            except CannotCharge as fault:
                uncountable, left = _uncountable(fault, told), None
            if uncountable is None and "left" in _reads(contract, bounds):
                left = await self._left(charges, waits)
        opened: dict[str, object] = {}
        if contract.guards:
            arguments = contract.fresh(call.effective)
            try:
                if contract.guards.opens:
                    opened = await waits.blocking(lambda: contract.guards.apply(arguments))
                else:
                    opened = contract.guards.apply(arguments)
            except GuardRefused as refused:
                return Refusal(
                    Step.VALIDATE,
                    refused.reason,
                    refused.message,
                    refused.suggestion,
                    detail=contract.quotable(refused.detail),
                    facts=told,
                )
        try:
            judged = _by_rules(contract, call, session, found, told, left, bounds)
        except BaseException:
            guards.close(opened)
            raise
        if uncountable is not None and not isinstance(judged, Refusal):
            judged = uncountable
        if isinstance(judged, Refusal):
            guards.close(opened)
            return judged
        return ValidatedCall(call.ctx, call, call.contract, told, judged, opened, effect_generation, charges)

    def _bounds(self, call: ShapedCall) -> tuple[CompiledRule, ...]:
        """What the scopes say of the tool; of its other versions where one says nothing of this: else it would be open.

        A bound that names what this version does not have cannot be answered, and denies.
        """
        if not call.ctx.scopes:
            return ()
        tool = call.contract.name
        line = self._versions.get(tool, (tool,))
        found: list[CompiledRule] = []
        for scope in call.ctx.scopes:
            bound = (tool,) if tool in scope.where else (each for each in line if each in scope.where)
            found += (compiled_bound(scope.where[each]) for each in bound)
        return tuple(found)

    async def _left(self, charges: tuple[Charge, ...], waits: Waits) -> dict[str, float]:
        """What rules may compare with. A double is near enough for them: step 5 counts exactly."""
        ledger = self._ledger
        if ledger is None:
            raise StateUnavailable("no ledger of budgets is at hand, so nobody knows what is left")
        units = await waits.blocking(lambda: ledger.left(charges))
        return {budget: left / 10**PLACES for budget, left in units.items()}

    async def handed(self, call: ShapedCall, waits: Waits) -> dict[str, object]:
        """For observe mode: what the tool must be given in place of guarded arguments, whatever the rules say.

        The caller closes it (`guards.close`). Raises GuardRefused: there is nothing to give, so it cannot be run.
        """
        contract = self._compiled[call.contract.name]
        if not contract.guards.hands:
            return {}
        arguments = contract.fresh(call.effective)
        return await waits.blocking(lambda: contract.guards.apply(arguments, advisory=False))

    def needs_shape(self, tool: str) -> bool:
        """Whether the tool takes something else than what a model sends."""
        contract = self._compiled.get(tool)
        return contract is not None and contract.guards.hands

    def described(self, call: ParsedCall) -> dict[str, object]:
        """What may be recorded of arguments of which no contract says what in them is secret."""
        contract = self._compiled.get(call.tool)
        left_out = contract.personals if contract is not None else frozenset()
        return described({k: v for k, v in call.arguments.items() if k not in left_out}, self._key)

    def check_scope(self, scope: TaskScope) -> None:
        """Refuse a scope that names what this policy does not have. Raises UsageError."""
        for tool in (*(scope.tools or ()), *scope.where):
            if tool not in self._compiled:
                raise UsageError(f"the scope names the tool {tool!r}, which has no contract")
        for tool, bound in scope.where.items():
            contract = self._compiled[tool]
            try:
                compiled_bound(bound)
                check_names(
                    bound, frozenset(contract.schema.properties), frozenset(contract.facts), contract.charges.names
                )
            except PolicyError as error:
                raise UsageError(f"the scope's bound of {tool!r}: {error.message}") from error

    def secret_values(self, call: ShapedCall) -> tuple[object, ...]:
        """The values of the call's secret parameters, for whoever must keep them from coming back out."""
        return self._compiled[call.contract.name].secret_values(call.effective)

    def close(self, call: ValidatedCall) -> None:
        """Close what the guards opened for this call."""
        guards.close(call.capabilities)

    def _masked(self, contract: CompiledContract, value: dict[str, Any], effective: bytes, *, simple: bool) -> bytes:
        if not (contract.secrets or contract.personals):
            return effective
        shown = {
            name: {"$hmac": self._key.digest(canonical(item), domain=b"argument")} if name in contract.secrets else item
            for name, item in value.items()
            if name not in contract.personals
        }
        return canonical(shown, simple=simple)

    def _account(self, account: bytes) -> tuple[str, ...]:
        return self._spell(account, domain=b"budget")


def _named(names: tuple[str, ...], value: dict[str, Any], *, simple: bool) -> bytes:
    """The thing these parameters name, to be digested. Not by tool: tools share a thing."""
    return canonical([[name, value[name]] for name in names], simple=simple)


_TOO_LARGE = Refusal(
    Step.VALIDATE,
    ReasonCode.ARGUMENTS_TOO_LARGE,
    f"With all defaults filled in the arguments have more than {MAX_EFFECTIVE_BYTES} bytes.",
    "Send less, or split the work into several calls.",
)


def _not_in_grammar(why: str) -> Refusal:
    message = f"The text does not fit the tool's grammar: {why}."
    return Refusal(Step.VALIDATE, ReasonCode.SCHEMA, message, "Write it again, by the grammar of the tool.")


def _misfit(contract: CompiledContract, value: dict[str, Any]) -> Refusal:
    problems = contract.schema.problems(value, contract.secrets)
    return Refusal(
        Step.VALIDATE,
        ReasonCode.SCHEMA,
        "The arguments do not fit: " + "; ".join(map(str, problems)) + ".",
        " ".join(dict.fromkeys(said for problem in problems if (said := _suggestion(contract, problem)))),
    )


def _suggestion(contract: CompiledContract, problem: Problem) -> str:
    """A missing parameter of which the contract says so is the user's to give, not the model's to guess."""
    asked = contract.ask_user.get(problem.path) if problem.expected == MISSING else None
    return problem.suggestion if asked is None else f"Do not guess `{problem.path}`: ask the user for {asked}."


def _by_rules(
    contract: CompiledContract,
    call: ShapedCall,
    session: SessionView,
    found: dict[str, object],
    told: dict[str, object],
    left: dict[str, float] | None,
    bounds: tuple[CompiledRule, ...],
) -> tuple[Obligation, ...] | Refusal:
    """What must be cleared, or the first rule that denies. Every rule is asked: a later denial beats an escalation.

    The bounds of a scope come last: they can only deny. `left` is None where the call cannot be charged and so will be
    denied: what reads it is passed over, for nobody can say.
    """
    if not contract.rules and not bounds:
        return contract.always
    ctx = call.ctx
    scope = Scope(
        contract.fresh(call.effective),
        found,
        ctx.principal,
        ctx.on_behalf_of,
        session,
        ctx.at,
        call.effective,
        reads=_reads(contract, bounds),
        left=left,
    )
    obligations = list(contract.always)
    for rule in contract.rules:
        if left is None and "left" in rule.compiled.reads:
            continue
        try:
            if rule.compiled.holds(scope):
                continue
        except RuleError as error:
            return _rule_failed(rule, contract.quotable(str(error)), told)
        if rule.rule.otherwise == "deny":
            return _denied(rule, told)
        obligations.append(rule.asks)
    for bound in bounds:
        refusal = _beyond(bound, scope, contract, told)
        if refusal is not None:
            return refusal
    return tuple(obligations)


def _families(lines: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Tool -> every version of it, for tools that have several."""
    return {tool: line for line in sorted(lines.values(), key=len) for tool in line}


def _reads(contract: CompiledContract, bounds: tuple[CompiledRule, ...]) -> frozenset[str]:
    return contract.reads.union(*(bound.reads for bound in bounds)) if bounds else contract.reads


def _beyond(bound: CompiledRule, scope: Scope, contract: CompiledContract, told: dict[str, object]) -> Refusal | None:
    try:
        if bound.holds(scope):
            return None
        reason, why = ReasonCode.SCOPE_BOUND, bound.text
    except RuleError as error:
        reason, why = ReasonCode.RULE_ERROR, contract.quotable(str(error))
    return Refusal(
        Step.VALIDATE,
        reason,
        "This call goes beyond what this conversation is for.",
        "Keep to what you were asked to do, or tell the user.",
        f"the session's scope: {why}",
        facts=told,
    )


def _uncountable(fault: CannotCharge, told: dict[str, object]) -> Refusal:
    """The model may mend an argument of its own; what our systems said is no business of its."""
    if fault.path.startswith("facts."):
        reason = ReasonCode.FACT_UNAVAILABLE
        return Refusal(Step.VALIDATE, reason, NOT_NOW, "Try again later.", str(fault), facts=told)
    return Refusal(
        Step.VALIDATE,
        ReasonCode.VALUE_BUDGET,
        f"{fault.path.removeprefix('args.')}: {fault.why}.",
        "Send a plain amount.",
        str(fault),
        facts=told,
    )


def _denied(rule: ContractRule, told: dict[str, object]) -> Refusal:
    said = rule.rule
    return Refusal(
        Step.VALIDATE,
        ReasonCode.RULE,
        said.tell_model,
        " ".join(filter(None, (said.suggestion, _offer(said.candidates, told)))) or TELL_USER,
        detail=said.tell_people or f"rule `{said.id}` does not hold",
        rule=rule.source,
        facts=told,
    )


def _offer(candidates: str | None, facts: dict[str, object]) -> str:
    """What this principal could have meant. Only what reads like a name is passed on: data must not pose as advice."""
    if candidates is None:
        return ""
    found: object = facts
    for name in candidates.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    listed = [str(each) for each in found if type(each) in (str, int)] if isinstance(found, list) else []
    named = [each for each in listed if _NAME.match(each)][:MAX_CANDIDATES]
    return f"Use one of: {', '.join(named)}." if named else ""


def _rule_failed(rule: ContractRule, why: str, told: dict[str, object]) -> Refusal:
    return Refusal(
        Step.VALIDATE,
        ReasonCode.RULE_ERROR,
        NOT_NOW,
        "Try something else, or tell the user.",
        detail=f"rule `{rule.rule.id}`: {why}",
        rule=rule.source,
        facts=told,
    )
