"""Facts: what the host looks up while a call is judged (the policy information point).

Guarantees: a fact is a plain JSON copy that nobody else can change, looked up within its deadline and at most once a
call. A provider that is missing, slow, raises, or returns what is not JSON denies the call (FACT_UNAVAILABLE): a
rule never runs without the facts it asked for.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final

import orjson

from gateway.domain.canonical import Json, NotCanonical, canonical, plain
from gateway.domain.errors import ComponentFault, UsageError, described
from gateway.domain.ids import Principal
from gateway.domain.waits import DeadlineExceeded, Waits
from gateway.policy.documents import Fact

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")  # for CEL's library "ana\0..." is "ana"; arguments hold none (C012)
MAX_FACT_BYTES = 64 * 1024  # facts stand in records and on an approver's page


@final
@dataclass(frozen=True, slots=True)
class FactContext:
    """For whom a fact is looked up. `conversation` is the session's."""

    principal: Principal
    on_behalf_of: Principal | None
    conversation: str


class FactUnavailable(ComponentFault):
    """A fact could not be had. `name` is the fact's, in the contract; `why` may quote what the provider said."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"fact `{name}`: {why}")
        self.name = name
        self.why = why


class FactSource(Protocol):
    """Where step 4 has its facts from."""

    async def look_up(
        self, wanted: Mapping[str, Fact], arguments: Callable[[], Mapping[str, Any]], ctx: FactContext, waits: Waits
    ) -> dict[str, object]: ...


@final
class Facts:
    """The host's providers by name. `fn(ctx, **args)` is sync or async and returns JSON; register before serving."""

    def __init__(self) -> None:
        self._providers: dict[str, tuple[Callable[..., Any], bool]] = {}

    def register(self, name: str, fn: Callable[..., object] | Callable[..., Awaitable[object]]) -> None:
        """Add a provider. Raises UsageError if the name is taken or `fn` cannot be called."""
        if name in self._providers:
            raise UsageError(f"a fact provider {name!r} is registered already")
        if not callable(fn):
            raise UsageError(f"the fact provider {name!r} must be callable, not {type(fn).__name__}")
        is_async = inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004
        self._providers[name] = (fn, is_async)

    def missing(self, wanted: Iterable[str]) -> list[str]:
        """Those of the wanted providers that nobody registered."""
        return sorted(set(wanted) - set(self._providers))

    async def look_up(
        self, wanted: Mapping[str, Fact], arguments: Callable[[], Mapping[str, Any]], ctx: FactContext, waits: Waits
    ) -> dict[str, object]:
        """Every wanted fact, in order. `arguments` gives a fresh copy each time. Raises FactUnavailable.

        A parameter the model left out is handed over as None.
        """
        found: dict[str, object] = {}
        known: dict[bytes, Json] = {}
        for name, fact in wanted.items():
            given = arguments()
            handed = {argument: given.get(argument) for argument in fact.args}
            if len(wanted) == 1:
                return {name: await self._ask(name, fact, handed, ctx, waits)}
            question = canonical([fact.provider, handed])
            if question not in known:
                known[question] = await self._ask(name, fact, handed, ctx, waits)
            found[name] = known[question]
        return found

    async def _ask(self, name: str, fact: Fact, handed: dict[str, Any], ctx: FactContext, waits: Waits) -> Json:
        if fact.provider not in self._providers:
            raise FactUnavailable(name, f"no provider {fact.provider!r} is registered; call gateway.register_fact")
        fn, is_async = self._providers[fact.provider]
        try:
            if is_async:
                value = await waits.awaitable(lambda: fn(ctx, **handed), fact.deadline_s)
            else:
                value = await waits.worker(lambda: fn(ctx, **handed), fact.deadline_s)
        except DeadlineExceeded:
            raise FactUnavailable(name, f"no answer within {fact.deadline_s:g} s") from None
        except Exception as error:  # somebody else's code: whatever it raises means that there is no fact
            raise FactUnavailable(name, described(error)) from error
        if inspect.iscoroutine(value):
            value.close()
            raise FactUnavailable(name, "the provider gave a coroutine; register an `async def`")
        return usable(name, value)


def usable(name: str, value: object) -> Json:
    """A copy of a fact that rules may read and records hold. Raises FactUnavailable."""
    try:
        copy = plain(value)
    except NotCanonical as error:
        raise FactUnavailable(name, f"not JSON: {error}") from error
    spelled = orjson.dumps(copy)
    if len(spelled) > MAX_FACT_BYTES:
        raise FactUnavailable(name, f"{len(spelled)} bytes, at most {MAX_FACT_BYTES} are accepted")
    if _NUL.search(spelled):
        raise FactUnavailable(name, "it holds a NUL, where rules would stop reading")
    return copy
