"""A dry run of one call: steps 1 to 4 as a gateway would take them, and what step 5 would ask for. Nothing is executed.

The very same stages decide (I2). Only facts are given instead of looked up, the question says how many calls there were
and when it was, and what a guard would look up is found well: an empty file, a public address.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, TypeVarTuple, final

from gateway.authorize.casbin_oracle import checked_grants
from gateway.authorize.stage import Authorize
from gateway.clock import SystemClock
from gateway.domain.call import CallContext, RawCall
from gateway.domain.charge import PLACES, Charge
from gateway.domain.decision import Obligation, Provenance, Refusal, Step
from gateway.domain.errors import PolicyError, UsageError
from gateway.domain.ids import Principal
from gateway.domain.instant import Instant
from gateway.domain.session_view import SessionView
from gateway.domain.waits import Waits
from gateway.limit.counters import Counters
from gateway.limit.stage import Limit
from gateway.parse.stage import Parse
from gateway.policy.collecting import without_collecting
from gateway.policy.documents import Contract, Fact, PathGuard
from gateway.policy.policy_set import PolicySet
from gateway.policy.prepare import faces
from gateway.validate.contract import CompiledContract, ContractRule
from gateway.validate.facts import FactContext, FactUnavailable, usable
from gateway.validate.guards.network import StandIn
from gateway.validate.stage import Validate
from gateway.waiting import drive
from gateway.wiring import compile_contracts, named_roots

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Decision = Literal["allow", "deny", "escalate"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COUNTS_CALLS: Final = re.compile(r"\bsession\b(?!\s*\.\s*conversation\b)")


@final
@dataclass(slots=True)
class Question:
    """One call to judge. `facts` gives each fact of the contract by its name there, `left` what each budget has.
    Facts of a call that was made were looked at when it was; others come by way of `facts_given`.

    `calls` counts those of its conversation, this one included; None says that nobody knows. `at` is when it is made,
    as RFC 3339 says it; None is now.
    """

    principal: str
    tool: str
    arguments: object
    on_behalf_of: str | None = None
    conversation: str = "dry-run"
    calls: int | None = 1
    facts: Mapping[str, object] | None = None
    left: Mapping[str, float] | None = None
    fallback: bool = False
    at: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Passed:
    """One step that was passed, and what let it pass."""

    step: str
    why: str


@final
@dataclass(slots=True)
class Verdict:
    """What would become of the call. `refusal` is set for a denial, `obligations` for an escalation.

    `grant` is the row that let it pass step 2, `effective` the arguments that step 4 took, as canonical JSON. `asked`
    are the contract's rules, `rules` those that decided.
    """

    decision: Decision
    refusal: Refusal | None = None
    grant: Provenance | None = None
    effective: bytes | None = None
    asked: tuple[ContractRule, ...] = ()
    obligations: tuple[Obligation, ...] = ()

    @property
    def reason(self) -> str:
        return self.refusal.reason.value if self.refusal is not None else ""

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(f"{each.kind}: {each.why}" for each in self.obligations)

    @property
    def rules(self) -> tuple[Provenance, ...]:
        if self.refusal is not None:
            return (self.refusal.rule,) if self.refusal.rule is not None else ()
        return tuple(each.rule for each in self.obligations if each.rule is not None)

    @property
    def passed(self) -> tuple[Passed, ...]:
        """Every step that was passed, in order."""
        found = []
        if self.refusal is None or self.refusal.step > Step.PARSE:
            found.append(Passed("1 parse", "strict JSON"))
        if self.grant is not None:
            found.append(Passed("2 authorize", str(self.grant)))
        if self.effective is not None:
            found.append(Passed("4 validate", f"schema: {self.effective.decode()}"))
        if self.refusal is None:
            found += [Passed("4 validate", str(rule.source)) for rule in self.asked if rule.source not in self.rules]
        return tuple(found)


@final
class DryRun:
    """Judges calls under one policy set, one at a time. Close it, or use it as a context manager."""

    def __init__(self, policy: PolicySet) -> None:
        """Raises PolicyError."""
        self.policy = policy
        with without_collecting():
            self.grants = checked_grants(policy.access)
            self._folder = tempfile.TemporaryDirectory(prefix="toolgate-dry-")
            roots = {name: str(Path(self._folder.name, name)) for name in named_roots(policy)}
            compiled = compile_contracts(policy, roots, StandIn())
        self.contracts: Mapping[str, CompiledContract] = {
            name: each.holding_nothing() for name, each in compiled.items()
        }
        self._counting = frozenset(
            name
            for name, each in compiled.items()
            if any(_COUNTS_CALLS.search(rule.compiled.text) for rule in each.rules)
        )
        self._roots = roots
        self._key = _NoDigests()
        self._parse = Parse(policy.settings.arguments, self._key)
        self._authorize = Authorize(self.grants, policy.refs())
        self._counters = Counters()
        limits = {tool: loaded.contract.limits for tool, loaded in policy.contracts.items()}
        self._limit = Limit(policy.settings.loop, limits, self._counters)
        self._faces = faces({tool: loaded.contract for tool, loaded in policy.contracts.items()})
        self._clock = SystemClock()
        self._opened = self._clock.now()
        self._at_hand = _AtHand()
        self._facts = _Given()
        self._left = _Told()
        self._validate = Validate(self.contracts, self._key, self._facts, ledger=self._left)

    def __enter__(self) -> DryRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._folder.cleanup()

    def tidy(self) -> None:
        """Remove the files that stood in for guarded paths, for whoever judges without end."""
        for root in self._roots.values():
            shutil.rmtree(root, ignore_errors=True)

    def judge(self, asked: Question, wire: bytes | None = None) -> Verdict:
        """Raises PolicyError for a question that cannot be asked, such as a missing fact.

        `wire`: the question's arguments as JSON, where somebody has them at hand.
        """
        compiled = self.contracts.get(asked.tool)
        now = self._opened if asked.at is not None else self._clock.now()
        if asked.at is not None and compiled is not None and "now" in compiled.reads:
            now = _moment(asked.at, now)
        behalf = _principal(asked.on_behalf_of) if asked.on_behalf_of is not None else None
        ctx = CallContext(
            "call_dry",
            "dry",
            _principal(asked.principal),
            behalf,
            asked.conversation,
            self.policy.digest,
            now,
            now.boot_ns,
            fallback=asked.fallback,
        )
        parsed = self._parse(RawCall(ctx, asked.tool, asked.arguments if wire is None else wire))
        if isinstance(parsed, Refusal):
            return _denied(parsed)
        authorized = self._authorize(parsed)
        if isinstance(authorized, Refusal):
            return _denied(authorized)
        grant = authorized.grant
        calls = 1 if asked.calls is None else asked.calls
        self._counters.forget()
        self._counters.of(asked.principal, asked.conversation).calls = calls - 1
        limited = self._limit(authorized)
        if isinstance(limited, Refusal):
            return _denied(limited, grant)
        compiled, contract = self.contracts[asked.tool], self.policy.contracts[asked.tool].contract
        self._give(contract, asked)
        self._left.of(asked.tool, asked.left or {})
        shaped = self._validate.shape(limited)
        if isinstance(shaped, Refusal):
            return _denied(shaped, grant)
        if asked.calls is None and asked.tool in self._counting:
            raise PolicyError(f"a rule of {asked.tool} counts the calls of the conversation, and nobody knows them")
        if contract.guards:
            self._stand_in(contract, compiled.fresh(shaped.effective))
        view = SessionView(asked.conversation, calls, self._authorize.roles(ctx.principal))
        judged = drive(self._validate.judge(shaped, self._at_hand, view, 0))
        if isinstance(judged, Refusal):
            return _denied(judged, grant, shaped.effective)
        self._validate.close(judged)
        if not judged.obligations:
            return Verdict("allow", None, grant, shaped.effective, compiled.rules)
        return Verdict("escalate", None, grant, shaped.effective, compiled.rules, judged.obligations)

    def governing(self, name: str) -> str:
        """The tool of a name that a model may call: what prepares a call is judged as the call."""
        return self._faces.get(name, (name, False))[0]

    def looks(self, tool: str) -> bool:
        """Whether a guard of the tool would look something up, a file or an address, and was told that all is well."""
        return tool in self.contracts and self.contracts[tool].guards.opens

    def _stand_in(self, contract: Contract, arguments: Mapping[str, object]) -> None:
        """Put an empty file where a guarded path points, if it points beneath its root at all."""
        guards = [(name, guard) for name, guard in contract.guards.items() if isinstance(guard, PathGuard)]
        for _, guard in guards:  # nothing of an earlier call is there: its file could stand where a folder must
            shutil.rmtree(self._roots[guard.root], ignore_errors=True)
        for name, guard in guards:
            value = arguments.get(name)
            if not isinstance(value, str):
                continue
            root = Path(self._roots[guard.root])
            root.mkdir(exist_ok=True)
            parts = value.split("/")
            if "\0" not in value and not any(part in ("", ".", "..") for part in parts):
                with suppress(OSError):  # a name that no file can have, say: the guard finds nothing, and says so
                    root.joinpath(*parts[:-1]).mkdir(parents=True, exist_ok=True)
                    root.joinpath(*parts).touch()

    def _give(self, contract: Contract, asked: Question) -> None:
        """Have the facts be what the question gives, and nothing else."""
        given = self._facts.given = asked.facts or {}
        if not given.keys() <= contract.facts.keys():
            unknown = sorted(given.keys() - contract.facts.keys())
            raise PolicyError(f"{contract.tool} asks for no fact {unknown[0]!r}")


def _principal(name: str) -> Principal:
    """Raises UsageError. A name that is no text, as a damaged log may have it, is no key of any memory."""
    return _known(name) if type(name) is str else Principal(name)


def _moment(at: str, now: Instant) -> Instant:
    """When a call was made, as rules are told it. Raises PolicyError."""
    try:
        return now._replace(wall_ns=(datetime.fromisoformat(at) - _EPOCH) // timedelta(microseconds=1) * 1000)
    except (TypeError, ValueError) as error:  # TypeError: without an offset it is no moment
        raise PolicyError(f"{at[:40]!r} is no time; write it like 2026-01-31T09:30:00Z") from error


_known = lru_cache(maxsize=4096)(Principal)  # a log names the same few people over and over


@final
class _NoDigests:
    """What a dry run has for a digest key: nothing of it is stored, shown or compared, and no step decides by it."""

    def digest(self, data: bytes, *, domain: bytes = b"") -> str:  # noqa: ARG002
        return "none"


@final
class _Told:
    """What is left of budgets, as the question under way says."""

    def of(self, tool: str, left: Mapping[str, float]) -> None:
        self._tool = tool
        self._left = left

    def left(self, charges: Iterable[Charge]) -> dict[str, int]:
        names = {charge.budget for charge in charges}
        if names != set(self._left):
            raise PolicyError(f"a rule of {self._tool} reads what is left: give `left` for each of {sorted(names)}")
        return {name: int(Decimal(repr(left)).scaleb(PLACES)) for name, left in self._left.items()}


@final
class _Given:
    """The facts that the question under way gives."""

    given: Mapping[str, object]

    async def look_up(
        self,
        wanted: Mapping[str, Fact],
        arguments: Callable[[], Mapping[str, Any]],  # noqa: ARG002
        ctx: FactContext,  # noqa: ARG002
        waits: Waits,  # noqa: ARG002
    ) -> dict[str, object]:
        for name in wanted:
            if name not in self.given:
                raise FactUnavailable(name, "the question gives no such fact")
        return dict(self.given)


def facts_given(values: Mapping[str, object]) -> dict[str, object]:
    """Facts that somebody wrote down, as a question takes them. Raises PolicyError for what no provider could give."""
    try:
        return {name: usable(name, value) for name, value in values.items()}
    except FactUnavailable as error:
        raise PolicyError(str(error)) from error


@final
class _AtHand:
    """Waits for nothing: every fact is at hand, so no thread is needed (a tenth of the time)."""

    def interrupted(self) -> BaseException | None:
        return None

    async def either(
        self,
        blocking: Callable[[*Ts], T],
        awaited: Callable[[*Ts], Coroutine[Any, Any, T]],  # noqa: ARG002
        *args: *Ts,
    ) -> T:
        return blocking(*args)

    async def blocking(self, work: Callable[[], T]) -> T:
        return work()

    async def worker(self, work: Callable[[], T], deadline_s: float) -> T:  # noqa: ARG002
        return work()

    async def awaitable(self, make: Callable[[], Awaitable[T]], deadline_s: float) -> T:  # noqa: ARG002
        raise UsageError("a dry run awaits nobody")

    async def future(self, future: Future[T], deadline_s: float) -> T:
        return future.result(deadline_s)

    async def sleep(self, seconds: float) -> None:  # noqa: ARG002
        raise UsageError("a dry run sleeps for nobody")


def _denied(refusal: Refusal, grant: Provenance | None = None, effective: bytes | None = None) -> Verdict:
    return Verdict("deny", refusal, grant, effective)
