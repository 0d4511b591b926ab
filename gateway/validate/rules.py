"""Business rules in CEL (Common Expression Language) behind one function: `CompiledRule.holds`.

Guarantees: a rule holds only if it evaluates to the boolean true. An absent field, a wrong type, an exceeded budget or
anything else that goes wrong is a RuleError, and denies (C036, C051). The library returns errors as truthy values;
nothing of it leaves this file. Regular expressions are RE2, comprehensions stop at 10,000 iterations, and what one
rule may have to read in all of them is bounded before it runs.

Variables: `args` (the effective arguments; `number` is double, `integer` is int), `principal` {id, on_behalf_of (empty
if nobody), roles}, `session` {conversation, calls}, `facts`, `left` (how much may still be spent of each budget that
the call charges, as double), and `now` (timestamp).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import Any, final

import orjson
from cel_expr_python import cel

from gateway.domain.canonical import Json
from gateway.domain.errors import PolicyError, ToolgateError
from gateway.domain.ids import Principal
from gateway.domain.instant import Instant
from gateway.domain.session_view import SessionView

MAX_ITERATIONS = 10_000  # the library's own budget for the comprehensions of one evaluation
MAX_WORK = 2**29  # bytes read in all iterations of one rule: about half a second

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PRINCIPAL = ("id", "on_behalf_of", "roles")
_SESSION = ("conversation", "calls")
_STRING = re.compile(
    r"""[rRbB]{0,2}(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|//[^\n]*""", re.DOTALL
)
_SELECTION = re.compile(r"(?<![\w.])(args|facts|left|principal|session)\s*\.\s*([A-Za-z_]\w*)")
_NAMED = re.compile(r"\b(?:args|facts|left|principal|session|now)\b")
_COMPREHENSION = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter|transformList|transformMap)\s*\(")


class RuleError(ToolgateError):
    """The rule gave no boolean. The call is denied."""


@final
class Scope:
    """What the rules of one call see. `effective` are the bytes that `args` were decoded from.

    Only the variables in `reads` are made: each costs as much as a comparison. A rule that named another would be an
    error, and deny.
    """

    __slots__ = ("_effective", "_facts", "activation")

    def __init__(
        self,
        args: Mapping[str, object],
        facts: Mapping[str, object],
        principal: Principal,
        on_behalf_of: Principal | None,
        session: SessionView,
        now: Instant,
        effective: bytes,
        *,
        reads: frozenset[str],
        left: Mapping[str, float] | None = None,
    ) -> None:
        self._effective = effective
        self._facts = facts
        values: dict[str, object] = {}
        if "args" in reads:
            values["args"] = args
        if "facts" in reads:
            values["facts"] = facts
        if "left" in reads:
            values["left"] = left or {}
        if "principal" in reads:
            behalf = on_behalf_of.id if on_behalf_of is not None else ""
            values["principal"] = {"id": principal.id, "on_behalf_of": behalf, "roles": list(session.roles)}
        if "session" in reads:
            values["session"] = {"conversation": session.conversation, "calls": session.calls}
        if "now" in reads:
            values["now"] = _EPOCH + timedelta(microseconds=now.wall_ns // 1000)
        self.activation = _environment().Activation(values)

    def weight(self) -> tuple[int, int]:
        """Bytes of arguments and facts, and how many parts they may have."""
        read = self._effective + orjson.dumps(self._facts) if self._facts else self._effective
        return len(read), read.count(b",") + 1


@final
class CompiledRule:
    """One expression, compiled and type-checked. Thread-safe. `reads` are the variables it may name."""

    __slots__ = ("_comprehensions", "_expression", "reads", "text")

    def __init__(self, text: str) -> None:
        """Raises PolicyError if `text` is no CEL expression of type bool."""
        self.text = text
        self.reads = frozenset(_NAMED.findall(text))  # one too many, from a string or a comment, does no harm
        self._comprehensions = len(_COMPREHENSION.findall(text))
        try:
            self._expression = _environment().compile(text)
        except Exception as error:  # the library raises bare RuntimeError with the position in its text
            raise PolicyError(f"not a rule: {_first_lines(error)}") from error
        found = self._expression.return_type()
        if found != cel.Type.BOOL:
            raise PolicyError(f"a rule is a yes or no; this is {found.name()}: compare it with something")

    def holds(self, scope: Scope) -> bool:
        """True only if the rule is satisfied. Raises RuleError for whatever is neither true nor false."""
        if self._comprehensions:
            size, items = scope.weight()
            iterations = min(MAX_ITERATIONS, items**self._comprehensions)
            if iterations * size > MAX_WORK:
                raise RuleError("the arguments and facts are too large for a rule that goes through their items")
        try:
            result = self._expression.eval(scope.activation)
            kind, value = result.type(), result.value()
        except Exception as error:  # whatever the library raises is an answer that is not true
            raise RuleError(_first_lines(error)) from error
        if kind == cel.Type.BOOL and (value is True or value is False):
            return value is True
        raise RuleError(str(value)[:300] if kind == cel.Type.ERROR else f"gave {kind.name()}, not bool")


@lru_cache(maxsize=1024)
def compiled_bound(text: str) -> CompiledRule:
    """A bound of a task scope: hosts write the same few for many sessions. Raises PolicyError."""
    return CompiledRule(text)


def check_names(
    text: str,
    args: Mapping[str, Json] | frozenset[str],
    facts: frozenset[str],
    budgets: frozenset[str] = frozenset(),
) -> None:
    """Refuse a rule that names what can never be there: it would deny every call. Raises PolicyError."""
    known = {"args": args, "facts": facts, "left": budgets, "principal": _PRINCIPAL, "session": _SESSION}
    for root, name in _SELECTION.findall(_STRING.sub('""', text)):
        if name not in known[root]:
            close = get_close_matches(name, list(known[root]), n=1)
            meant = f"; did you mean `{root}.{close[0]}`?" if close else ""
            raise PolicyError(f"`{root}.{name}` does not exist{meant}")


def check_types(text: str, parameters: Mapping[str, Any], definitions: Mapping[str, Any]) -> None:
    """Type-check a rule with each parameter as a variable of its own type. Raises PolicyError.

    `has(args.x)` is taken for true: whether x was given is no matter of types.
    """
    types = tuple((name, _type_name(node, definitions)) for name, node in sorted(parameters.items()))
    try:
        _typed_environment(types).compile(_HAS.sub("true", text))
    except Exception as error:  # the library raises bare RuntimeError with the position in its text
        raise PolicyError(_first_lines(error)) from error


def _type_name(node: Any, definitions: Mapping[str, Any]) -> str:
    """`string`, `int`, ..., `list(string)`; `dyn` for what may be several."""
    if isinstance(node, dict) and "$ref" in node:
        return _type_name(definitions.get(str(node["$ref"]).removeprefix("#/$defs/")), definitions)
    kind = node.get("type") if isinstance(node, dict) else None
    if kind == "array":
        inner = _type_name(node.get("items"), definitions)
        return f"list({inner})" if inner in _CEL_TYPES.values() else "list(dyn)"
    return _CEL_TYPES.get(kind, "dyn") if isinstance(kind, str) else "dyn"


_CEL_TYPES = {"string": "string", "integer": "int", "number": "double", "boolean": "bool"}
_HAS = re.compile(r"\bhas\s*\(\s*args\s*(?:\.\s*[A-Za-z_]\w*\s*)+\)")


@lru_cache(maxsize=256)
def _typed_environment(types: tuple[tuple[str, str], ...]) -> Any:
    plain = {"string": cel.Type.STRING, "int": cel.Type.INT, "double": cel.Type.DOUBLE, "bool": cel.Type.BOOL}

    def of(name: str) -> Any:
        if name.startswith("list("):
            return cel.Type.List(of(name[5:-1]))
        return plain.get(name, cel.Type.DYN)

    text = cel.Type.STRING
    own = {f"args.{name}": of(kind) for name, kind in types if name.isidentifier() and name.isascii()}
    caller = {"principal.id": text, "principal.on_behalf_of": text, "principal.roles": cel.Type.List(text)}
    session = {"session.conversation": text, "session.calls": cel.Type.INT}
    return cel.NewEnv(variables=_variables() | own | caller | session)


@cache
def _environment() -> Any:
    return cel.NewEnv(variables=_variables())


def _variables() -> dict[str, Any]:
    of_anything = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
    return {
        "args": of_anything,
        "facts": of_anything,
        "left": of_anything,
        "principal": of_anything,
        "session": of_anything,
        "now": cel.Type.TIMESTAMP,
    }


def _first_lines(error: BaseException) -> str:
    text = str(error).removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: <input>:")
    return text.split("\n | ")[0][:300]
