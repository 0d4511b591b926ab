"""A contract's JSON Schema, compiled once: `jsonschema-rs` checks the schema at load and decides each call.

Guarantees: nothing is ever fetched, no regular expression takes more than linear time (Rust `regex`), every
format named is checked, a default satisfies its own schema, and a schema outside `validate.vocabulary` is not
accepted (C039-C048). `jsonschema` (400 times slower) puts into words what is wrong with a schema, and is the second
opinion in the property tests: about schemas as about arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import jsonschema
import jsonschema_rs
import orjson

from gateway.domain.canonical import NotCanonical, plain, settle
from gateway.domain.errors import PolicyError
from gateway.validate.normalise import Accepts, Fresh, Plans, Step
from gateway.validate.problems import Problem, explain
from gateway.validate.vocabulary import Node, Vocabulary, children

MAX_PARTS = 200  # each wrong one costs 0.1 ms; a megabyte of them would hold up everybody for a minute
TOO_MUCH = "does not fit, and there is too much of it to say what is wrong"

_ADDRESS = jsonschema_rs.EmailOptions(allow_display_text=False, allow_domain_literal=False)  # RFC 5321 Mailbox only
_LINEAR = jsonschema_rs.RegexOptions()
_META = jsonschema_rs.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA, offline=True)


@final
@dataclass(frozen=True, slots=True)
class CompiledSchema:
    """One schema, ready to use. `closed` is what is enforced; `simple_defaults` says that no default holds a float.

    `grows` is how many bytes of defaults one object below the root can gain, for which two bytes have to be sent.
    """

    closed: Node
    accepts: Callable[[Any], bool]
    fresh: Fresh
    simple_defaults: bool
    grows: int
    _validator: jsonschema_rs.Draft202012Validator
    _fill: Step | None

    @property
    def required(self) -> frozenset[str]:
        return frozenset(self.closed.get("required", ()))

    @property
    def properties(self) -> Mapping[str, Node]:
        properties: Mapping[str, Node] = self.closed.get("properties", {})
        return properties

    def effective(self, value: Any, *, simple: bool) -> tuple[Any, bool]:
        """The normalised value, which shares parts with `value` and is not to be changed, and whether it is simple."""
        if not simple:
            value, simple = settle(value)
        if self._fill is not None:
            value = self._fill(value)
        return value, simple and self.simple_defaults

    def problems(self, value: Any, hidden: frozenset[str] = frozenset()) -> list[Problem]:
        """What is wrong with a normalised value, fit for the model. Values of `hidden` parameters leave no trace.

        Of a value with many parts only in which parameter: the library finds all that is wrong before it gives any.
        """
        if not _has_many_parts(value):
            return explain(self._validator.iter_errors(value), self.closed, hidden)
        return [] if self.accepts(value) else [Problem(self._misfit(value), TOO_MUCH, "Send less at a time.")]

    def _misfit(self, value: Any) -> str:
        """The first property whose value does not fit; empty if it is not one of them."""
        known = self.properties.items() if isinstance(value, dict) else ()
        definitions = self.closed.get("$defs", {})
        wrong = (name for name, child in known if name in value and not _accepting(child, definitions)(value[name]))
        return next(wrong, "")


def compile_schema(
    schema: Mapping[str, object], *, where: str = "parameters", root_object: bool = True, file: str = "", line: int = 0
) -> CompiledSchema:
    """Check and compile one schema. Raises PolicyError, which names the place as a JSON Pointer from `where`."""
    try:
        own: Any = plain(dict(schema))  # ours alone: what the caller does to its copy changes nothing
        if not is_schema(own):
            jsonschema.Draft202012Validator.check_schema(own)
            raise PolicyError(f"{where}: this is no JSON Schema 2020-12", file=file, line=line)
        closed = Vocabulary(file=file, line=line).close(own, where, root_object=root_object)
    except NotCanonical as error:
        raise PolicyError(f"{where}: not JSON: {error}", file=file, line=line) from error
    except jsonschema.SchemaError as error:
        place = "/".join([where, *map(str, error.absolute_path)])
        raise PolicyError(f"{place}: {error.message}", file=file, line=line) from error
    except RecursionError as error:
        raise PolicyError(f"{where}: nested too deeply", file=file, line=line) from error
    definitions = closed.get("$defs", {})

    def accepts(node: Node) -> Callable[[Any], bool]:
        return _accepting(node, definitions)

    try:
        validator = _validator(closed)
        _check_defaults(closed, accepts)
        plans = Plans(definitions, accepts)
        fill, coerce = plans.fill(closed), plans.coercion(closed)
    except (jsonschema_rs.ValidationError, ValueError) as error:
        raise PolicyError(f"{where}: {error}", file=file, line=line) from error
    simple_defaults = all(settle(child["default"])[1] for child in _with_default(closed))
    return CompiledSchema(closed, validator.is_valid, Fresh(coerce), simple_defaults, _growth(closed), validator, fill)


def is_schema(node: Any) -> bool:
    """Whether the meta-schema of 2020-12 accepts `node`. Nothing is fetched, whatever `$schema` says."""
    return bool(_META.is_valid(node))


def _validator(schema: Node) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        schema,
        validate_formats=True,
        ignore_unknown_formats=False,
        offline=True,
        pattern_options=_LINEAR,
        email_options=_ADDRESS,
    )


def _has_many_parts(value: Any) -> bool:
    todo, parts = [value], 0
    while todo:
        item = todo.pop()
        inside = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        parts += len(inside)
        if parts > MAX_PARTS:
            return True
        todo += inside
    return False


def _accepting(node: Node, definitions: Node) -> Callable[[Any], bool]:
    return _validator({**node, "$defs": definitions}).is_valid


def _check_defaults(closed: Node, accepts: Accepts) -> None:
    for child in _with_default(closed):
        settled, _ = settle(child["default"])
        if not accepts(child)(settled):
            raise ValueError(f"the default {child['default']!r} does not satisfy its own schema")


def _growth(closed: Node) -> int:
    """Bytes of every default below the root, each counted once: no object gains more at a time."""
    of_root = sum(len(orjson.dumps(child)) for child in closed.get("properties", {}).values() if "default" in child)
    return sum(len(orjson.dumps(child)) for child in _with_default(closed)) - of_root


def _with_default(closed: Node) -> list[Node]:
    """Every property schema that has a default, in `$defs` too."""
    found: list[Node] = []
    todo = [closed, *closed.get("$defs", {}).values()]
    while todo:
        node = todo.pop()
        found += [child for child in node.get("properties", {}).values() if "default" in child]
        todo += children(node)
    return found
