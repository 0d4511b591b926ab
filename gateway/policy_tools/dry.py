"""A dry run of one call: steps 1 to 4 as a gateway would take them, and what step 5 would ask for. Nothing is executed.

The very same stages decide (I2). Only facts are given instead of looked up, `calls` says how many calls there were, and
where a path guard would open a file an empty one stands.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from gateway.authorize.casbin_oracle import checked_grants
from gateway.authorize.stage import Authorize
from gateway.clock import SystemClock
from gateway.domain.call import CallContext, RawCall
from gateway.domain.decision import Provenance, Refusal
from gateway.domain.errors import PolicyError
from gateway.domain.ids import Principal
from gateway.domain.keyed import KEY_BYTES, DigestKey
from gateway.domain.session_view import SessionView
from gateway.limit.counters import Counters
from gateway.limit.stage import Limit
from gateway.parse.stage import Parse
from gateway.policy.documents import Contract, PathGuard
from gateway.policy.policy_set import PolicySet
from gateway.validate.contract import CompiledContract
from gateway.validate.facts import FactContext, Facts
from gateway.validate.guards.network import StandIn
from gateway.validate.stage import Validate
from gateway.waiting import Blocking, OwnLoop, Workers, drive
from gateway.wiring import compile_contracts, named_roots

Decision = Literal["allow", "deny", "escalate"]


@final
@dataclass(frozen=True, slots=True)
class Question:
    """One call to judge. `facts` gives each fact of the contract by its name there."""

    principal: str
    tool: str
    arguments: object
    on_behalf_of: str | None = None
    conversation: str = "dry-run"
    calls: int = 1
    facts: Mapping[str, object] | None = None
    fallback: bool = False


@final
@dataclass(frozen=True, slots=True)
class Passed:
    """One step that was passed, and what let it pass."""

    step: str
    why: str


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """What would become of the call. `refusal` is set for a denial, `needs` for an escalation."""

    decision: Decision
    passed: tuple[Passed, ...]
    refusal: Refusal | None
    needs: tuple[str, ...]
    rules: tuple[Provenance, ...]

    @property
    def reason(self) -> str:
        return self.refusal.reason.value if self.refusal is not None else ""


@final
class DryRun:
    """Judges calls under one policy set. Close it, or use it as a context manager."""

    def __init__(self, policy: PolicySet) -> None:
        """Raises PolicyError."""
        self.policy = policy
        self.grants = checked_grants(policy.access)
        self._folder = tempfile.TemporaryDirectory(prefix="toolgate-dry-")
        roots = {name: str(Path(self._folder.name, name)) for name in named_roots(policy)}
        self.contracts: Mapping[str, CompiledContract] = compile_contracts(policy, roots, StandIn())
        self._roots = roots
        self._key = DigestKey(bytes(KEY_BYTES))  # digests of a dry run go nowhere
        self._parse = Parse(policy.settings.arguments, self._key)
        self._authorize = Authorize(self.grants, policy.refs())
        self._clock = SystemClock()
        self._workers = Workers(1)
        self._loop = OwnLoop()

    def __enter__(self) -> DryRun:
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.close()
        self._loop.close()
        self._folder.cleanup()

    def judge(self, asked: Question) -> Verdict:
        """Raises PolicyError for a question that cannot be asked, such as a missing fact."""
        now = self._clock.now()
        behalf = Principal(asked.on_behalf_of) if asked.on_behalf_of is not None else None
        ctx = CallContext(
            "call_dry",
            "dry",
            Principal(asked.principal),
            behalf,
            asked.conversation,
            self.policy.digest,
            now,
            now.boot_ns,
            fallback=asked.fallback,
        )
        passed: list[Passed] = []
        parsed = self._parse(RawCall(ctx, asked.tool, asked.arguments))
        if isinstance(parsed, Refusal):
            return _denied(parsed, passed)
        passed.append(Passed("1 parse", "strict JSON"))
        authorized = self._authorize(parsed)
        if isinstance(authorized, Refusal):
            return _denied(authorized, passed)
        passed.append(Passed("2 authorize", str(authorized.grant)))
        compiled = self.contracts[asked.tool]
        counters = Counters()
        counters.of(asked.principal, asked.conversation).calls = asked.calls - 1
        own = {asked.tool: self.policy.contracts[asked.tool].contract.limits}
        limited = Limit(self.policy.settings.loop, own, counters)(authorized)
        if isinstance(limited, Refusal):
            return _denied(limited, passed)
        facts = self._facts(self.policy.contracts[asked.tool].contract, asked)
        validate = Validate(self.contracts, self._key, facts)
        shaped = validate.shape(limited)
        if isinstance(shaped, Refusal):
            return _denied(shaped, passed)
        passed.append(Passed("4 validate", f"schema: {shaped.effective.decode()}"))
        self._stand_in(asked.tool, compiled.fresh(shaped.effective))
        view = SessionView(asked.conversation, asked.calls, self._authorize.roles(ctx.principal))
        judged = drive(validate.judge(shaped, Blocking(self._workers, self._loop), view, 0))
        if isinstance(judged, Refusal):
            return _denied(judged, passed)
        validate.close(judged)
        passed += [Passed("4 validate", str(rule.source)) for rule in compiled.rules]
        if not judged.obligations:
            return Verdict("allow", tuple(passed), None, (), ())
        rules = tuple(each.rule for each in judged.obligations if each.rule is not None)
        needs = tuple(f"{each.kind}: {each.why}" for each in judged.obligations)
        return Verdict("escalate", tuple(passed), None, needs, rules)

    def _stand_in(self, tool: str, arguments: Mapping[str, object]) -> None:
        """Put an empty file where a guarded path points, if it points beneath its root at all."""
        for name, guard in self.policy.contracts[tool].contract.guards.items():
            value = arguments.get(name)
            if not isinstance(guard, PathGuard) or not isinstance(value, str):
                continue
            root = Path(self._roots[guard.root])
            root.mkdir(exist_ok=True)
            parts = value.split("/")
            if "\0" not in value and not any(part in ("", ".", "..") for part in parts):
                root.joinpath(*parts[:-1]).mkdir(parents=True, exist_ok=True)
                root.joinpath(*parts).touch()

    def _facts(self, contract: Contract, asked: Question) -> Facts:
        """Providers that give what the question gives."""
        given = asked.facts or {}
        unknown = sorted(set(given) - set(contract.facts))
        if unknown:
            raise PolicyError(f"{contract.tool} asks for no fact {unknown[0]!r}")
        by_provider: dict[str, object] = {}
        for name, fact in contract.facts.items():
            if name not in given:
                continue
            if fact.provider in by_provider and by_provider[fact.provider] != given[name]:
                raise PolicyError(
                    f"two facts of {contract.tool} come from provider {fact.provider!r}; give them one value"
                )
            by_provider[fact.provider] = given[name]
        facts = Facts()
        for provider, value in by_provider.items():
            facts.register(provider, _Constant(value))
        return facts


class _Constant:
    def __init__(self, value: object) -> None:
        self.value = value

    def __call__(self, _: FactContext, **__: object) -> object:
        return self.value


def _denied(refusal: Refusal, passed: list[Passed]) -> Verdict:
    rules = (refusal.rule,) if refusal.rule is not None else ()
    return Verdict("deny", tuple(passed), refusal, (), rules)
